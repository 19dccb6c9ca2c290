"""An A/A test: the same trial against itself, to learn what this machine can tell apart.

Pairs of processes of one trial, in turns of epochs, and alone with a pair in turns between them.
Whatever their speeds differ by is the machine's doing, and bounds what a comparison here can show.
"""

from __future__ import annotations

import math
import statistics as stdlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from lstmbench import statistics
from lstmbench.errors import UserError
from lstmbench.plan import Plan, Trial
from lstmbench.record import Record, Status
from lstmbench.statistics import Interval

#: How often a difference as large as :meth:`Repeatability.detectable` is found.
POWER = 0.8
REPEATS = (2, 3, 5, 10, 20)
#: Processes of a set: two in turns and one alone.
SET = 3
#: Sets, at least: they hold two pairs of processes that ran alone.
LEAST = 4


def plan_pairs(trial: Trial, pairs: int) -> Plan:
    """``pairs`` times two processes in turns, then one alone, to pair with the next one alone."""
    groups = []
    for pair in range(pairs):
        a, b, alone = (replace(trial, repeat=SET * pair + index) for index in range(SET))
        groups += [[a, b], [alone]]
    return Plan(groups, [])


class UntilTime:
    """Samples whole sets until the time is over, four at least."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.repeat = 0
        self._seconds, self._clock, self._began = seconds, clock, clock()

    def content(self, records: Sequence[Record], repeat: int) -> bool:
        pairs, within = divmod(repeat, SET)
        self.repeat = repeat + (not within)  # its partner in turns is begun with it
        spent = self._clock() - self._began
        return not within and pairs >= LEAST and spent * (pairs + 1) / pairs > self._seconds


def pairs_of(records: Sequence[Record], turns: bool) -> list[tuple[Record, Record]]:
    """Sound pairs that took turns, or those of processes alone in one set and in the next."""
    sound = {
        (r.source.run, r.trial.repeat): r
        for r in records
        if r.status == Status.OK and bool(r.companions) == turns
    }
    apart, every = (1, SET) if turns else (SET, 2 * SET)
    first = 0 if turns else SET - 1
    return [
        (record, sound[run, repeat + apart])
        for (run, repeat), record in sorted(sound.items())
        if repeat % every == first and (run, repeat + apart) in sound
    ]


def refuse_others(records: Sequence[Record]) -> None:
    """Raise :class:`UserError` unless all are one trial on one machine, as ``noise`` makes them."""
    kinds = {(record.trial.row_key(), record.machine.digest) for record in records}
    if len(kinds) > 1:
        raise UserError("these are records of several trials or machines, not a run of 'noise'")


def log_ratios(records: Sequence[Record], turns: bool) -> list[float]:
    """Logarithm of the ratio of speeds of every pair."""
    found = []
    for pair in pairs_of(records, turns):
        ours, theirs = (statistics.speed(record.epochs) for record in pair)
        if ours and theirs:
            found.append(math.log(ours / theirs))
    return found


@dataclass(frozen=True)
class Repeatability:
    """What pairs measured in one way say; ``seconds`` is what one pair took."""

    way: str
    ratio: Interval
    deviation: float
    seconds: float

    def detectable(self, repeats: int) -> float:
        """The smallest ratio above 1 that so many repeats find in :data:`POWER` of all cases.

        The usual sum of two quantiles of Student's t (Cohen 1988, chapter 2), on logarithms.
        """
        quantiles = (statistics.student_t(p, repeats - 1) for p in (0.975, POWER))
        return math.exp(sum(quantiles) * self.deviation / math.sqrt(repeats))

    @property
    def bounds(self) -> tuple[float, float]:
        """The 95 % interval of the deviation (chi-square; Snedecor & Cochran 1989, 5.11)."""
        from scipy.special import chdtri

        freedom = self.ratio.processes - 1
        low, high = (math.sqrt(freedom / chdtri(freedom, p)) for p in (0.025, 0.975))
        return self.deviation * low, self.deviation * high


def repeatability(records: Sequence[Record], turns: bool) -> Repeatability | None:
    """Of the pairs in turns or a set apart; ``None`` with fewer than two pairs."""
    logs = log_ratios(records, turns)
    found = statistics.interval([math.exp(value) for value in logs])
    if found is None or len(logs) < 2:
        return None
    took = [_seconds(r) for r in records if bool(r.companions) == turns and r.status == Status.OK]
    way = "in turns" if turns else "a set apart"
    return Repeatability(way, found, stdlib.stdev(logs), 2 * stdlib.median(took))


def _seconds(record: Record) -> float:
    return sum(record.phases.values()) + sum(record.epochs.seconds)
