"""How many processes are enough: sampling that stops by precision or by time.

After each repeat of a plan the interval of every ratio is looked at. Looking again and again makes
a 95 % interval cover less than it claims, most of all when the first looks come early, for then few
processes that agree by luck end the sampling; hence :data:`LEAST`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from lstmbench.record import Aim, Record
from lstmbench.report.figures import settings, widest

#: Processes of a row before the first look.
LEAST = 5
#: Processes of a row at most.
MOST = 50


class Sampling:
    """Decides before each repeat whether it is needed; ``outcome`` says why it stopped."""

    def __init__(self, aim: Aim, clock: Callable[[], float] = time.monotonic) -> None:
        self.aim = aim
        self.repeat = 0
        self.outcome = f"{MOST} processes were not enough"
        self._clock = clock
        self._began = clock()

    def content(self, records: Sequence[Record], repeat: int) -> bool:
        """Whether to stop before ``repeat``, after so many whole repeats (counted from 0)."""
        self.repeat = repeat
        spent = self._clock() - self._began
        if not repeat:
            return False
        width = max((w for w in map(widest, settings(records)) if w is not None), default=None)
        if width is None and repeat > 1:
            self.outcome = "nothing was left to compare"
            return True
        if repeat >= LEAST and width is not None and width <= self.aim.precision:
            self.outcome = (
                f"after {repeat} repeats every ratio is known within {width:.1%} "
                f"(asked for: {self.aim.precision:.1%})"
            )
            return True
        # a repeat takes what one took so far
        if spent * (repeat + 1) / repeat > self.aim.seconds:
            known = (
                f"the widest ratio is known within {width:.1%}" if width else "no ratio is known"
            )
            self.outcome = (
                f"after {repeat} repeats the time of {self.aim.seconds:g} s is over; {known} "
                f"(asked for: {self.aim.precision:.1%}): what is not decided stays undecided"
            )
            return True
        return False
