"""Does a backend compute what the reference computes? Asked before anything is timed.

At the published initialisation, normal(0, 0.01), mistakes hide: clipping never acts, and a lost
state changes the loss by 3e-6. Parity therefore starts from larger parameters *and biases* (see
:mod:`lstmbench.worker.parity_setting`) and trains one epoch twice: on windows of the text, where
clipping is idle, and on the same windows with the first one's targets all the rarest symbol, where
it acts. Compared with the float64 reference are the loss and, per tensor, ``|change - reference
change| / |reference change|``; there a correct float32 update is off by about 6e-6, a lost state
by 0.1, a doubled bias rate by 0.8, missing clipping by 5.

How much rounding explains at a setting is measured: the reference computes both passes in the
trial's dtype too. Where even the reference is far off, nothing can be proven, and the trial says so
before anything is trained.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace

import numpy as np

from lstmbench import reference
from lstmbench.backend import Backend, EpochLoss, Parameters, Task, TrainingConfig
from lstmbench.batches import Batches
from lstmbench.cells import LSTM, Cell
from lstmbench.errors import Unavailable
from lstmbench.worker import parity_setting
from lstmbench.worker.answers import InvalidAnswer, check_loss, check_parameters
from lstmbench.worker.messages import INTERFACE
from lstmbench.worker.parity_setting import SIXTEEN_BITS, Setting, rarest_targets, rounded

#: Largest relative error that still counts as the same function, per dtype.
TOLERANCE = {"float64": 1e-9, "float32": 1e-4, "float16": 5e-2, "bfloat16": 1e-1}
#: However much rounding explains: mistakes are off by a tenth and more.
MAX_ALLOWED = 1e-2
#: An honest backend, which rounds in another order, is allowed so many times the reference's own
#: error; where it would be allowed less than the second number of times, nothing can be proven.
ALLOWANCE, MIN_ALLOWANCE = 12, 2
#: The reference's share of a trial's time: beyond it the batches are cut.
REFERENCE_SECONDS = 30.0

Errors = dict[str, float]


def proof_dtypes(dtype: str) -> tuple[str, ...]:
    """In which dtypes a trial's program is proven: its own, and float32 for one of 16 bits.

    There rounding hides all but gross mistakes. So the program is proven in float32, with the
    mistakes that it has in any dtype, and the run in 16 bits is held to what rounding explains.
    """
    return (dtype, "float32") if dtype in SIXTEEN_BITS else (dtype,)


class Unprovable(Unavailable):
    """Rounding alone moves parameters so much that no mistake could be told from it."""


@dataclass(frozen=True)
class ParityResult:
    """Relative errors by quantity, such as ``"text: layer0.bias"`` or ``"clipped: loss"``.

    ``allowed`` holds, for quantities that rounding alone moves by more than ``tolerance``, what
    rounding explains; never more than :data:`MAX_ALLOWED`. ``shape`` is the ``(windows, batch,
    steps)`` that was compared; ``cut`` says that it is less than the trial's own.
    """

    errors: Errors
    allowed: Errors
    tolerance: float
    shape: tuple[int, int, int]
    cut: bool

    @property
    def worst(self) -> float:
        """The largest error; infinite if a value was not even finite."""
        return max(self.errors.values(), default=float("inf"))

    @property
    def worst_difference(self) -> str | None:
        """Of the quantities that differ, the one that exceeds most what it is allowed."""
        differing = beyond(self.errors, self.allowed, self.tolerance)
        return max(
            differing, key=lambda name: self.errors[name] / self.allowance(name), default=None
        )

    def allowance(self, name: str) -> float:
        """The largest error of a quantity that passes."""
        return self.allowed.get(name, self.tolerance)


def beyond(
    errors: Mapping[str, float], allowed: Mapping[str, float], tolerance: float
) -> list[str]:
    """The quantities whose error is more than is allowed, or is no number."""
    return [name for name, error in errors.items() if not error <= allowed.get(name, tolerance)]


def relative_error(change: np.ndarray, expected: np.ndarray) -> float:
    """``|change - expected| / |expected|`` in float64; infinite where not finite or misshapen."""
    if change.shape != expected.shape:
        return float("inf")
    error = np.linalg.norm(change.astype(np.float64) - expected)
    scale = np.linalg.norm(expected)
    ratio = float(error / scale) if scale else (0.0 if error == 0 else float("inf"))
    return ratio if np.isfinite(ratio) else float("inf")


@dataclass(frozen=True)
class Pass:
    """One epoch over ``batches`` from ``start``, and what the float64 reference makes of it.

    ``loss`` is in nats per token, ``change`` what is added to each parameter, in float64. The
    optimizer begins anew; a scheduled learning rate is told.
    """

    label: str
    batches: Batches
    start: Parameters
    loss: float
    change: Parameters
    training: TrainingConfig
    cell: Cell = LSTM

    @classmethod
    def compute(
        cls,
        label: str,
        batches: Batches,
        start: Parameters,
        training: TrainingConfig,
        cell: Cell = LSTM,
    ) -> Pass:
        exact = start.astype(np.float64)
        after, loss = reference.train_epoch(exact, batches, training, cell)
        mean = loss.nats / loss.tokens
        return cls(label, batches, start, mean, difference(after, exact), training, cell)

    @property
    def told_rate(self) -> float | None:
        """The learning rate that the backend is told, where there is a schedule."""
        return self.training.learning_rate if self.training.scheduled else None

    def errors(self, loss: EpochLoss, after: Parameters) -> Errors:
        """Relative errors of a loss and of every tensor's change."""
        mean = np.array(loss.nats / loss.tokens)
        errors = {f"{self.label}: loss": relative_error(mean, np.array(self.loss))}
        change = difference(after, self.start)
        for (name, got), (_, expected) in zip(change.items(), self.change.items(), strict=True):
            errors[f"{self.label}: {name}"] = relative_error(got, expected)
        return errors

    def ask(self, backend: Backend) -> tuple[EpochLoss, Parameters]:
        """The backend's own epoch from ``start``: its loss and its parameters afterwards.

        Raises :class:`lstmbench.worker.answers.InvalidAnswer` for answers that are none.
        """
        backend.load_parameters(self.start.astype(backend.task.parameter_dtype))
        if self.told_rate is not None:
            backend.set_learning_rate(self.told_rate)
        loss = check_loss(backend.train_epoch(self.batches), self.batches)
        return loss, check_parameters(backend.parameters())


