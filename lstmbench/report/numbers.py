"""Figures as they are published for programs to read."""

from __future__ import annotations

import math
from math import isfinite, log10
from typing import Any

from lstmbench.analysis.intervals import Interval

#: More than any measurement gives, and few enough that the last bit, in which logarithms and
#: exponentials of two systems may differ, shows nowhere: verifying gives the same digits.
DIGITS = 10


def rounded(value: Any) -> Any:
    """A float at ten digits; anything else as it is."""
    return float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value


def rounded_tree(value: Any) -> Any:
    """``value`` with every float in it rounded; JSON knows no infinity: ``None``."""
    if isinstance(value, dict):
        return {key: rounded_tree(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [rounded_tree(part) for part in value]
    return None if isinstance(value, float) and not isfinite(value) else rounded(value)


def significant(value: float | None, digits: int) -> str:
    """``value`` with so many significant digits, thousands separated; empty for ``None``."""
    if value is None:
        return ""
    if not isfinite(value):
        return "infinite"
    if value == 0:
        return "0"
    rounded = float(f"{value:.{digits - 1}e}")
    magnitude = math.floor(log10(abs(rounded)))
    return f"{rounded:,.{max(0, digits - 1 - magnitude)}f}"


def scientific(value: float, digits: int) -> str:
    """``value`` with so many significant digits and a power of ten, such as ``4.3e-06``."""
    return f"{value:.{digits - 1}e}"


def interval_digits(figure: Interval) -> int:
    """Significant digits that the interval leaves meaningful; three without one."""
    if not figure.half_width:
        return 3
    return min(5, max(2, 1 - math.floor(log10(figure.half_width))))


def scaled(value: float | None, factor: float, digits: int) -> str:
    """``value`` in another unit."""
    return "" if value is None else significant(value * factor, digits)


def ratio_text(ratio: Interval | None) -> str:
    """A ratio with its interval, such as ``1.31 (1.29 to 1.33)``."""
    if ratio is None:
        return ""
    digits = interval_digits(ratio)
    text = significant(ratio.value, digits)
    if ratio.low is None or ratio.high is None:
        return text
    return f"{text} ({significant(ratio.low, digits)} to {significant(ratio.high, digits)})"
