"""The two kinds of error that are expected.

Everything else that escapes is a defect and keeps its traceback.
"""

from __future__ import annotations


class UserError(Exception):
    """Something the user can put right: shown as one line, exit code 2."""


class Unavailable(Exception):
    """Raised by a backend that cannot run here (no such device, no such library).

    It becomes a row of the table with this message as its reason, not a crash.
    """
