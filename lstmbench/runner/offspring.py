"""Whatever a worker started, found and killed: in sessions of its own, and orphaned, too."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from pathlib import Path

import psutil

from lstmbench.runner.environment import MARKER

#: How often more is looked for; a process that is killed starts no other.
ROUNDS = 10


def kill_descendants(pid: int) -> None:
    """All processes below a living one. A worker adopts those whose parents have ended."""
    _kill(lambda: psutil.Process(pid).children(recursive=True))


def kill_marked(folder: Path) -> None:
    """All processes that were born with a worker's ``folder`` in their environment.

    Whatever their parents are now.
    """

    def marked() -> Iterable[psutil.Process]:
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error, OSError):
                if process.environ().get(MARKER) == str(folder):
                    yield process

    _kill(marked)


def _kill(find: Callable[[], Iterable[psutil.Process]]) -> None:
    for _ in range(ROUNDS):
        found = []
        with contextlib.suppress(psutil.Error, OSError):
            found = [process for process in find() if _kill_one(process)]
        if not found:
            return
        psutil.wait_procs(found, timeout=1.0)


def _kill_one(process: psutil.Process) -> bool:
    """Whether there was something to kill."""
    with contextlib.suppress(psutil.Error):
        if process.status() != psutil.STATUS_ZOMBIE:
            process.kill()
            return True
    return False
