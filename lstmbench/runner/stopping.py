"""How many processes are enough: sampling that stops by precision or by time.

After each repeat of a plan the interval of every ratio is looked at. Looking again and again makes
a 95 % interval cover less than it claims, most of all when the first looks come early, for then few
processes that agree by luck end the sampling; hence ``MIN_PROCESSES``.
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


class Sampling:
    """Decides before each repeat whether it is needed; ``outcome`` says why it stopped."""

    def __init__(self, aim: StoppingRule, clock: Callable[[], float] = time.monotonic) -> None:
        self.aim = aim
        self.repeat = 0
        self.outcome = ""
        self._clock = clock
        self._began = clock()

    def content(self, records: Sequence[Record], repeat: int) -> bool:
        """Whether to stop before ``repeat``, after so many whole repeats (counted from 0)."""
        self.repeat = repeat
        if not repeat:
            return False
        width = widest_of(tables_from(records))
        asked = f"asked for: {self.aim.precision:.1%}"
        if width is None and repeat > 1:
            self.outcome = "nothing is left to compare"
        elif repeat >= MIN_PROCESSES and width is not None and width <= self.aim.precision:
            known = f"every ratio is known within {width:.1%}"
            self.outcome = f"after {repeat} repeats {known} ({asked})"
        # a repeat takes what one took so far
        elif (self._clock() - self._began) * (repeat + 1) / repeat > self.aim.seconds:
            self.outcome = (
                f"after {repeat} repeats another would not fit into {self.aim.seconds:g} s; "
                f"{_known(width)} ({asked}): what is not decided stays undecided"
            )
        elif repeat == MAX_PROCESSES:
            self.outcome = (
                f"after {MAX_PROCESSES} repeats, the most there are, {_known(width)} ({asked})"
            )
        return bool(self.outcome)


def _known(width: float | None) -> str:
    if width is None or math.isinf(width):
        return "not every ratio is known"
    return f"the widest ratio is known within {width:.1%}"
