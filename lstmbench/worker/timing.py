"""Seconds between laps, and of calls."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any


class Stopwatch:
    """Seconds between laps, summed by name."""

    def __init__(self, laps: dict[str, float] | None = None) -> None:
        self.laps = {} if laps is None else laps
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self.laps[name] = self.laps.get(name, 0.0) + now - self._last
        self._last = now


def time_products(multiply: Callable[[int], None], request: dict[str, Any]) -> list[float]:
    """Seconds of ``count`` calls with ``side``."""
    clock = Stopwatch()
    for index in range(request["count"]):
        multiply(request["side"])
        clock.lap(str(index))
    return list(clock.laps.values())