def difference(after: Parameters, before: Parameters) -> Parameters:
    """``after - before`` in float64; a misshapen tensor stays as it is.

    Raises :class:`lstmbench.worker.answers.InvalidAnswer` if there are more tensors or fewer.
    """
    expected, got = ([name for name, _ in each.items()] for each in (before, after))
    if got != expected:
        raise InvalidAnswer(INTERFACE, f"expected the tensors {expected}, got {got}")
    pairs = zip(after.items(), before.items(), strict=True)
    return before.like(
        [a.astype(np.float64) - b if a.shape == b.shape else a for (_, a), (_, b) in pairs]
    )


@dataclass(frozen=True)
class Probe:
    """The epochs that are asked for at a setting, and what rounding explains in them."""

    setting: Setting
    passes: tuple[Pass, ...]
    allowed: Errors


def choose_setting(
    task: Task,
    batches: Batches,
    reference_seconds: float = REFERENCE_SECONDS,
    cell: Cell = LSTM,
) -> Setting:
    """Where a trial's parity is proven; :func:`check` wants an instance for the setting's task."""
    # in the trial's dtype the reference takes half as long as in float64
    return parity_setting.choose_setting(task, batches, reference_seconds / 3, cell)


def make_probe(setting: Setting) -> Probe:
    """The reference's part of parity.

    Where rounding grows over many windows, on fewer of them, down to two, so that a lost state
    still shows. Raises :class:`Unprovable` where rounding would hide every mistake.
    """
    task, training = setting.task, setting.task.training
    rare = rarest_targets(setting.batches, task.model.vocabulary_size)
    later = training
    if training.scheduled:  # another rate than the one that the instance was built with
        later = replace(training, learning_rate=training.learning_rate / 2)
    passes = (
        Pass.compute("text", setting.batches, setting.start, training, setting.cell),
        Pass.compute("clipped", rare, setting.start, later, setting.cell),
    )
    tolerance = TOLERANCE[task.dtype]
    most = max(tolerance, MAX_ALLOWED)
    rounding: Errors = {}
    for each in passes:
        rounding |= rounding_errors(each, each.training, task.dtype)
    worst = max(rounding.values())
    if MIN_ALLOWANCE * worst <= most:
        explained = {name: min(ALLOWANCE * error, most) for name, error in rounding.items()}
        return Probe(setting, passes, {k: v for k, v in explained.items() if v > tolerance})
    if setting.batches.windows >= 4:
        with suppress(Unprovable):
            return make_probe(setting.halved())
    model, remedy = task.model, "fewer layers or more units"
    if task.dtype != "float64":
        remedy += ", or --dtype float64"
    raise Unprovable(
        f"parity cannot be proven for {model.layers} layers of {model.hidden_size} in {task.dtype}:"
        f" rounding alone changes what the reference trains by {worst:.0e}, and at most {most:.0e} "
        f"can be told from a mistake: take {remedy}"
    )


