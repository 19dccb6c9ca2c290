"""How checks end."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

#: Asked of the specification itself, before any backend is built.
SPEC_CHECK = "spec_imports_no_framework"
#: The check that asks no backend.
REFERENCE_CHECK = "own_reference"

PASSED, FAILED, TOO_SLOW, BLOCKED, SKIPPED = "passed", "failed", "too slow", "blocked", "skipped"
#: With the spec's ``expected_failures``; what builds on such a failure is not checked.
EXPECTED, NOT_CHECKED, UNEXPECTED = "expected failure", "not checked", "unexpected pass"


@dataclass(frozen=True)
class Outcome:
    """How one check ended.

    ``detail`` says in one line what was expected and what was got, ``lines`` explain it (each
    tensor's difference, or the plugin's traceback), ``advice`` says what to do. ``output`` is what
    the backend printed meanwhile. ``seconds`` is ``None`` for what was not run.
    """

    check: str
    outcome: str
    detail: str = ""
    advice: str = ""
    lines: tuple[str, ...] = ()
    output: str = ""
    seconds: float | None = None

    @property
    def acceptable(self) -> bool:
        return self.outcome in (PASSED, SKIPPED, EXPECTED, NOT_CHECKED)


def nothing_checked(outcomes: Iterable[Outcome]) -> bool:
    """Whether no backend was ever asked: specification and reference alone prove nothing."""
    asked = [o for o in outcomes if o.check not in (SPEC_CHECK, REFERENCE_CHECK)]
    return all(o.outcome == SKIPPED for o in asked)
