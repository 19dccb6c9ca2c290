"""Does a backend compute what the reference computes? Asked before anything is timed.

At the published initialisation, normal(0, 0.01), mistakes hide: clipping never acts, and a lost
state changes the loss by 3e-6. Parity therefore starts from parameters *and biases* drawn at
normal(0, 0.1), less above 256 units, and trains one epoch twice: on windows of the text, where
clipping is idle, and on the same windows with the first one's targets all the rarest symbol, where
it acts. Compared with the float64 reference are the loss and, per tensor, ``|change - reference
change| / |reference change|``; there an honest float32 update is off by about 6e-6, a lost state by
0.1, a doubled bias rate by 0.8, missing clipping by 5.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from lstmbench import reference
from lstmbench.backend import Backend, EpochLoss, ModelConfig, Parameters
from lstmbench.batches import Batches
from lstmbench.worker.answers import check_loss, check_parameters

#: Largest relative error that still counts as the same function, per dtype.
TOLERANCE = {"float64": 1e-9, "float32": 1e-4, "float16": 5e-2, "bfloat16": 1e-1}
#: Bits of the significand, the hidden one included.
ROUNDING_BITS = {"float64": 53, "float32": 24, "float16": 11, "bfloat16": 8}
#: However small a change: mistakes are off by a tenth and more.
MAX_ALLOWED = 1e-2
SEED = 20220519
#: The reference's share of a trial's time: beyond it the batches are cut.
REFERENCE_SECONDS = 20.0


@dataclass(frozen=True)
class ParityResult:
    """Relative errors by quantity, such as ``"text: layer0.bias"`` or ``"clipped: loss"``.

    ``allowed`` holds, for quantities whose change is so small that rounding alone moves it by more
    than ``tolerance``, what rounding explains; never more than :data:`MAX_ALLOWED`. ``shape`` is
    the ``(windows, batch, steps)`` that was compared; ``cut`` says that it is less than the
    trial's own.
    """

    errors: dict[str, float]
    allowed: dict[str, float]
    tolerance: float
    shape: tuple[int, int, int]
    cut: bool

    @property
    def worst(self) -> float:
        """The largest error; infinite if a value was not even finite."""
        return max(self.errors.values(), default=float("inf"))

    @property
    def first_difference(self) -> str | None:
        """The first quantity beyond the tolerance, or ``None``."""
        return next(iter(beyond(self.errors, self.allowed, self.tolerance)), None)


def beyond(
    errors: Mapping[str, float], allowed: Mapping[str, float], tolerance: float
) -> list[str]:
    """The quantities whose error is more than is allowed, or is no number."""
    return [name for name, error in errors.items() if not error <= allowed.get(name, tolerance)]


def rarest_targets(batches: Batches, vocabulary_size: int) -> Batches:
    """The same windows, the first one's targets all the rarest symbol, so that clipping acts."""
    targets = batches.targets.copy()
    targets[0] = vocabulary_size - 1  # ids fall in frequency
    return Batches(batches.inputs, targets)


def probe_parameters(model: ModelConfig) -> Parameters:
    """Parameters and biases at normal(0, 0.1), float32; above 256 units at one over their root.

    The eigenvalues of the recurrent kernel's gates reach out to that root times the entries' size.
    Far above one the state of a wide model is chaotic: it blows up rounding until honest float32
    looks like a mistake (Sompolinsky, Crisanti & Sommers, "Chaos in random neural networks", 1988).
    """
    hidden = model.hidden_size
    scale = 0.1 if hidden <= 256 else 1 / math.sqrt(hidden)
    return reference.draw_parameters(model, SEED, scale=scale, bias_scale=scale)


def relative_error(change: np.ndarray, expected: np.ndarray) -> float:
    """``|change - expected| / |expected|`` in float64; infinite where not finite or misshapen."""
    if change.shape != expected.shape:
        return float("inf")
    error = np.linalg.norm(change.astype(np.float64) - expected)
    scale = np.linalg.norm(expected)
    ratio = float(error / scale) if scale else (0.0 if error == 0 else float("inf"))
    return ratio if np.isfinite(ratio) else float("inf")


