"""An A/A test: the same trial against itself, to learn which differences can be found on
this machine.

Pairs of processes of one trial: interleaved epoch by epoch, and sequential, with an interleaved
pair between them. The difference of their speeds is noise, and bounds what a comparison here can
show.
"""

from __future__ import annotations

import math
import statistics as stdlib
from collections.abc import Sequence
from dataclasses import dataclass

from lstmbench.analysis import intervals, series
from lstmbench.analysis.intervals import Interval
from lstmbench.errors import UserError
from lstmbench.records.record import Record, Status

#: How often a difference as large as :meth:`Repeatability.detectable` is found.
POWER = 0.8
REPEATS = (2, 3, 5, 10, 20)
#: Processes of a set: two interleaved ones and one alone.
PROCESSES_PER_SET = 3
#: Sets, at least: they hold two pairs of processes that ran alone.
MIN_SETS = 4


def pairs_of(records: Sequence[Record], interleaved: bool) -> list[tuple[Record, Record]]:
    """Pairs of ok processes: interleaved ones, or those alone in one set and in the next."""
    ok = {
        (r.source.run, r.trial.repeat): r
        for r in records
        if r.status == Status.OK and bool(r.interleaved_with) == interleaved
    }
    distance, every = (
        (1, PROCESSES_PER_SET) if interleaved else (PROCESSES_PER_SET, 2 * PROCESSES_PER_SET)
    )
    first = 0 if interleaved else PROCESSES_PER_SET - 1
    return [
        (record, ok[run, repeat + distance])
        for (run, repeat), record in sorted(ok.items())
        if repeat % every == first and (run, repeat + distance) in ok
    ]


def check_one_trial(records: Sequence[Record]) -> None:
    """Raise :class:`UserError` unless all are one trial on one machine, as ``noise`` makes them."""
    kinds = {(r.trial.row_key(), r.trial.seed, r.machine.digest) for r in records}
    if len(kinds) > 1:
        raise UserError("these are records of several trials or machines, not a run of 'noise'")


def log_ratios(records: Sequence[Record], interleaved: bool) -> list[float]:
    """Logarithm of the ratio of speeds of every pair."""
    found = []
    for pair in pairs_of(records, interleaved):
        ours, theirs = (series.speed(record.epochs) for record in pair)
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
        quantiles = (intervals.student_t(p, repeats - 1) for p in (0.975, POWER))
        return math.exp(sum(quantiles) * self.deviation / math.sqrt(repeats))

    @property
    def bounds(self) -> tuple[float, float]:
        """The 95 % interval of the deviation (chi-square; Snedecor & Cochran 1989, 5.11)."""
        from scipy.special import chdtri

        freedom = self.ratio.processes - 1
        low, high = (math.sqrt(freedom / chdtri(freedom, p)) for p in (0.025, 0.975))
        return self.deviation * low, self.deviation * high


def repeatability(records: Sequence[Record], interleaved: bool) -> Repeatability | None:
    """Of the interleaved or the sequential pairs; ``None`` with fewer than two."""
    logs = log_ratios(records, interleaved)
    found = intervals.interval([math.exp(value) for value in logs])
    if found is None or len(logs) < 2:
        return None
    times = [
        r for r in records if bool(r.interleaved_with) == interleaved and r.status == Status.OK
    ]
    took = [_seconds(record) for record in times]
    way = "interleaved" if interleaved else "sequential"
    return Repeatability(way, found, stdlib.stdev(logs), 2 * stdlib.median(took))


def _seconds(record: Record) -> float:
    return math.fsum([*record.phases.known().values(), *record.epochs.seconds])
