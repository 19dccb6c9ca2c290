"""How far an honest result may be from the reference, and how far one is.

Rounding is amplified on its way through the updates, by how much depends on sizes, rates and the
place on the way. So it is measured, not assumed: the reference trains the same epochs from the same
parameters in float64 and in the trial's dtype, and what lies between the two is what that dtype
does to honest work there. An implementation that sums in another order is off by about as much
(one training is one sample); :data:`MARGIN` times that is allowed. Where this would be more
than :data:`MAX_ALLOWED`, rounding hides mistakes, and nothing is said of that quantity.

With dropout every training has masks of its own, and no two agree. There the reference trains
several times, and what is claimed may differ from their mean by some times their spread:
how far parameters went in the direction in which the samples went (``progress``), how far they are
from where the others are (``scatter``: of a training without dropout it is less), and each loss.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lstmbench.audit.replay import Trained
from lstmbench.backend import Parameters
from lstmbench.worker.parity import TOLERANCE

#: The same of losses: sums of many numbers, whose errors cancel.
LOSS_TOLERANCE = {dtype: tolerance / 10 for dtype, tolerance in TOLERANCE.items()}
#: Bits of the significand, the hidden one included.
ROUNDING_BITS = {"float64": 53, "float32": 24, "float16": 11, "bfloat16": 8}
#: How many times the reference's own error is allowed.
MARGIN = 10.0
#: What can be allowed at most: skipping one of eight windows is off by a tenth.
MAX_ALLOWED = {"float64": 1e-2, "float32": 1e-2, "float16": 0.3, "bfloat16": 0.3}
#: Trainings with other masks, and how many times their spread is allowed: by Student's t, beyond it
#: is one honest training in ten thousand.
SAMPLES, SAMPLE_MARGIN = 12, 6.0
#: What may be allowed with dropout, and the least that is: of a spread that is small by luck.
MAX_ALLOWED_WITH_DROPOUT, MIN_ALLOWED_WITH_DROPOUT = 0.5, 0.005

#: Spacings of numbers, over the size of the parameters, up to which float32 has only rounded them:
#: beyond, rounding has grown on its way, and one training in float32 does not tell how far.
MERELY_ROUNDED = 16.0


@dataclass(frozen=True)
class Comparison:
    """Relative errors by quantity, and how large an honest one may be.

    The change of each tensor, and of ``parameters`` together; ``progress``, how far parameters went
    in the direction in which they should; ``loss 1``, ``loss 2``, ... of each epoch. Of changes so
    small that storing them in float32 drowns them, ``progress`` is still known: rounding has no
    direction. A quantity of which rounding hides too much has no entry in ``allowed``: it is not
    judged.
    """

    errors: Mapping[str, float]
    allowed: Mapping[str, float]

    @property
    def beyond(self) -> list[str]:
        """The quantities that honest work does not explain, the worst first."""
        ratios = {n: self.errors[n] / allowed for n, allowed in self.allowed.items()}
        found = [name for name, ratio in ratios.items() if not ratio <= 1]
        return sorted(found, key=lambda name: -ratios[name])

    @property
    def judged(self) -> bool:
        """Whether the parameters could be judged as a whole."""
        return "parameters" in self.allowed or "progress" in self.allowed


def compare(
    start: Parameters,
    claimed: Trained,
    exact: Trained,
    rounded: Trained,
    dtype: str,
    moments: Sequence[str] = (),
) -> Comparison:
    """``claimed`` against the reference's ``exact`` training of the same epochs from ``start``, for
    a trial in ``dtype``; ``rounded`` is the reference's training in :func:`rounding_dtype`.

    ``moments`` names what the optimizer keeps, each compared as a whole.
    """
    errors = _errors(start, claimed, exact) | _moment_errors(moments, claimed, exact)
    honest = _honest_errors(start, rounded, exact, dtype) | _moment_errors(moments, rounded, exact)
    return Comparison(errors, allowances(honest, dtype))


def most_allowed(dtype: str, dropout: float) -> float:
    """The largest error of any quantity that may be allowed."""
    return MAX_ALLOWED_WITH_DROPOUT if dropout else MAX_ALLOWED[dtype]


def compare_with_samples(
    start: Parameters, claimed: Trained, samples: Sequence[Trained]
) -> Comparison:
    """``claimed`` against trainings of the same epochs from ``start`` with other masks."""
    origin = _flat(start)
    changes = [_flat(sample.parameters) - origin for sample in samples]
    change, total = _flat(claimed.parameters) - origin, sum(changes)
    # every tensor counts alike, as far as masks move it
    usual_distance = _by_tensor(start, np.std(changes, axis=0))
    along: list[tuple[float, float]] = []
    apart: list[tuple[float, float]] = []
    for own in changes:
        others = (total - own) / (len(changes) - 1)
        size = float(others @ others)
        along.append((_ratio(float(change @ others), size), _ratio(float(own @ others), size)))
        claimed_off, own_off = (
            float(np.linalg.norm((each - others) / usual_distance)) for each in (change, own)
        )
        apart.append((claimed_off, own_off))
    found = {}
    for name, pairs in {"progress": along, "scatter": apart}.items():
        got, usual = zip(*pairs, strict=True)
        found[name] = float(np.mean(got)), list(usual)
    for index, nats in enumerate(claimed.nats):
        found[f"loss {index + 1}"] = (nats, [sample.nats[index] for sample in samples])
    errors, allowed = {}, {}
    for name, (value, sampled) in found.items():
        mean, spread = float(np.mean(sampled)), float(np.std(sampled, ddof=1))
        errors[name] = _ratio(abs(value - mean), abs(mean))
        explained = max(MIN_ALLOWED_WITH_DROPOUT, SAMPLE_MARGIN * _ratio(spread, abs(mean)))
        if explained <= MAX_ALLOWED_WITH_DROPOUT:
            allowed[name] = explained
    return Comparison(errors, allowed)


def _by_tensor(like: Parameters, flat: np.ndarray) -> np.ndarray:
    """Each tensor's norm, in place of each of its numbers; infinite for one that is all zero."""
    norms, begin = np.empty_like(flat), 0
    for _, array in like.items():
        part = slice(begin, begin + array.size)
        norms[part] = float(np.linalg.norm(flat[part])) or math.inf
        begin = part.stop
    return norms


