"""The plan of an A/A test: the same trial against itself."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from lstmbench.analysis.noise import MIN_SETS, PROCESSES_PER_SET
from lstmbench.records.record import Record
from lstmbench.records.trial import Trial
from lstmbench.runner.plan import Plan


def plan_pairs(trial: Trial, pairs: int) -> Plan:
    """``pairs`` times two processes in turns, then one alone, to pair with the next one alone."""
    groups = []
    for pair in range(pairs):
        a, b, alone = (
            replace(trial, repeat=PROCESSES_PER_SET * pair + index)
            for index in range(PROCESSES_PER_SET)
        )
        groups += [[a, b], [alone]]
    return Plan(groups, [])


class UntilTime:
    """Samples whole sets until the time is over, four at least."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.repeat = 0
        self._seconds, self._clock, self._began = seconds, clock, clock()

    def content(self, records: Sequence[Record], repeat: int) -> bool:
        pairs, within = divmod(repeat, PROCESSES_PER_SET)
        self.repeat = repeat + (not within)  # its partner in turns is begun with it
        spent = self._clock() - self._began
        return not within and pairs >= MIN_SETS and spent * (pairs + 1) / pairs > self._seconds
