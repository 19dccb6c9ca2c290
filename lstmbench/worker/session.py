"""One trial inside its worker process.

Whatever is trained here is told when it is due, and what was trained is judged elsewhere. The clock
is here: an epoch's seconds start when its NumPy arrays exist and end when ``train_epoch`` returns,
so conversion and transfer to the device are inside. The host has a clock of its own.
"""

from __future__ import annotations

import gc
import importlib
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from lstmbench.backend import Backend, Parameters, Task
from lstmbench.cells import LSTM, Cell, Shapes, load_cell, tensor_shapes
from lstmbench.errors import Unavailable
from lstmbench.layer import result_shapes
from lstmbench.worker.answers import (
    InvalidAnswer,
    check_ids,
    check_layer_result,
    check_loss,
    check_moments,
    check_parameters,
)
from lstmbench.worker.arrays import (
    read_batches,
    read_parameters,
    write_layer_result,
    write_parameters,
)
from lstmbench.worker.idle import when_idle
from lstmbench.worker.loop import Handlers, OutOfOrder, Session, set_cpus
from lstmbench.worker.memory import peak_memory, resident, restart_peak
from lstmbench.worker.messages import (
    INTERFACE,
    Build,
    Built,
    Done,
    Drop,
    EpochTrained,
    Evaluate,
    Evaluated,
    Finish,
    Finished,
    Generate,
    Generated,
    LayerPassed,
    LoadParameters,
    LoadTrial,
    Matmul,
    PassLayer,
    Ping,
    Prepare,
    SaveParameters,
    ShowLayer,
    StageLayer,
    Timed,
    TrainEpoch,
    TrialLoaded,
    WaitUntilIdle,
)
from lstmbench.worker.timing import Stopwatch, time_calls

Factory = Callable[[Task], Backend]


@dataclass
class Instance:
    """The instance that trains; ``peak_name`` says what the process's peak memory includes.

    ``staged``: steps and batch of what the layers alone read, and whether they go back.
    """

    backend: Backend
    task: Task
    peak_name: str
    shapes: Shapes
    staged: tuple[tuple[int, ...], bool] | None = None
    _memory: dict[str, int] = field(default_factory=dict)

    def memory(self) -> dict[str, int]:
        """Peak bytes, read once: of this process and of a device with memory of its own."""
        if not self._memory:
            self._memory[self.peak_name] = peak_memory()
            on_device = self.backend.device_memory()
            if on_device is not None:
                self._memory["device_peak"] = int(on_device)
        return self._memory


