"""Figures from raw series. Everything shown anywhere is computed here, from records only."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache

from lstmbench.record import Epochs, Evaluation, Record, Status

#: The last epochs whose median perplexity stands beside the last one's.
LAST = 10
#: Processes of a row before sampling looks for the first time whether they are enough.
LEAST = 5
#: Failures of a row after which sampling goes on without it.
FAILURES = 2
#: Nats below the floor that chance reaches less than once in a million trials.
CHANCE = math.log(1e6)
#: Values at most between which the slopes of all pairs are looked at.
MOST_SLOPES = 500


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

    Noise is one-sided: neighbours on the machine only ever slow an epoch down. Of the estimators
    tried on identical trials this repeats best (``docs/protocol.md``). ``None`` without a steady
    epoch.
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


@dataclass(frozen=True)
class Interval:
    """An estimate with its 95 % interval; no bounds where one process gives none."""

    value: float
    low: float | None
    high: float | None
    processes: int

    @property
    def half_width(self) -> float | None:
        """Of the interval, relative to the value."""
        if self.low is None or self.high is None:
            return None
        return (self.high - self.low) / 2 / self.value


def given_up(records: Sequence[Record]) -> bool:
    """Whether a row with these records has failed too often to be sampled on."""
    return sum(record.status != Status.OK for record in records) >= FAILURES


def interval(values: Sequence[float]) -> Interval | None:
    """Geometric mean of positive values of independent processes with Student's t interval.

    The values' logarithms vary between processes more than epochs do within one, so that only
    processes count as observations (Student 1908; Kalibera & Jones, "Rigorous benchmarking in
    reasonable time", ISMM 2013). Values without any spread are one observation, however often it
    was made.
    """
    if not values:
        return None
    logs = [math.log(value) for value in values]
    centre = math.fsum(logs) / len(logs)
    if alike(logs):
        return Interval(values[0], None, None, len(logs))
    error = statistics.stdev(logs) / math.sqrt(len(logs))
    reach = student_t(0.975, len(logs) - 1) * error
    bounds = math.exp(centre - reach), math.exp(centre + reach)
    return Interval(math.exp(centre), *bounds, len(logs))


def alike(logs: Sequence[float]) -> bool:
    """Whether values have no spread but that of rounding."""
    return max(logs) - min(logs) <= 1e-9


@cache
def student_t(probability: float, freedom: int) -> float:
    """Quantile of Student's t."""
    from scipy.special import stdtrit  # scipy.stats takes over a second to import

    return float(stdtrit(freedom, probability))


def unsettled(epochs: Epochs) -> bool:
    """Whether the steady epochs still drift: a clear trend that amounts to more than a tenth.

    Trend by Kendall's tau (Mann 1945, p below 0.001), size by the Theil-Sen slope (Sen 1968).
    """
    steady = rates(epochs)
    if len(steady) < 10:
        return False
    from scipy import stats

    if stats.kendalltau(range(len(steady)), steady).pvalue >= 0.001:
        return False
    # a slope looks at all pairs: of a long series those of its blocks' medians
    block = math.ceil(len(steady) / MOST_SLOPES)
    medians = [statistics.median(steady[i : i + block]) for i in range(0, len(steady), block)]
    slope = stats.theilslopes(medians).slope
    return bool(abs(slope) * len(medians) > 0.1 * statistics.median(steady))
