"""Resident memory of a process, read from outside it (Linux; elsewhere nothing is told)."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path


def restart_peak(pid: int) -> bool:
    """Forget a process's largest resident size so far; whether the system let us."""
    try:
        Path(f"/proc/{pid}/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def resident(pid: int) -> int | None:
    """Bytes now."""
    return _size(f"/proc/{pid}/status", "VmRSS")


def peak(pid: int) -> int | None:
    """The most bytes since the process began, or since :func:`restart_peak`."""
    return _size(f"/proc/{pid}/status", "VmHWM")


def shared_out(pids: Iterable[int]) -> int:
    """Bytes of some processes now; each has its part of what several share."""
    return sum(_size(f"/proc/{pid}/smaps_rollup", "Pss") or 0 for pid in pids)


def _size(path: str, field: str) -> int | None:
    """A size that the system states in kibibytes, in bytes."""
    try:
        lines = Path(path).read_text().splitlines()
    except OSError:
        return None
    words = (line.split() for line in lines)
    found = (int(w[1]) * 1024 for w in words if len(w) > 1 and w[0] == f"{field}:")
    return next(found, None)
