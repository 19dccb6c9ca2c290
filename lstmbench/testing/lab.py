"""What checks work with: small tasks, texts and instances, the same for every backend."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from lstmbench import reference
from lstmbench.audit.comparison import MAX_ALLOWED
from lstmbench.backend import (
    Backend,
    EpochLoss,
    ModelConfig,
    Parameters,
    Task,
    TrainingConfig,
)
from lstmbench.batches import Batches
from lstmbench.cells import LSTM, Cell
from lstmbench.testing.differences import Difference, Mismatch, difference
from lstmbench.worker import parity
from lstmbench.worker.answers import check_loss, check_moments, check_parameters
from lstmbench.worker.parity_setting import SIXTEEN_BITS, first_gradient_size, rarest_targets

VOCABULARY, HIDDEN, BATCH, STEPS, WINDOWS = 11, 16, 4, 6, 3
#: How often an epoch is timed where the least of several counts.
ROUNDS = 4
#: How often a share of work left behind is measured before it is believed.
ATTEMPTS = 3


def random_batches(windows: int, batch: int, steps: int, vocabulary: int = VOCABULARY) -> Batches:
    """Fixed pseudo-random text whose windows continue each other, ``[windows, batch, steps]``."""
    rng = np.random.default_rng([windows, batch, steps])
    rows = rng.integers(0, vocabulary - 1, (batch, windows * steps + 1), dtype=np.int32)

    def cut(start: int) -> np.ndarray:
        part = rows[:, start : start + windows * steps].reshape(batch, windows, steps)
        return np.ascontiguousarray(part.transpose(1, 0, 2))

    return Batches(cut(0), cut(1))


@dataclasses.dataclass(frozen=True)
class Epoch:
    """One epoch of several: before it, parameters may be loaded and a learning rate be told."""

    batches: Batches
    rate: float | None = None
    start: Parameters | None = None


class CheckContext:
    """One backend, mode and device under test.

    Instances are kept by task and restarted from parameters, since some backends compile for
    seconds. ``clip_norm`` lies between the gradient norms of plain and of rare targets, so that
    one instance sees clipping idle and at work.
    """

    def __init__(
        self,
        factory: Callable[[Task], Backend],
        device: str,
        mode: str,
        dtype: str,
        threads: int,
        cell: Cell = LSTM,
    ) -> None:
        self.factory = factory
        self.cell = cell
        self.base = Task(
            ModelConfig(VOCABULARY, HIDDEN, 1),
            TrainingConfig(0.5, 1.0, BATCH, STEPS),
            device,
            mode,
            dtype,
            threads,
            seed=7,
        )
        self.tolerance = parity.TOLERANCE[dtype]
        self._instances: dict[Task, Backend] = {}

    def task(
        self,
        layers: int = 1,
        batch: int = BATCH,
        steps: int = STEPS,
        embedding_size: int | None = None,
        tied: bool = False,
        **training: Any,
    ) -> Task:
        """The base task at another size and with other features, with its clip norm, or its clip
        value if one is given, between the two gradients'; an infinite clip norm stays."""
        base = dataclasses.replace(
            self.base,
            model=ModelConfig(VOCABULARY, HIDDEN, layers, embedding_size, tied),
            training=dataclasses.replace(
                self.base.training, batch_size=batch, steps=steps, **training
            ),
        )
        exact, plain = self.start(base).astype(np.float64), random_batches(1, batch, steps)
        sizes = [
            first_gradient_size(exact, data, self.cell, base.training)
            for data in (plain, self.rare(plain))
        ]
        clip = "clip_value" if "clip_value" in training else "clip_norm"
        changes: dict[str, Any] = {clip: math.sqrt(sizes[0] * sizes[1])}
        if math.isinf(training.get(clip, 0.0)):
            return base
        return dataclasses.replace(base, training=dataclasses.replace(base.training, **changes))

    @cached_property
    def plain(self) -> Task:
        return self.task()

    def start(self, task: Task) -> Parameters:
        """Parameters and biases large enough that every mistake shows, float32."""
        return reference.draw_parameters(task.model, 3, 0.3, 0.3, self.cell)

    @staticmethod
    def rare(batches: Batches) -> Batches:
        return rarest_targets(batches, VOCABULARY)

    def fresh(self, task: Task, batches: Batches | None = None) -> Backend:
        """A new instance, prepared if ``batches`` are given."""
        instance = self.factory(task)
        assert isinstance(instance, Backend), (
            f"expected a lstmbench.Backend from the factory, got {type(instance).__name__}"
        )
        if batches is not None:
            instance.prepare(batches)
        return instance

    def backend(self, task: Task, batches: Batches, start: Parameters | None = None) -> Backend:
        """The kept instance of a task, prepared for ``batches``, loaded with ``start``."""
        if task not in self._instances:
            self._instances[task] = self.fresh(task)
        instance = self._instances[task]
        instance.prepare(batches)
        instance.load_parameters((start or self.start(task)).astype(task.parameter_dtype))
        return instance

    def close(
        self, got: float, expected: float, what: str, explanation: Sequence[str] = ()
    ) -> None:
        """Assert a relative error within the dtype's tolerance."""
        error = abs(got - expected) / max(abs(expected), 1e-30)
        if not error <= self.tolerance:
            raise Mismatch(
                f"{what}: expected {expected:.9g}, got {got:.9g} (relative error {error:.1e}, "
                f"allowed {self.tolerance:.0e})",
                explanation,
            )

    def agrees(self, task: Task, batches: Batches, what: str) -> None:
        """Train one epoch and compare loss and every tensor's change with the reference."""
        asked = parity.Pass.compute(what, batches, self.start(task), task.training, self.cell)
        differences = asked_differences(asked, *asked.ask(self.backend(task, batches)))
        wrong = [each for each in differences if not each.error <= self.tolerance]
        if wrong:
            worst = max(wrong, key=lambda each: each.error)
            raise Mismatch(
                f"{what}: {len(wrong)} of {len(differences)} quantities differ from the "
                f"reference's by more than {self.tolerance:.0e}, most of all {worst}",
                map(str, wrong),
            )

    def agrees_over(self, task: Task, epochs: Sequence[Epoch], what: str) -> None:
        """Train some epochs, and compare losses, every tensor's change and what the optimizer keeps
        with the reference. As much is allowed as rounding does, which adam and rmsprop enlarge."""
        start = self.start(task)
        exact = _reference_course(start, task, epochs, np.float64, self.cell)
        rounded = _reference_course(start, task, epochs, np.float32, self.cell)
        backend = self.backend(task, epochs[0].batches, epochs[0].start or start)
        got = _course(backend, start, task, epochs)
        finer = 2.0**-29 if task.dtype == "float64" else 1.0
        drift = max(difference(n, rounded[n], exact[n]).error for n in exact)
        allowed = max(self.tolerance, min(parity.ALLOWANCE * finer * drift, parity.MAX_ALLOWED))
        if task.dtype in SIXTEEN_BITS:  # of which the reference in float32 shows nothing
            allowed = MAX_ALLOWED[task.dtype]
        self.same_arrays(got, exact, what, allowed)

    def same_arrays(
        self,
        got: Mapping[str, np.ndarray],
        exact: Mapping[str, np.ndarray],
        what: str,
        allowed: float | None = None,
    ) -> None:
        """Assert that every array is the reference's, as far as is ``allowed``: the tolerance."""
        allowed = self.tolerance if allowed is None else allowed
        found = [difference(name, got[name], exact[name]) for name in exact]
        wrong = [each for each in found if not each.error <= allowed]
        if wrong:
            worst = max(wrong, key=lambda each: each.error)
            raise Mismatch(
                f"{what}: {len(wrong)} of {len(found)} quantities differ from the reference's by "
                f"more than {allowed:.0e}, most of all {worst}",
                map(str, wrong),
            )

    def finished(self, batch: int, steps: int, hidden: int, most: float) -> None:
        """Assert that work left behind by ``train_epoch`` on one window is no such share of it.

        Only a backend that leaves the work every time is sure to be measured so again and again.
        """
        batches = random_batches(1, batch, steps)
        task = dataclasses.replace(
            self.base,
            model=ModelConfig(VOCABULARY, hidden, 1),
            training=TrainingConfig(0.1, 1.0, batch, steps),
        )
        backend = self.backend(task, batches)
        backend.train_epoch(batches)

        def read_late() -> np.ndarray:
            backend.train_epoch(batches)
            backend.evaluate(batches)  # which cannot begin before the epoch is done
            return _timed(backend.parameters)

        share = self._share_left(
            lambda: backend.train_epoch(batches), backend.parameters, read_late, most
        )
        assert share < most, (
            f"reading the parameters took {share:.0%} of the epoch, less than {most:.0%} is "
            "expected: the work was not done"
        )

    def layer_finished(self, batch: int, steps: int, hidden: int, most: float) -> None:
        """The same of a pass through the layers alone."""
        task = dataclasses.replace(
            self.base,
            model=ModelConfig(VOCABULARY, hidden, 1, hidden),
            training=TrainingConfig(0.1, 1.0, batch, steps),
        )
        backend = self.backend(task, random_batches(1, batch, steps))
        backend.stage_layer(*layer_numbers(task, 1, 0))
        backend.layer_pass(0)

        def read_again() -> np.ndarray:
            backend.layer_result()
            return _timed(backend.layer_result)

        share = self._share_left(
            lambda: backend.layer_pass(0), backend.layer_result, read_again, most
        )
        assert share < most, (
            f"reading the result took {share:.0%} of the pass, less than {most:.0%} is expected: "
            "the pass was not done"
        )

    def _share_left(
        self,
        work: Callable[[], object],
        read: Callable[[], object],
        read_late: Callable[[], np.ndarray],
        most: float,
    ) -> float:
        """Of several measurements the last one, which is the first below ``most``, if any is."""
        on_cpu = self.base.device_kind == "cpu"
        for _ in range(ATTEMPTS):
            share = _share_left(work, read, read_late, on_cpu)
            if share < most:
                break
        return share