class TrialSession(Session):
    """Load, then build, then the rest in any order; anything else is :class:`OutOfOrder`."""

    def __init__(self) -> None:
        self._factory: Factory | None = None
        self._cell: Cell = LSTM
        self._instance: Instance | None = None

    def handlers(self) -> Handlers:
        return {
            LoadTrial: self.load,
            Drop: self.drop,
            Build: self.build,
            Prepare: self.prepare,
            LoadParameters: self.load_parameters,
            SaveParameters: self.save_parameters,
            TrainEpoch: self.epoch,
            Ping: self.ping,
            StageLayer: self.stage_layer,
            PassLayer: self.pass_layer,
            ShowLayer: self.show_layer,
            Matmul: self.matmul,
            WaitUntilIdle: when_idle,
            Evaluate: self.evaluate,
            Generate: self.generate,
            Finish: self.finish,
        }

    @property
    def factory(self) -> Factory:
        if self._factory is None:
            raise OutOfOrder("the worker must be asked to load first")
        return self._factory

    @property
    def instance(self) -> Instance:
        self.factory  # noqa: B018 - what comes first is named first
        if self._instance is None:
            raise OutOfOrder("the worker must be asked to load and to build first")
        return self._instance

    def load(self, request: LoadTrial) -> TrialLoaded:
        """Import the plugin."""
        set_cpus(request.cpus)
        begin = time.perf_counter()
        self._factory = import_factory(request.factory, request.imports, request.install)
        seconds = time.perf_counter() - begin
        memory = resident()
        self._cell = load_cell(request.reference)
        return TrialLoaded(seconds, memory)

    def drop(self, request: Drop) -> Done:
        """Free what the instance holds."""
        self._instance = None
        gc.collect()
        return Done()

    def build(self, request: Build) -> Built:
        """An instance in place of the one before, whose memory is not counted."""
        factory = self.factory
        batches = None if request.batches is None else read_batches(request.batches)
        shapes = tensor_shapes(self._cell, request.task.model)
        start = None
        if request.parameters is not None:
            start = read_parameters(request.parameters, shapes)
        self.drop(Drop())
        peak_name = "peak" if restart_peak() else "peak_with_parity"
        clock = Stopwatch()
        backend = factory(request.task)
        if not isinstance(backend, Backend):
            made = type(backend).__name__
            raise InvalidAnswer(INTERFACE, f"factory made a {made}, not a Backend")
        if start is not None:
            backend.load_parameters(start.astype(request.task.parameter_dtype))
        clock.lap("build")
        if batches is not None:
            backend.prepare(batches)
        clock.lap("prepare")
        self._instance = Instance(backend, request.task, peak_name, shapes)
        return Built(clock.laps["build"], clock.laps["prepare"])

    def prepare(self, request: Prepare) -> Done:
        """Compile for batches of another shape."""
        self.instance.backend.prepare(read_batches(request.batches))
        return Done()

    def load_parameters(self, request: LoadParameters) -> Done:
        """Start from other parameters."""
        instance = self.instance
        parameters = read_parameters(request.path, instance.shapes)
        instance.backend.load_parameters(parameters.astype(instance.task.parameter_dtype))
        return Done()

    def save_parameters(self, request: SaveParameters) -> Done:
        """Show what was trained so far."""
        instance = self.instance
        parameters = check_parameters(instance.backend.parameters(), instance.shapes)
        write_parameters(request.path, parameters, optimizer_state(instance))
        return Done()

    def epoch(self, request: TrainEpoch) -> EpochTrained:
        """Train one epoch."""
        backend = self.instance.backend
        batches = read_batches(request.batches)
        begin = time.perf_counter()
        if request.learning_rate is not None:
            backend.set_learning_rate(request.learning_rate)
        loss = backend.train_epoch(batches)
        seconds = time.perf_counter() - begin
        checked = check_loss(loss, batches)
        return EpochTrained(seconds, checked.nats, checked.tokens)

    def ping(self, request: Ping) -> Done:
        """Nothing."""
        return Done()

    def stage_layer(self, request: StageLayer) -> Done:
        """Hand over what passes through the layers alone read."""
        instance = self.instance
        dtype = instance.task.dtype
        inputs = np.load(request.inputs, allow_pickle=False).astype(dtype)
        slopes = None
        if request.slopes is not None:
            slopes = np.load(request.slopes, allow_pickle=False).astype(dtype)
        instance.staged = inputs.shape[1:3], slopes is not None
        instance.backend.stage_layer(inputs, slopes)
        return Done()

    def pass_layer(self, request: PassLayer) -> LayerPassed:
        """Go through the layers alone."""
        backend = self.instance.backend
        begin = time.perf_counter()
        for index in range(request.first, request.first + request.count):
            backend.layer_pass(index)
        return LayerPassed(time.perf_counter() - begin)

    def show_layer(self, request: ShowLayer) -> Done:
        """Show what the last pass has given."""
        instance = self.instance
        if instance.staged is None:
            raise OutOfOrder("the worker must be asked to stage numbers for the layers first")
        (steps, batch), backward = instance.staged
        shapes = result_shapes(instance.task.model, steps, batch, backward, self._cell)
        write_layer_result(
            request.path, check_layer_result(instance.backend.layer_result(), shapes)
        )
        return Done()

    def matmul(self, request: Matmul) -> Timed:
        """Matmuls, if the backend offers any that work.

        Their operands are not the trial's: what memory it took is read before.
        """
        instance = self.instance
        instance.memory()
        try:
            return Timed(
                time_calls(lambda: instance.backend.matrix_product(request.side), request.count)
            )
        except NotImplementedError:
            pass
        except Exception:  # what is not asked of a backend cannot fail its trial
            traceback.print_exc()
        return Timed(None)

    def evaluate(self, request: Evaluate) -> Evaluated:
        """The loss on held-out windows, from zero state."""
        backend = self.instance.backend
        batches = read_batches(request.batches)
        loss = check_loss(backend.evaluate(batches), batches)
        return Evaluated(loss.nats, loss.tokens)

    def generate(self, request: Generate) -> Generated:
        """Greedy continuations of each prefix."""
        clock, backend = Stopwatch(), self.instance.backend
        length, size = request.length, request.vocabulary_size
        continuations = [
            check_ids(backend.generate(prefix, length), length, size) for prefix in request.prefixes
        ]
        clock.lap("generate")
        return Generated(continuations, clock.laps["generate"])

    def finish(self, request: Finish) -> Finished:
        """Facts about the trial that only this process knows."""
        facts = {str(k): str(v) for k, v in self.instance.backend.runtime().items()}
        return Finished(facts, self.instance.memory())


def optimizer_state(instance: Instance) -> tuple[Parameters, ...]:
    """What the optimizer keeps; :class:`InvalidAnswer` if it is not what the task says."""
    names = instance.task.training.moments
    return check_moments(instance.backend, names, instance.shapes) if names else ()


def import_factory(name: str, imports: Sequence[str], install: str) -> Factory:
    """The factory ``module:attribute``; :class:`Unavailable` if its framework is missing."""
    module, _, attribute = name.partition(":")
    try:
        factory: Factory = getattr(importlib.import_module(module), attribute)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in imports:
            raise
        raise Unavailable(f"{error.name} is not installed: {install}") from error
    return factory
