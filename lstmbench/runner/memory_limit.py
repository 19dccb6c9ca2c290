"""A worker that takes more memory than it was given, seen by the host while it waits.

The system's own limits do not fit: of addresses (``RLIMIT_AS``, ``RLIMIT_DATA``) frameworks reserve
far more than they use, and a control group, which would be exact, is seldom the user's to write. So
the host looks at the resident size, from time to time, and only if there is a limit.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil

from lstmbench.machine import resident

#: Seconds between two looks: what grows faster may for a moment be larger than the limit.
LOOK_EVERY = 0.2


class MemoryLimit:
    """``limit`` in bytes, of the process ``pid`` with all that it started; ``None``: no limit."""

    def __init__(self, pid: int, limit: int | None) -> None:
        self._pid, self._limit = pid, limit
        self._next = 0.0

    @property
    def wait(self) -> float:
        """Seconds until the next look."""
        if self._limit is None:
            return float("inf")
        return max(0.0, self._next - time.monotonic())

    def excess(self) -> str | None:
        """What is too much, in words, if it is; looks at most once in :data:`LOOK_EVERY`."""
        if self._limit is None or self.wait > 0:
            return None
        self._next = time.monotonic() + LOOK_EVERY
        # the largest size so far: what was there between two looks counts
        size = resident.peak(self._pid) or _size(self._pid)
        descendants = list(_descendants(self._pid))
        size += sum(map(_size, descendants))
        if size > self._limit and descendants:
            # processes share pages: each has its part of them, which takes longer to find out
            size = resident.shared_out([self._pid, *descendants]) or size
        if size <= self._limit:
            return None
        return f"takes {size / 2**20:,.0f} MiB of memory, more than --memory-limit allows: " + (
            f"{self._limit / 2**20:,.0f} MiB"
        )


def _size(pid: int) -> int:
    with suppress(psutil.Error):
        return int(psutil.Process(pid).memory_info().rss)
    return 0


def _descendants(pid: int) -> Iterator[int]:
    """What a process and its children have started, without looking at every process."""
    children: list[int] = []
    tasks = Path(f"/proc/{pid}/task")
    if tasks.is_dir():
        with suppress(OSError):
            for task in tasks.iterdir():
                with suppress(OSError):
                    children += map(int, (task / "children").read_text().split())
    else:
        with suppress(psutil.Error):
            children = [child.pid for child in psutil.Process(pid).children()]
    for child in children:
        yield child
        yield from _descendants(child)
