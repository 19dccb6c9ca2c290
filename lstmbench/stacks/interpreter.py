"""The Python of a stack."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Interpreter:
    """A Python to start workers with, and the folders that it looks into first."""

    python: str
    paths: Sequence[str]
