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
#: In the folder; held by its owner, and the last to be removed.
LOCK = ".lstmbench-lock"
#: New folders that are tried: another start may take one without a lock for left over.
TRIES = 3


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
        for _ in range(TRIES):
            self.path = Path(tempfile.mkdtemp(prefix=PREFIX))
            self._lock = locked(self.path / LOCK, create=True)
            had = self._lock.__enter__()
            # no lock can be had nor seen where the file system has none
            if self.path.is_dir() and had == (self.path / LOCK).exists():
                break
            self._lock.__exit__(None, None, None)

    def close(self) -> None:
        """Remove the folder. May be called twice."""
        with deferred_interrupts():
            _remove(self.path)
            self._lock.__exit__(None, None, None)

    def __enter__(self) -> Path:
        return self.path

    def __exit__(self, *_: object) -> None:
        self.close()


def _remove(folder: Path) -> None:
    """The lock goes last: who is killed meanwhile leaves what the next start knows as abandoned."""
    with suppress(OSError):
        for entry in os.scandir(folder):
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.path, ignore_errors=True)
            elif entry.name != LOCK:
                with suppress(OSError):
                    Path(entry.path).unlink()
    with suppress(OSError):
        (folder / LOCK).unlink(missing_ok=True)
        try:
            folder.rmdir()
        except OSError:  # something is in it still, for the next start to remove
            os.mknod(folder / LOCK)  # needs no descriptor, of which none may be left


def reclaim() -> None:
    """Remove this user's folders whose owner was killed, and what its workers had started.

    One that is empty, without a lock, was left by an owner that was killed while it made or removed
    it.
    """
    with suppress(OSError):
        for entry in os.scandir(tempfile.gettempdir()):
            if not entry.name.startswith(PREFIX) or not entry.is_dir(follow_symlinks=False):
                continue
            if entry.stat(follow_symlinks=False).st_uid != os.getuid():
                continue
            folder = Path(entry.path)
            with locked(folder / LOCK, create=is_empty(folder)) as abandoned:
                if abandoned:
                    kill_marked(folder)
                    _remove(folder)


def is_empty(folder: Path) -> bool:
    with suppress(OSError), os.scandir(folder) as entries:
        return next(entries, None) is None
    return False
