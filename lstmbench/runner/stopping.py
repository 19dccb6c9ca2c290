"""How many processes are enough: sampling that stops by precision or by time.

After each repeat of a plan the interval of every ratio is looked at. Looking again and again makes
a 95 % interval cover less than it claims, most of all when the first looks are early: then a few
processes that agree by luck end the sampling. Hence ``MIN_PROCESSES``.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence

from lstmbench.analysis.precision import MIN_PROCESSES, widest_of
from lstmbench.analysis.tables import tables_from
from lstmbench.records.record import Record, StoppingRule

#: Processes of a row at most.
MAX_PROCESSES = 50


class UntilPrecise:
    """Stops by a :class:`StoppingRule`."""

    def __init__(self, rule: StoppingRule, clock: Callable[[], float] = time.monotonic) -> None:
        self._rule, self._clock = rule, clock
        self._began = 0.0

    def start(self, spent: float = 0.0) -> None:
        """The rule's seconds count from now on; so many were spent earlier."""
        self._began = self._clock() - spent

    def should_stop(self, records: Sequence[Record], repeat: int) -> str | None:
        """Why not to begin ``repeat``, after so many whole repeats (counted from 0)."""
        if not repeat:
            return None
        width = widest_of(tables_from(records))
        asked = f"asked for: {self._rule.precision:.1%}"
        if width is None and repeat > 1:
            return "nothing is left to compare"
        if repeat >= MIN_PROCESSES and width is not None and width <= self._rule.precision:
            return f"after {repeat} repeats every ratio is known within {width:.1%} ({asked})"
        # a repeat takes what one took so far
        if (self._clock() - self._began) * (repeat + 1) / repeat > self._rule.seconds:
            return (
                f"after {repeat} repeats another would not fit into {self._rule.seconds:g} s; "
                f"{_known(width)} ({asked}): what is not decided stays undecided"
            )
        if repeat == MAX_PROCESSES:
            return f"after {MAX_PROCESSES} repeats, the most there are, {_known(width)} ({asked})"
        return None


def _known(width: float | None) -> str:
    if width is None or math.isinf(width):
        return "not every ratio is known"
    return f"the widest ratio is known within {width:.1%}"
