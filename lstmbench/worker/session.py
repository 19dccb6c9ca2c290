"""One trial inside its worker process.

The clock is here: an epoch's seconds start when its NumPy arrays exist and end when
``train_epoch`` returns, so conversion and transfer to the device are inside.
"""

from __future__ import annotations

import gc
import importlib
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from lstmbench import reference
from lstmbench.backend import Backend, Task
from lstmbench.batches import Batches, partition
from lstmbench.errors import Unavailable
from lstmbench.worker import parity
from lstmbench.worker.answers import InvalidAnswer, check_ids, check_loss, check_parameters
from lstmbench.worker.idle import when_idle
from lstmbench.worker.loop import Handlers, OutOfOrder, Session, set_cpus
from lstmbench.worker.memory import peak_memory, resident, restart_peak
from lstmbench.worker.messages import (
    INTERFACE,
    Detail,
    EpochTrained,
    Evaluate,
    Evaluated,
    Finish,
    Finished,
    Generate,
    Generated,
    LoadTrial,
    Matmul,
    ParityProof,
    Prepare,
    Prepared,
    Timed,
    TrainEpoch,
    TrialLoaded,
    WaitUntilIdle,
)
from lstmbench.worker.timing import Stopwatch, time_calls

Factory = Callable[[Task], Backend]


@dataclass(frozen=True)
class Loaded:
    """What is known once the plugin is imported."""

    factory: Factory
    task: Task
    init: str
    splits: dict[str, np.ndarray]

    def batches(self, split: str, offset: int) -> Batches:
        training = self.task.training
        return partition(self.splits[split], training.batch_size, training.steps, offset)


@dataclass
class Ready:
    """The instance that is timed; ``peak_name`` says what the process's peak memory includes."""

    backend: Backend
    peak_name: str
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
    """Load, then prepare, then the rest in any order; anything else is :class:`OutOfOrder`."""

    def __init__(self) -> None:
        self._loaded: Loaded | None = None
        self._ready: Ready | None = None

    def handlers(self) -> Handlers:
        return {
            LoadTrial: self.load,
            Prepare: self.prepare,
            TrainEpoch: self.epoch,
            Matmul: self.matmul,
            WaitUntilIdle: when_idle,
            Evaluate: self.evaluate,
            Generate: self.generate,
            Finish: self.finish,
        }

    @property
    def loaded(self) -> Loaded:
        if self._loaded is None:
            raise OutOfOrder("the worker must be asked to load first")
        return self._loaded

    @property
    def ready(self) -> Ready:
        if self._ready is None:
            raise OutOfOrder("the worker must be asked to load and to prepare first")
        return self._ready

    def load(self, request: LoadTrial) -> TrialLoaded:
        """Import the plugin and read the tokens."""
        set_cpus(request.cpus)
        ids = np.load(request.tokens, allow_pickle=False)
        splits = {name: ids[start:stop] for name, (start, stop) in request.splits.items()}
        begin = time.perf_counter()
        factory = import_factory(request.factory, request.imports, request.install)
        seconds = time.perf_counter() - begin
        self._loaded = Loaded(factory, request.task, request.init, splits)
        return TrialLoaded(seconds, resident())

    def prepare(self, request: Prepare) -> Prepared:
        """Prove parity on a throw-away instance, then build the one that is timed.

        Phases ``build`` and ``prepare`` are the first instance's, when nothing is compiled yet;
        ``rebuild`` is all of the second's.
        """
        loaded = self.loaded
        batches = loaded.batches("train", 0)
        phases, proof = prove(loaded, batches)
        gc.collect()
        peak_name = "peak" if restart_peak() else "peak_with_parity"
        clock = Stopwatch(phases)
        backend = loaded.factory(loaded.task)
        if loaded.init == "shared":
            initial = reference.draw_parameters(loaded.task.model, loaded.task.seed)
            backend.load_parameters(initial.astype(loaded.task.dtype))
        backend.prepare(batches)
        clock.lap("rebuild")
        digest = check_parameters(backend.parameters()).digest()
        self._ready = Ready(backend, peak_name)
        return Prepared(phases, proof, digest)

    def epoch(self, request: TrainEpoch) -> EpochTrained:
        """Train one epoch at an offset."""
        batches, backend = self.loaded.batches("train", request.offset), self.ready.backend
        begin = time.perf_counter()
        loss = backend.train_epoch(batches)
        seconds = time.perf_counter() - begin
        checked = check_loss(loss, batches)
        return EpochTrained(seconds, checked.nats, checked.tokens)

    def matmul(self, request: Matmul) -> Timed:
        """Matrix products, if the backend offers any that work.

        Their operands are not the trial's: what memory it took is read before.
        """
        ready = self.ready
        ready.memory()
        try:
            return Timed(
                time_calls(lambda: ready.backend.matrix_product(request.side), request.count)
            )
        except NotImplementedError:
            pass
        except Exception:  # what is not asked of a backend cannot fail its trial
            traceback.print_exc()
        return Timed(None)

    def evaluate(self, request: Evaluate) -> Evaluated:
        """The loss on a split, from zero state at offset 0."""
        batches = self.loaded.batches(request.split, 0)
        loss = check_loss(self.ready.backend.evaluate(batches), batches)
        return Evaluated(loss.nats, loss.tokens)

    def generate(self, request: Generate) -> Generated:
        """Greedy continuations of each prefix."""
        clock, backend = Stopwatch(), self.ready.backend
        length, size = request.length, request.vocabulary_size
        continuations = [
            check_ids(backend.generate(prefix, length), length, size) for prefix in request.prefixes
        ]
        clock.lap("generate")
        return Generated(continuations, clock.laps["generate"])

    def finish(self, request: Finish) -> Finished:
        """Facts about the trial that only this process knows."""
        facts = {str(k): str(v) for k, v in self.ready.backend.runtime().items()}
        return Finished(facts, self.ready.memory())


def prove(loaded: Loaded, batches: Batches) -> tuple[dict[str, float], ParityProof]:
    """Seconds by phase and the proof of parity, by an instance that is gone afterwards.

    Raises :class:`InvalidAnswer` with the proof if the instance computes something else.
    """
    clock = Stopwatch()
    instance = loaded.factory(loaded.task)
    if not isinstance(instance, Backend):
        raise InvalidAnswer(INTERFACE, f"factory made a {type(instance).__name__}, not a Backend")
    clock.lap("build")
    instance.prepare(batches)
    clock.lap("prepare")
    result = parity.check(instance, batches)
    clock.lap("parity")
    proof = ParityProof(
        worst=result.worst,
        tolerance=result.tolerance,
        errors=result.errors,
        allowed=result.allowed,
        shape=result.shape,
        cut=result.cut,
    )
    first = result.first_difference
    if first:
        allowed = result.allowed.get(first, result.tolerance)
        raise InvalidAnswer(
            "parity",
            f"{first} differs from the reference by {result.errors[first]:.1e}, "
            f"allowed is {allowed:.0e}",
            Detail(clock.laps, proof),
        )
    return clock.laps, proof


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