def _reference_course(
    start: Parameters,
    task: Task,
    epochs: Sequence[Epoch],
    dtype: type[np.floating[Any]],
    cell: Cell,
) -> dict[str, np.ndarray]:
    """What :func:`_course` gets, of the reference."""
    before = parameters = start.astype(dtype)
    optimizer, losses = reference.Optimizer(task.training), []
    for epoch in epochs:
        if epoch.start is not None:
            before = parameters = epoch.start.astype(dtype)
            optimizer.moments, optimizer.updates = (), 0
        if epoch.rate is not None:
            optimizer.learning_rate = epoch.rate
        parameters, loss = reference.train_epoch(
            parameters, epoch.batches, task.training, cell, optimizer
        )
        losses.append(loss.nats / loss.tokens)
    return _quantities(losses, before, parameters, task, optimizer.moments)


def _course(
    backend: Backend, start: Parameters, task: Task, epochs: Sequence[Epoch]
) -> dict[str, np.ndarray]:
    """Loss of each epoch, change of each tensor since parameters were last loaded, and what the
    optimizer keeps."""
    before, losses = start, []
    for index, epoch in enumerate(epochs):
        if epoch.start is not None:
            before = epoch.start
            if index:
                backend.load_parameters(before.astype(task.parameter_dtype))
        if epoch.rate is not None:
            backend.set_learning_rate(epoch.rate)
        loss = check_loss(backend.train_epoch(epoch.batches), epoch.batches)
        losses.append(loss.nats / loss.tokens)
    names = task.training.moments
    moments = check_moments(backend, names) if names else ()
    return _quantities(losses, before, check_parameters(backend.parameters()), task, moments)


