"""The conformance kit: one list of named checks for every backend, with two doors.

``lstmbench check BACKEND`` prints them as a table; for pytest, a plugin subclasses
:class:`Conformance` in three lines::

    from lstmbench.testing import Conformance

    class TestMine(Conformance):
        backend = "mine"

Both read the same answers from a child process per backend, mode and device.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lstmbench.testing.conformance import Conformance

__all__ = ["Conformance"]


def __getattr__(name: str) -> Any:
    if name != "Conformance":
        raise AttributeError(name)
    from lstmbench.testing.conformance import Conformance

    return Conformance
