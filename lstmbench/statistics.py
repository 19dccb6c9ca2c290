"""Figures from raw series. Everything shown anywhere is computed here, from records only."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from lstmbench.record import Epochs, Evaluation

#: Epochs that do not count as steady: the first one fills caches and allocators.
WARM_UP = 1
#: The last epochs whose median perplexity stands beside the last one's.
LAST = 10
#: Nats below the floor that chance reaches less than once in a million trials.
CHANCE = math.log(1e6)


@dataclass(frozen=True)
class Throughput:
    """Tokens per second of the steady epochs: the median and the quartiles."""

    median: float
    low: float
    high: float


def perplexities(epochs: Epochs) -> list[float]:
    """exp(nats / tokens) of each epoch's training pass."""
    return [perplexity(n, t) for n, t in zip(epochs.nats, epochs.tokens, strict=True)]


def perplexity(nats: float, tokens: int) -> float:
    """exp(nats / tokens); infinite where that is beyond a float."""
    try:
        return math.exp(nats / tokens)
    except OverflowError:
        return math.inf


def last_median(values: Sequence[float]) -> float | None:
    """Median of the last ten, or of all if there are fewer."""
    return statistics.median(values[-LAST:]) if values else None


def suspect(nats: Sequence[float], evaluations: Sequence[Evaluation]) -> bool:
    """Whether a result is too good to be true.

    No loss is negative. And on text from a known source p, any model q fixed before has
    E[q(text) / p(text)] <= 1, so that by Markov's inequality it spends t nats less than the source
    with a probability of at most exp(-t) (Ville 1939; the spirit of MLPerf's reference
    convergence points).
    """
    too_good = (e.floor is not None and e.nats < e.floor - CHANCE for e in evaluations)
    return min(nats, default=0.0) < 0 or any(too_good)


def rates(epochs: Epochs) -> list[float]:
    """Tokens per second of each steady epoch."""
    pairs = zip(epochs.tokens, epochs.seconds, strict=True)
    return [tokens / seconds for tokens, seconds in pairs][WARM_UP:]


def throughput(epochs: Epochs) -> Throughput | None:
    """``None`` while there is no steady epoch."""
    steady = rates(epochs)
    if not steady:
        return None
    if len(steady) == 1:
        return Throughput(steady[0], steady[0], steady[0])
    low, median, high = statistics.quantiles(steady, n=4, method="inclusive")
    return Throughput(median, low, high)
