"""Resident memory of this process, without a library: the worker has NumPy alone."""

from __future__ import annotations

import sys
from pathlib import Path

STATUS = Path("/proc/self/status")


def _status(field: str) -> int | None:
    """A size in ``/proc/self/status``, in bytes (Linux)."""
    try:
        lines = STATUS.read_text().splitlines()
    except OSError:
        return None
    found = (line.split() for line in lines)
    return next(
        (int(words[1]) * 1024 for words in found if words and words[0] == f"{field}:"), None
    )


def resident() -> int:
    """Resident size in bytes now; where the system does not tell, the largest so far."""
    return _status("VmRSS") or peak_memory()


def restart_peak() -> bool:
    """Forget the largest resident size so far; whether the system can."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def peak_memory() -> int:
    """Largest resident size since :func:`restart_peak`, in bytes; 0 if unknown."""
    largest = _status("VmHWM")
    if largest is not None:
        return largest
    try:
        import resource
    except ImportError:
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
