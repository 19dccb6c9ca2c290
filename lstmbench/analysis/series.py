"""What the raw series of one process say: perplexities, speeds, energy."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence

from lstmbench.records.record import Epochs

#: The last epochs whose median perplexity stands beside the last one's.
LAST_EPOCHS = 10


def perplexities(epochs: Epochs) -> list[float]:
    """exp(nats / tokens) of each epoch's training pass; none of the layers alone."""
    if not epochs.nats:
        return []
    return [perplexity(n, t) for n, t in zip(epochs.nats, epochs.tokens, strict=True)]


def perplexity(nats: float, tokens: int) -> float:
    """exp(nats / tokens); infinite where that is beyond a float."""
    try:
        return math.exp(nats / tokens)
    except OverflowError:
        return math.inf


def last_median(values: Sequence[float]) -> float | None:
    """Median of the last :data:`LAST_EPOCHS`, or of all if there are fewer; ``None`` of none."""
    return statistics.median(values[-LAST_EPOCHS:]) if values else None


def median_of(values: Iterable[float | None]) -> float | None:
    """Median of the values that are known; ``None`` if none is."""
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None


def rates(epochs: Epochs) -> list[float]:
    """Tokens per second of each steady epoch."""
    pairs = zip(epochs.tokens, epochs.seconds, strict=True)
    return [tokens / seconds for tokens, seconds in pairs][warm_up(len(epochs.seconds)) :]


def warm_up(epochs: int) -> int:
    """How many first epochs are not steady: a tenth, at least one, at most five."""
    return min(5, max(1, epochs // 10))


def speed(epochs: Epochs) -> float | None:
    """Tokens per second of one process: the mean over the faster half of the steady epochs.

    Noise is one-sided: other programs on the machine can only slow an epoch down. Of the
    estimators tried on identical trials this one repeats best (``docs/protocol.md``). ``None``
    without a steady epoch.
    """
    # epochs of a trial have equal tokens: the rate of the mean duration
    mean = faster_half_mean([1 / rate for rate in rates(epochs)])
    return 1 / mean if mean else None


def faster_half_mean(seconds: Sequence[float]) -> float | None:
    """Mean of the shorter half of some durations; ``None`` of none."""
    half = sorted(seconds)[: (len(seconds) + 1) // 2]
    return statistics.fmean(half) if half else None


def joules_per_million_tokens(epochs: Epochs) -> float | None:
    """Energy of all steady epochs, what the whole device drew meanwhile; ``None`` uncounted."""
    if not epochs.joules:
        return None
    steady = slice(warm_up(len(epochs.joules)), None)
    tokens = sum(epochs.tokens[steady])
    return 1e6 * math.fsum(epochs.joules[steady]) / tokens if tokens else None


def mean_speed(epochs: Epochs) -> float | None:
    """Tokens per second over all steady epochs: what published averages mean."""
    steady = rates(epochs)
    return statistics.harmonic_mean(steady) if steady else None
