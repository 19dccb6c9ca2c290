"""Figures as they are published for programs to read."""

from __future__ import annotations

from math import isfinite
from typing import Any

#: More than any measurement gives, and few enough that the last bit, in which logarithms and
#: exponentials of two systems may differ, shows nowhere: whoever verifies gets the same digits.
DIGITS = 10


def rounded(value: Any) -> Any:
    """A float at ten digits; anything else as it is."""
    return float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value


def published(value: Any) -> Any:
    """``value`` with every float in it rounded; JSON knows no infinity: ``None``."""
    if isinstance(value, dict):
        return {key: published(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [published(part) for part in value]
    return None if isinstance(value, float) and not isfinite(value) else rounded(value)
