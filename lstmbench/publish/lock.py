"""One publishing at a time: from reading what is there to the last write."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from lstmbench.messages import tell

#: Seconds after which a wait is told.
PATIENCE = 5.0


@contextmanager
def exclusive(folder: Path, name: str) -> Iterator[None]:
    """Wait for others that hold the lock ``name`` of a folder, which is made if it is missing.

    The system frees the lock of a process that was killed. What cannot be locked because it cannot
    be written is not: writing will say so. A folder that was made and is left empty is removed.
    """
    with ExitStack() as after:
        with suppress(OSError):
            _make(folder, after)
            _lock(folder / name, after)
        yield


def _lock(path: Path, after: ExitStack) -> None:
    lock = FileLock(path)
    try:
        lock.acquire(timeout=PATIENCE)
    except Timeout:
        tell([f"waiting for another process that publishes to {path.parent}"])
        lock.acquire()
    after.callback(lock.release)
    # removed while it is held: who has waited for it sees that it is gone, and makes another
    after.callback(path.unlink, missing_ok=True)


def _make(folder: Path, after: ExitStack) -> None:
    for missing in reversed([p for p in (folder, *folder.parents) if not p.exists()]):
        with suppress(FileExistsError):  # somebody else made it meanwhile
            missing.mkdir()
        after.callback(_remove_empty, missing)


def _remove_empty(folder: Path) -> None:
    with suppress(OSError):
        folder.rmdir()