Errors = dict[str, float]


def compare_epoch(
    backend: Backend, start: Parameters, batches: Batches, label: str
) -> tuple[Errors, Errors]:
    """One ``train_epoch`` from ``start`` against the float64 reference.

    Returns relative errors of the loss and of every tensor's change, and what rounding explains of
    each. Raises :class:`lstmbench.worker.answers.InvalidAnswer` for answers that are none.
    """
    exact = start.astype(np.float64)
    expected, loss = reference.train_epoch(exact, batches, backend.task.training)
    backend.load_parameters(start.astype(backend.task.dtype))
    answer = check_loss(backend.train_epoch(batches), batches)
    came = check_parameters(backend.parameters())
    errors = {f"{label}: loss": relative_error(_mean(answer), _mean(loss))}
    rounding = {}
    roundoff = 2.0 ** -ROUNDING_BITS[backend.task.dtype]
    triples = zip(came.items(), expected.items(), exact.items(), strict=True)
    for (name, value), (_, goal), (_, origin) in triples:
        fits = value.shape == goal.shape
        change = goal - origin
        errors[f"{label}: {name}"] = (
            relative_error(value - origin, change) if fits else float("inf")
        )
        # each update rounds every parameter; what led to it was rounded likewise
        noise = 8 * roundoff * np.sqrt(batches.windows) * np.linalg.norm(origin)
        size = np.linalg.norm(change)
        rounding[f"{label}: {name}"] = float(noise / size) if size else MAX_ALLOWED
    return errors, rounding


def _mean(loss: EpochLoss) -> np.ndarray:
    return np.array(loss.nats / loss.tokens)


def _product_rate() -> float:
    """Operations per second of float64 products: the best of several, for a neighbour slows most.

    At least what any processor of the last ten years does, so that a busy moment never decides
    how much is proven.
    """
    side = 256
    square = np.ones((side, side))
    best = float("inf")
    for _ in range(10):
        begin = time.perf_counter()
        square @ square
        best = min(best, time.perf_counter() - begin)
    return max(2 * side**3 / best, 1e10)


def affordable(batches: Batches, model: ModelConfig, seconds: float) -> Batches:
    """As many windows (then rows, then steps) as the reference does in ``seconds`` for one pass."""
    windows, batch, steps = batches.inputs.shape
    # 6 operations per parameter and token; the reference reaches about a quarter of the peak
    budget = int(seconds * _product_rate() / 4 / (6 * model.parameter_count))
    if budget >= batches.tokens:
        return batches
    windows = max(2 if windows > 1 else 1, min(windows, budget // (batch * steps)))
    batch = max(1, min(batch, budget // (windows * steps)))
    steps = max(1, min(steps, budget // (windows * batch)))
    # rows keep their order, so the state carried between windows stays meaningful
    return Batches(
        np.ascontiguousarray(batches.inputs[:windows, :batch, :steps]),
        np.ascontiguousarray(batches.targets[:windows, :batch, :steps]),
    )


def check(
    backend: Backend, batches: Batches, reference_seconds: float = REFERENCE_SECONDS
) -> ParityResult:
    """Train ``backend`` (a throw-away instance, prepared) twice and compare it.

    ``batches`` are a trial's own. The backend's parameters are overwritten.
    """
    task = backend.task
    proven = affordable(batches, task.model, reference_seconds / 2)
    if proven is not batches:
        backend.prepare(proven)
    start = probe_parameters(task.model)
    errors, rounding = compare_epoch(backend, start, proven, "text")
    rare = rarest_targets(proven, task.model.vocabulary_size)
    clipped = compare_epoch(backend, start, rare, "clipped")
    tolerance = TOLERANCE[task.dtype]
    explained = {**rounding, **clipped[1]}
    return ParityResult(
        errors | clipped[0],
        {k: min(v, MAX_ALLOWED) for k, v in explained.items() if v > tolerance},
        tolerance,
        tuple(proven.inputs.shape),
        cut=proven is not batches,
    )
