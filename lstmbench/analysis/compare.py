"""Two sets of records against each other: ratio, interval, verdict; never a bare "faster"."""

from __future__ import annotations

import math
import statistics as stdlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from lstmbench.analysis import intervals, metrics
from lstmbench.analysis.intervals import Interval
from lstmbench.protocol import identity
from lstmbench.records.record import Record, Status

Value = Callable[[Record], float | None]
#: Perplexities whose first passing is timed.
TARGETS = (2.0, 1.5, 1.1)


def seconds_to(record: Record, target: float, start_up: bool = False) -> float | None:
    """Training seconds until an epoch's perplexity first is ``target`` or less.

    With ``start_up``, the seconds of import, build and prepare are added. ``None`` if it never was,
    or if they are unknown.
    """
    spent = record.phases.start_up if start_up else 0.0
    if spent is None:
        return None
    values = metrics.perplexities(record.epochs)
    for seconds, value in zip(record.epochs.seconds, values, strict=True):
        spent += seconds
        if value <= target:
            return spent
    return None


def working_memory(record: Record) -> float | None:
    """Peak resident bytes of the worker above those after the framework's import."""
    peak, imported = record.memory.peak, record.memory.imported
    return float(peak - imported) if peak and imported and peak > imported else None


def last_perplexity(record: Record) -> float | None:
    """Median perplexity of the last ten epochs."""
    return metrics.last_median(metrics.perplexities(record.epochs))


@dataclass(frozen=True)
class Quantity:
    """Something that two sides are compared in.

    ``by_seed``: the seed decides it, or the epoch at which it is reached, so that seeds are what
    is observed. ``drifts``: from one hour to the next, so that between runs it is runs. ``exact``:
    where all processes agree, that is what it is.
    """

    name: str
    value: Value
    more_is_better: bool = False
    by_seed: bool = False
    drifts: bool = False
    exact: bool = False


QUANTITIES = (
    Quantity("tokens/s", lambda r: metrics.speed(r.epochs), more_is_better=True, drifts=True),
    Quantity("perplexity", last_perplexity, by_seed=True),
    *(
        Quantity(
            f"seconds to perplexity {target:g}{', start-up included' * start_up}",
            partial(seconds_to, target=target, start_up=start_up),
            by_seed=True,
        )
        for target in TARGETS
        for start_up in (False, True)
    ),
    Quantity("memory", working_memory),
    Quantity("device memory", lambda r: r.memory.device_peak, exact=True),
    Quantity(
        "joules per token", lambda r: metrics.joules_per_million_tokens(r.epochs), drifts=True
    ),
)


@dataclass(frozen=True)
class Comparison:
    """``ratio`` is A's value over B's. ``paired``: both took turns in the same runs."""

    quantity: Quantity
    ratio: Interval
    paired: bool

    @property
    def verdict(self) -> str:
        """``better``, ``worse`` or ``undecided`` for A."""
        low, high = self.ratio.low, self.ratio.high
        if low is None or high is None or low <= 1 <= high:
            return "undecided"
        return "better" if (low > 1) == self.quantity.more_is_better else "worse"

    def fails(self, least: float) -> bool:
        """Whether A is surely worse, and by more than a gate lets through."""
        return self.verdict == "worse" and self.ratio.value < least


#: Values by the run, and the turn in it, that they were measured in.
Turns = dict[tuple[str, str], float]


def ratio_of_turns(ours: Turns, theirs: Turns, drifts: bool = True) -> tuple[Interval, bool]:
    """A's value over B's with its interval, and whether it was taken pair by pair.

    Where no turns, or only one of several, were shared, from all values of both sides; of what
    ``drifts``, from those of each run together unless both sides are of the same runs, for all
    processes of a run share its hour.
    """
    turns = sorted(ours.keys() & theirs.keys())
    if turns and (len(turns) > 1 or len(turns) == len(ours) == len(theirs)):
        found = intervals.interval([ours[turn] / theirs[turn] for turn in turns])
        assert found is not None
        return found, True
    if drifts and {run for run, _ in ours} != {run for run, _ in theirs}:
        return _welch(_by_run(ours), _by_run(theirs)), False
    return _welch(list(ours.values()), list(theirs.values())), False


def _by_run(turns: Turns) -> list[float]:
    """The geometric mean of each run's values."""
    runs: dict[str, list[float]] = {}
    for (run, _), value in turns.items():
        runs.setdefault(run, []).append(value)
    return [stdlib.geometric_mean(values) for values in runs.values()]


def by_turn(records: Sequence[Record], value: Value) -> Turns | None:
    """Values by turn; trials without turns pair with nothing.

    ``None`` if a sound process has no such value: the rest would be survivors.
    """
    found: Turns = {}
    for index, record in enumerate(records):
        if record.status != Status.OK:
            continue
        amount = value(record)
        if not amount or not math.isfinite(amount):
            return None
        alone = not record.source.interleaved
        turn = f"{id(record)}-{index}" if alone else record.trial.group_key()
        found[record.source.run, turn] = amount
    return found


def by_seed(records: Sequence[Record], value: Value) -> Turns | None:
    """The geometric mean of each seed's values."""
    turns: dict[tuple[str, str], list[float]] = {}
    for record in records:
        if record.status == Status.OK:
            amount = value(record)
            if not amount or not math.isfinite(amount):
                return None
            turns.setdefault(("seed", str(record.trial.seed)), []).append(amount)
    return {seed: stdlib.geometric_mean(values) for seed, values in turns.items()}


def _welch(ours: Sequence[float], theirs: Sequence[float]) -> Interval:
    """Ratio of geometric means of independent samples (Welch 1947, on logarithms)."""
    logs = [[math.log(v) for v in side] for side in (ours, theirs)]
    centre = stdlib.fmean(logs[0]) - stdlib.fmean(logs[1])
    processes = min(len(ours), len(theirs))
    if processes < 2 or any(map(intervals.alike, logs)):
        return Interval(math.exp(centre), None, None, processes)
    from scipy import stats

    found = stats.ttest_ind(*logs, equal_var=False).confidence_interval(0.95)
    return Interval(math.exp(centre), math.exp(found.low), math.exp(found.high), processes)


def compare(a: Sequence[Record], b: Sequence[Record]) -> list[Comparison]:
    """Every quantity that both sides have."""
    found = []
    for quantity in QUANTITIES:
        values = by_seed if quantity.by_seed else by_turn
        ours, theirs = values(a, quantity.value), values(b, quantity.value)
        if ours and theirs:
            interval, paired = ratio_of_turns(ours, theirs, quantity.drifts)
            if quantity.exact and interval.low is None and interval.processes > 1:
                interval = replace(interval, low=interval.value, high=interval.value)
            found.append(Comparison(quantity, interval, paired))
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
            "corpus": f"{trial.corpus} ({trial.corpus_digest[:8]})",
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
