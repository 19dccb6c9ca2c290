"""Two rows against each other: ratio, interval, verdict; never a bare "faster"."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from lstmbench.analysis import observations
from lstmbench.analysis.intervals import Interval
from lstmbench.analysis.metrics import METRICS, TOKENS_PER_SECOND, Better, Metric
from lstmbench.records.record import Record

#: Speed first, then perplexity, then what else has a label.
COMPARED = (TOKENS_PER_SECOND, *(m for m in METRICS if m.label and m is not TOKENS_PER_SECOND))


@dataclass(frozen=True)
class Comparison:
    """``ratio`` is A's value over B's. ``paired``: both were interleaved in the same runs."""

    metric: Metric
    ratio: Interval
    paired: bool

    @property
    def verdict(self) -> str:
        """``better``, ``worse`` or ``undecided`` for A."""
        low, high = self.ratio.low, self.ratio.high
        if low is None or high is None or low <= 1 <= high:
            return "undecided"
        return "better" if (low > 1) == (self.metric.better is Better.HIGHER) else "worse"

    @property
    def measured(self) -> str:
        """How the two sides' observations belong together."""
        if self.metric.by_seed:
            return "seed by seed" if self.paired else "different seeds"
        return "interleaved" if self.paired else "not interleaved"


def compare(a: Sequence[Record], b: Sequence[Record]) -> list[Comparison]:
    """Every figure with a label that both sides have, in the order of :data:`COMPARED`."""
    found = []
    for metric in COMPARED:
        values = observations.by_seed if metric.by_seed else observations.by_group
        ours, theirs = values(a, metric.value), values(b, metric.value)
        if ours and theirs:
            interval, paired = observations.ratio(ours, theirs, metric.drifts)
            if metric.exact and interval.low is None and interval.processes > 1:
                interval = replace(interval, low=interval.value, high=interval.value)
            found.append(Comparison(metric, interval, paired))
    return found