def check(backend: Backend, setting: Setting) -> ParityResult:
    """Prove ``backend``, an instance for the setting's task, prepared for a trial's own batches.

    Its parameters are overwritten. Raises :class:`Unprovable`.
    """
    return compare(backend, make_probe(setting))


def compare(backend: Backend, probe: Probe) -> ParityResult:
    """Train ``backend`` as the probe asks, and hold it against the reference."""
    setting = probe.setting
    if setting.cut:
        backend.prepare(setting.batches)
    errors: Errors = {}
    for each in probe.passes:
        errors |= each.errors(*each.ask(backend))
    windows, batch, steps = setting.batches.inputs.shape
    return ParityResult(
        errors,
        probe.allowed,
        TOLERANCE[setting.task.dtype],
        (windows, batch, steps),
        setting.cut,
    )


def rounding_errors(asked: Pass, training: TrainingConfig, dtype: str) -> Errors:
    """What rounding to ``dtype`` explains of each quantity of a pass.

    In float64, where the reference has no error of its own, from the size of the parameters. Each
    tensor gets the most of all: one that happens to be nearly right is no measure.
    """
    if dtype == "float64":
        lost = 2.0**-53 * np.sqrt(asked.batches.windows)
        pairs = zip(asked.start.items(), asked.change.items(), strict=True)
        errors = {
            f"{asked.label}: {name}": lost / size * float(np.linalg.norm(start))
            for (name, start), (_, change) in pairs
            if (size := float(np.linalg.norm(change)))
        }
        errors = {f"{asked.label}: loss": 0.0, **errors}
    else:
        errors = asked.errors(*rounded_epoch(asked, training, dtype))
    loss, *tensors = errors.items()
    most = max(tensors, key=lambda item: item[1])
    return dict([loss, *((name, most[1]) for name, _ in tensors)])


def rounded_epoch(
    asked: Pass, training: TrainingConfig, dtype: str
) -> tuple[EpochLoss, Parameters]:
    """The reference in ``dtype``: 16 bits by float32 that computes with rounded parameters."""
    parameters, total = asked.start.astype(np.float32), 0.0
    state = reference.zero_state(parameters, asked.batches.inputs.shape[1], asked.cell)
    optimizer = reference.Optimizer(training)
    for inputs, targets in asked.batches:
        nats, gradient, state = reference.gradients(
            rounded(parameters, dtype), inputs, targets, state, asked.cell, training.loss
        )
        parameters = optimizer.step(parameters, gradient)
        total += nats
    return EpochLoss(total, asked.batches.tokens), parameters
