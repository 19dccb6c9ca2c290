"""Seconds between laps, and of calls."""

from __future__ import annotations

import time
from collections.abc import Callable


class Stopwatch:
    """Seconds between laps, by name."""

    def __init__(self, laps: dict[str, float] | None = None) -> None:
        self.laps = {} if laps is None else laps
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self.laps[name] = now - self._last
        self._last = now


def time_calls(call: Callable[[], object], count: int) -> list[float]:
    """Seconds of each of ``count`` calls."""
    clock = Stopwatch()
    for index in range(count):
        call()
        clock.lap(str(index))
    return list(clock.laps.values())
