"""Folders that are needed as long as this process runs; those of killed processes are removed.

A lock says whether the owner runs: the system releases it however the owner ends, and it is seen
from other containers on the same machine, where process numbers mean nothing.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from lstmbench.runner.interrupts import deferred_interrupts
from lstmbench.runner.offspring import kill_marked

PREFIX = "lstmbench-"
#: In the folder; held by its owner.
LOCK = ".lstmbench-lock"


@contextmanager
def locked(path: Path, create: bool = False) -> Iterator[bool]:
    """Hold the lock of a file; yields whether it could be had. Never waits."""
    with ExitStack() as held:
        had = False
        if create or path.exists():
            with suppress(OSError, Timeout):
                held.enter_context(FileLock(path, thread_local=False).acquire(blocking=False))
                had = True
        yield had


class ScratchFolder:
    """A new folder in the folder for temporary files; a context manager, or closed by hand."""

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix=PREFIX))
        self._lock = locked(self.path / LOCK, create=True)
        self._lock.__enter__()

    def close(self) -> None:
        """Remove the folder. May be called twice."""
        with deferred_interrupts():
            self._lock.__exit__(None, None, None)
            shutil.rmtree(self.path, ignore_errors=True)
            with suppress(OSError):  # it needs descriptors, of which none may be left
                (self.path / LOCK).unlink(missing_ok=True)
                self.path.rmdir()

    def __enter__(self) -> Path:
        return self.path

    def __exit__(self, *_: object) -> None:
        self.close()


def reclaim() -> None:
    """Remove this user's folders whose owner was killed, and what its workers had started."""
    with suppress(OSError):
        for entry in os.scandir(tempfile.gettempdir()):
            if not entry.name.startswith(PREFIX) or not entry.is_dir(follow_symlinks=False):
                continue
            if entry.stat(follow_symlinks=False).st_uid != os.getuid():
                continue
            with locked(Path(entry.path) / LOCK) as abandoned:
                if abandoned:
                    kill_marked(Path(entry.path))
                    shutil.rmtree(entry.path, ignore_errors=True)
