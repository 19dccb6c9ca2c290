"""Two sets of records against each other: ratio, interval, verdict; never a bare "faster"."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from lstmbench.analysis import observations
from lstmbench.analysis.intervals import Interval
from lstmbench.analysis.metrics import METRICS, Better, Metric
from lstmbench.protocol import identity
from lstmbench.records.record import Record


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

    def fails(self, least: float) -> bool:
        """Whether A is significantly worse, and by more than a gate lets through."""
        return self.verdict == "worse" and self.ratio.value < least


def compare(a: Sequence[Record], b: Sequence[Record]) -> list[Comparison]:
    """Every figure with a label that both sides have."""
    found = []
    for metric in (metric for metric in METRICS if metric.label):
        values = observations.by_seed if metric.by_seed else observations.by_group
        ours, theirs = values(a, metric.value), values(b, metric.value)
        if ours and theirs:
            interval, paired = observations.ratio(ours, theirs, metric.drifts)
            if metric.exact and interval.low is None and interval.processes > 1:
                interval = replace(interval, low=interval.value, high=interval.value)
            found.append(Comparison(metric, interval, paired))
    return found


def differences(a: Sequence[Record], b: Sequence[Record]) -> dict[str, tuple[str, str]]:
    """What should be equal for a comparison to mean something, where it is not, in both sides."""
    ours, theirs = _facts(a), _facts(b)
    return {
        name: (" or ".join(sorted(ours[name])), " or ".join(sorted(theirs[name])))
        for name in ours
        if len(ours[name] | theirs[name]) > 1
        and not (name == "seed" and ours[name] == theirs[name])
    }


def _facts(records: Sequence[Record]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for record in records:
        trial, machine = record.trial, record.machine.facts
        facts = {
            "machine": f"{machine.get('processor')} ({record.machine.digest[:8]})",
            "device": trial.device,
            "corpus": trial.corpus_words,
            "protocol": f"{trial.protocol.name} {identity(trial.protocol)}",
            "init": trial.init,
            "dtype": trial.dtype,
            "threads": str(trial.threads),
            "seed": str(trial.seed),
            "environment": str(dict(trial.environment)),
        }
        for name, fact in facts.items():
            found.setdefault(name, set()).add(fact)
    return found
