"""What plugin authors test with.

The conformance kit is one list of named checks for every backend. ``lstmbench check BACKEND``
prints them as a table; for pytest, a plugin subclasses :class:`Conformance` in three lines::

    from lstmbench.testing import Conformance

    class TestMine(Conformance):
        backend = "mine"

Both read the same answers from a child process for each backend, mode and device.

:func:`make_record` makes records to test formats and commands with.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lstmbench.testing.conformance import Conformance
    from lstmbench.testing.records import make_record

_HOME = {"Conformance": "conformance", "make_record": "records"}
__all__ = ["Conformance", "make_record"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
