"""What counts as one observation of a figure, and the ratio of two sides' observations.

Processes of interleaved trials share the machine's state and are compared pair by pair. Processes
of one run share its hour. What a seed decides is observed once per seed.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Sequence

from lstmbench.analysis import intervals
from lstmbench.analysis.intervals import Interval
from lstmbench.records.record import Record, Status

#: A figure of one process; ``None`` where it has none.
Value = Callable[[Record], float | None]
#: Values by the run, and by the group of trials in it, that they were measured in.
Observations = dict[tuple[str, str], float]


def by_group(records: Iterable[Record], value: Value) -> Observations | None:
    """The value of each ``ok`` process. Processes that were not interleaved pair with no other.

    ``None`` if one of them has no such value: the rest would be a biased selection.
    """
    found: Observations = {}
    for record in records:
        if record.status != Status.OK:
            continue
        amount = value(record)
        if not amount or not math.isfinite(amount):
            return None
        trial = record.trial
        own = f"{trial.row_key()} {trial.seed} {trial.repeat}"
        group = trial.group_key() if record.source.interleaved else own
        found[record.source.run, group] = amount
    return found


def by_seed(records: Iterable[Record], value: Value) -> Observations | None:
    """The median of each seed's values; ``None`` as for :func:`by_group`."""
    known: list[tuple[Record, float]] = []
    for record in records:
        if record.status == Status.OK:
            amount = value(record)
            if not amount or not math.isfinite(amount):
                return None
            known.append((record, amount))
    return {("seed", str(seed)): amount for seed, amount in medians_by_seed(known).items()}


def medians_by_seed(known: Iterable[tuple[Record, float]]) -> dict[int, float]:
    """Of each seed one value, however many processes repeat it: they do the same work."""
    values: dict[int, list[float]] = {}
    for record, amount in known:
        values.setdefault(record.trial.seed, []).append(amount)
    return {seed: statistics.median(own) for seed, own in sorted(values.items())}


def ratio(ours: Observations, theirs: Observations, drifts: bool = True) -> tuple[Interval, bool]:
    """Our value over theirs with its interval, and whether it was taken pair by pair.

    Without shared groups, or with one among several, it is taken from all values of both sides.
    Where the figure ``drifts`` from hour to hour, a run is one observation then, unless both sides
    are of the same runs: all processes of a run share its hour.
    """
    shared = sorted(ours.keys() & theirs.keys())
    if shared and (len(shared) > 1 or len(shared) == len(ours) == len(theirs)):
        found = intervals.interval([ours[group] / theirs[group] for group in shared])
        assert found is not None
        return found, True
    if drifts and {run for run, _ in ours} != {run for run, _ in theirs}:
        return _welch(_by_run(ours), _by_run(theirs)), False
    return _welch(list(ours.values()), list(theirs.values())), False


def _by_run(observations: Observations) -> list[float]:
    """The geometric mean of each run's values."""
    runs: dict[str, list[float]] = {}
    for (run, _), value in observations.items():
        runs.setdefault(run, []).append(value)
    return [statistics.geometric_mean(values) for values in runs.values()]


def _welch(ours: Sequence[float], theirs: Sequence[float]) -> Interval:
    """Ratio of geometric means of independent samples (Welch 1947, on logarithms)."""
    logs = [[math.log(v) for v in side] for side in (ours, theirs)]
    centre = statistics.fmean(logs[0]) - statistics.fmean(logs[1])
    processes = min(len(ours), len(theirs))
    if processes < 2 or any(map(intervals.alike, logs)):
        return Interval(math.exp(centre), None, None, processes)
    from scipy import stats

    found = stats.ttest_ind(*logs, equal_var=False).confidence_interval(0.95)
    return Interval(math.exp(centre), math.exp(found.low), math.exp(found.high), processes)
