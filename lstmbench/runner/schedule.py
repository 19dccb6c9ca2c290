"""Which groups of a plan are to be run: all of them, or what an earlier attempt has left.

The unit is the group of one repeat: trials that were interleaved are run again together.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from lstmbench.analysis.precision import given_up
from lstmbench.records.record import Record, Status
from lstmbench.records.trial import Trial
from lstmbench.runner.plan import Plan

#: Why a trial fails by itself: to run it again would say the same.
OWN_REASONS = frozenset({"parity", "audit", "exception", "nan", "interface"})


class Sampler(Protocol):
    """Ends a plan before its last repeat."""

    def start(self, spent: float) -> None:
        """The first repeat is about to begin; so many seconds were spent earlier."""

    def should_stop(self, records: Sequence[Record], repeat: int) -> str | None:
        """Why not to begin ``repeat``, after so many whole repeats (counted from 0), or ``None``.

        A question: asking it changes nothing.
        """


@dataclass(frozen=True, kw_only=True)
class Earlier:
    """What a run has done before it goes on.

    ``records`` by the name of their trial; ``seconds`` that each group took, by the name of one of
    its trials. With ``retry``, what failed for a reason that is not the trial's own is run again.
    A run that is ``extended`` was complete: whatever has begun is done.
    """

    records: Mapping[str, Record] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)
    retry: bool = False
    extended: bool = False

    def has_ended(self, trial: Trial) -> bool:
        """Whether there is a record of the trial that need not be made again."""
        record = self.records.get(trial.name)
        if record is None or record.status == Status.INTERRUPTED:
            return False
        failed = record.status == Status.FAILED and record.reason not in OWN_REASONS
        return not (self.retry and failed)

    def has_begun(self, group: Sequence[Trial]) -> bool:
        return any(trial.name in self.records for trial in group)

    def is_done(self, group: Sequence[Trial], wanted: Sequence[Trial]) -> bool:
        """Whether no trial of a group is to be run of which those ``wanted`` must have ended."""
        if self.extended and self.has_begun(group):
            return True
        there = [trial for trial in group if trial.name in self.records]
        return all(map(self.has_ended, [*wanted, *there]))


class ToDo(NamedTuple):
    """The trials of a group that are to be run together, and the names of all of its trials: what
    earlier attempts have left of them is set aside."""

    trials: list[Trial]
    names: list[str]


class Schedule:
    """Goes through a plan and leaves out what is done.

    ``records`` are those so far, of earlier attempts too: the sampler sees them all, and what a
    group has left must be added before the next repeat. ``stopped`` is why the sampler ended it.
    """

    def __init__(self, plan: Plan, sampler: Sampler | None, earlier: Earlier) -> None:
        self.plan = plan
        self.sampler = sampler
        self.earlier = earlier
        self.records: list[Record] = []
        self.stopped: str | None = None

    def due(self) -> set[str]:
        """Names of all trials of groups that are not done; the sampler may leave some out."""
        groups = self.plan.groups
        return {t.name for g in groups if not self.earlier.is_done(g, g) for t in g}

    def repeats(self) -> Iterator[list[ToDo]]:
        """What is to be run of each repeat, in order, until the sampler says stop."""
        if self.sampler:
            self.sampler.start(self._spent())
        for repeat, groups in self.plan.by_repeat():
            begun = any(map(self.earlier.has_begun, groups))  # then it was not to stop before it
            if not begun and self._stops_before(repeat):
                return
            wanted = [[t for t in group if not self._is_given_up(t)] for group in groups]
            todo = []
            for group, own in zip(groups, wanted, strict=True):
                names, known = [trial.name for trial in group], self.earlier.records
                if self.earlier.is_done(group, own):
                    self.records += [known[name] for name in names if name in known]
                elif own:
                    todo.append(ToDo(own, names))
            if todo:
                yield todo
        if self.plan.groups:
            self._stops_before(self.plan.groups[-1][0].repeat + 1)

    def _spent(self) -> float:
        """Seconds of the groups that are done."""
        return sum(
            self.earlier.seconds.get(trial.name, 0.0)
            for group in self.plan.groups
            if self.earlier.has_begun(group) and self.earlier.is_done(group, [])
            for trial in group
        )

    def _stops_before(self, repeat: int) -> bool:
        if self.sampler:
            self.stopped = self.sampler.should_stop(self.records, repeat)
        return self.stopped is not None

    def _is_given_up(self, trial: Trial) -> bool:
        """Whether a row has failed so often that sampling goes on without it."""
        row = trial.row_key()
        own = [record for record in self.records if record.trial.row_key() == row]
        return self.sampler is not None and given_up(own)