def _quantities(
    losses: Sequence[float],
    before: Parameters,
    after: Parameters,
    task: Task,
    moments: Sequence[Parameters],
) -> dict[str, np.ndarray]:
    found = {f"loss of epoch {i + 1}": np.array(loss) for i, loss in enumerate(losses)}
    found |= dict(parity.difference(after, before).items())
    for name, kept in zip(task.training.moments, moments, strict=True):
        found |= {f"{name} of {tensor}": array for tensor, array in kept.items()}
    return found


def _share_left(
    work: Callable[[], object],
    read: Callable[[], object],
    read_late: Callable[[], np.ndarray],
    on_cpu: bool,
) -> float:
    """Which share of some work is still to be done when it returns.

    To be done is what reading its result takes longer right after it than late, when it must have
    been done; of each the least of several. Work on a processor shows both by the clock, which
    runs on when other processes have their time slice, and in processor time, so there the lesser
    counts.
    """
    works, readings, usual = [], [], []
    for _ in range(ROUNDS):
        works.append(_timed(work))
        readings.append(_timed(read))
        usual.append(read_late())
    left = np.min(readings, axis=0) - np.min(usual, axis=0)
    by_clock, of_processor = left / np.maximum(np.min(works, axis=0) + left, 1e-9)
    return float(min(by_clock, of_processor) if on_cpu else by_clock)


def layer_numbers(task: Task, passes: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Inputs and slopes ``[passes, T, B, ...]`` for the layers alone, in the task's dtype."""
    rng, training = np.random.default_rng(seed), task.training
    shape = passes, training.steps, training.batch_size
    inputs, slopes = (
        rng.uniform(-1, 1, (*shape, width)).astype(np.float32).astype(task.dtype)
        for width in (task.model.input_size(0), task.model.hidden_size)
    )
    return inputs, slopes


def _timed(call: Callable[[], object]) -> np.ndarray:
    """Seconds that a call takes, by the clock and of this process's processors."""
    clocks = (time.perf_counter, time.process_time)
    begin = [clock() for clock in clocks]
    call()
    return np.array([clock() - start for clock, start in zip(clocks, begin, strict=True)])


def asked_differences(asked: parity.Pass, loss: EpochLoss, after: Parameters) -> list[Difference]:
    """The loss and every tensor's change against a pass's."""
    change = parity.difference(after, asked.start)
    pairs = zip(change.items(), asked.change.items(), strict=True)
    return [
        difference("loss", np.array(loss.nats / loss.tokens), np.array(asked.loss)),
        *(difference(name, got, expected) for (name, got), (_, expected) in pairs),
    ]


def same_parameters(before: Parameters, after: Parameters, what: str) -> None:
    """Assert that nothing changed, bit for bit."""
    for (name, left), (_, right) in zip(before.items(), after.items(), strict=True):
        assert left.shape == right.shape, f"{name}: expected shape {left.shape}, got {right.shape}"
        changed = int(np.sum(left != right))
        assert not changed, f"{what} changed {changed} of {left.size} values of {name}"