def _flat(parameters: Parameters) -> np.ndarray:
    return np.concatenate([array.astype(np.float64).ravel() for _, array in parameters.items()])


def _moment_errors(names: Sequence[str], trained: Trained, exact: Trained) -> dict[str, float]:
    """Of each thing that the optimizer keeps, relative to its size."""
    if len(trained.moments) != len(names):
        return dict.fromkeys(names, math.inf)
    errors = {}
    for name, got, wanted in zip(names, trained.moments, exact.moments, strict=True):
        goal = _flat(wanted)
        distance = float(np.linalg.norm(_flat(got) - goal))
        errors[name] = _ratio(distance, float(np.linalg.norm(goal)))
    return errors


def rounding_dtype(dtype: str) -> str:
    """In which the reference shows what rounding does: of float64, float32 does it more."""
    return "float32" if dtype == "float64" else dtype


def allowances(honest: Mapping[str, float], dtype: str) -> dict[str, float]:
    """What is allowed of each quantity of which the reference's own error in
    :func:`rounding_dtype` is known, if it can be judged."""
    finer = 2.0 ** (ROUNDING_BITS[rounding_dtype(dtype)] - ROUNDING_BITS[dtype])
    allowed = {}
    for name, error in honest.items():
        least = LOSS_TOLERANCE[dtype] if name.startswith("loss") else TOLERANCE[dtype]
        explained = max(least, MARGIN * finer * error)
        if explained <= MAX_ALLOWED[dtype]:
            allowed[name] = explained
    return allowed


def _errors(start: Parameters, trained: Trained, exact: Trained) -> dict[str, float]:
    errors = {}
    off = size = along = 0.0
    triples = zip(start.items(), trained.parameters.items(), exact.parameters.items(), strict=True)
    for (name, origin), (_, value), (_, goal) in triples:
        change = (goal - origin).ravel()
        difference = (value.astype(np.float64) - goal).ravel()
        distance, length = float(np.linalg.norm(difference)), float(np.linalg.norm(change))
        errors[name] = _ratio(distance, length)
        off, size = math.hypot(off, distance), math.hypot(size, length)
        along += float(difference @ change)
    errors["parameters"] = _ratio(off, size)
    errors["progress"] = _ratio(abs(along), size**2)
    for index, (nats, expected) in enumerate(zip(trained.nats, exact.nats, strict=True)):
        errors[f"loss {index + 1}"] = _ratio(abs(nats - expected), abs(expected))
    return errors


def _honest_errors(
    start: Parameters, rounded: Trained, exact: Trained, dtype: str
) -> dict[str, float]:
    """What rounding alone does.

    One training is one sample: by luck its losses may be right though its parameters
    are far off, so a loss may err as much as they do.
    """
    errors = _errors(start, rounded, exact)
    pairs = zip(rounded.parameters.items(), exact.parameters.items(), strict=True)
    off = math.hypot(*(float(np.linalg.norm(a.astype(np.float64) - b)) for (_, a), (_, b) in pairs))
    size = math.hypot(*(float(np.linalg.norm(array)) for _, array in exact.parameters.items()))
    far = _ratio(off, size)
    merely_rounded = far <= MERELY_ROUNDED * 2.0 ** -ROUNDING_BITS[rounding_dtype(dtype)]
    errors["progress"] = errors["progress"] if merely_rounded else math.inf
    return {k: max(v, far) if k.startswith("loss") else v for k, v in errors.items()}


def _ratio(error: float, size: float) -> float:
    """Infinite where a value is not even finite."""
    ratio = error / size if size else (0.0 if error == 0 else math.inf)
    return ratio if math.isfinite(ratio) else math.inf
