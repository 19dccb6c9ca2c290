"""What a check is, and the list of all.

A check raises ``AssertionError`` that says what was expected and what it got. ``needs`` names the
checks whose failure makes it meaningless: it is then blocked. ``features`` names those without
which it cannot be asked. The docstring's first line is what the check asserts, the second paragraph
what the author does about a failure.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass

from lstmbench.testing.lab import CheckContext


@dataclass(frozen=True)
class Check:
    """One named question to a backend."""

    name: str
    needs: tuple[str, ...]
    run: Callable[[CheckContext], None]
    features: tuple[str, ...] = ()

    @property
    def summary(self) -> str:
        """What it asserts."""
        return self._paragraphs()[0]

    @property
    def advice(self) -> str:
        """What the author does about a failure."""
        return self._paragraphs()[1]

    def _paragraphs(self) -> list[str]:
        text = inspect.getdoc(self.run) or ""
        return [" ".join(paragraph.split()) for paragraph in text.split("\n\n")]


CHECKS: dict[str, Check] = {}


def check(
    *needs: str, features: tuple[str, ...] = ()
) -> Callable[[Callable[[CheckContext], None]], Callable[[CheckContext], None]]:
    """Append a function to the list, behind the checks that it needs."""

    def register(function: Callable[[CheckContext], None]) -> Callable[[CheckContext], None]:
        missing = [name for name in needs if name not in CHECKS]
        assert not missing, f"{function.__name__} needs {missing}, which come later or never"
        CHECKS[function.__name__] = Check(function.__name__, needs, function, features)
        return function

    return register
