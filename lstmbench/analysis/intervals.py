"""Intervals over processes, and Student's t."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache


@dataclass(frozen=True)
class Interval:
    """An estimate with its 95 % interval; no bounds where one process gives none."""

    value: float
    low: float | None
    high: float | None
    processes: int

    @property
    def half_width(self) -> float | None:
        """Of the interval, relative to the value."""
        if self.low is None or self.high is None:
            return None
        return (self.high - self.low) / 2 / self.value


def interval(values: Sequence[float]) -> Interval | None:
    """Geometric mean of positive values of independent processes with Student's t interval.

    The values' logarithms vary between processes more than epochs do within one, so that only
    processes count as observations (Student 1908; Kalibera & Jones, "Rigorous benchmarking in
    reasonable time", ISMM 2013). Values without any spread are one observation, however often it
    was made.
    """
    if not values:
        return None
    logs = [math.log(value) for value in values]
    centre = math.fsum(logs) / len(logs)
    if alike(logs):
        return Interval(values[0], None, None, len(logs))
    error = statistics.stdev(logs) / math.sqrt(len(logs))
    reach = student_t(0.975, len(logs) - 1) * error
    bounds = math.exp(centre - reach), math.exp(centre + reach)
    return Interval(math.exp(centre), *bounds, len(logs))


def alike(logs: Sequence[float]) -> bool:
    """Whether values have no spread but that of rounding."""
    return max(logs) - min(logs) <= 1e-9


@cache
def student_t(probability: float, freedom: int) -> float:
    """Quantile of Student's t."""
    from scipy.special import stdtrit  # scipy.stats takes over a second to import

    return float(stdtrit(freedom, probability))
