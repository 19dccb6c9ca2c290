"""One run at a time on each device: a second one waits, or says who is there.

Locks are files of this user's in the folder for temporary files, or in that of
``LSTMBENCH_LOCK_DIR``. The system frees them however their owner ends.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

from lstmbench.errors import UserError
from lstmbench.machine import facts
from lstmbench.records.files import read_regular
from lstmbench.records.store import write_atomically

FOLDER = "LSTMBENCH_LOCK_DIR"
#: Seconds between two looks whether a device is free: looking takes time from what is measured.
LOOK_EVERY = 0.5
#: The thread of this process that holds a lock: if it asked again, it would wait for itself.
_held: dict[Path, int] = {}


def folder() -> Path:
    """Where the locks are. Its name is not that of a scratch folder, which the next run removes."""
    named = os.environ.get(FOLDER)
    return Path(named) if named else Path(tempfile.gettempdir()) / f"lstmbench_locks_{os.getuid()}"


def lock_name(device: str) -> str:
    """The name of a device that all processes call alike, whatever they may see of the machine."""
    if device.startswith("cuda:"):
        index = int(device.partition(":")[2])
        with suppress(ValueError, IndexError):
            return f"cuda-{facts.physical_gpu(index)}"
        visible = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
        if index < len(visible):  # a name that never changes
            return re.sub(r"[^\w.-]+", "_", visible[index].strip())
    return re.sub(r"[^\w.-]+", "_", device)


@contextmanager
def held(
    devices: Iterable[str],
    what: str,
    *,
    wait: bool = True,
    tell: Callable[[str], None] = lambda line: None,
) -> Iterator[None]:
    """Hold the locks of some devices; ``what`` says what is done meanwhile.

    ``tell`` is told whom it waits for. Without ``wait``, and where this thread would wait for
    itself, :class:`UserError` says who holds the device. Where no lock can be had at all, none is.
    """
    place = folder()
    with ExitStack() as locks:
        try:
            place.mkdir(parents=True, exist_ok=True)
            # in one order, so that no two runs wait for each other
            for name, device in sorted({lock_name(device): device for device in devices}.items()):
                _acquire(place / f"{name}.lock", device, wait, tell, locks)
                _note(place / f"{name}.json", what, locks)
        except OSError as error:
            tell(f"no device is locked, others may run meanwhile: {error.strerror or error}")
        yield


def _acquire(
    path: Path, device: str, wait: bool, tell: Callable[[str], None], locks: ExitStack
) -> None:
    lock = FileLock(path, thread_local=False)
    own = path.resolve()
    try:
        lock.acquire(blocking=False)
    except Timeout:
        holder = _holder(path.with_suffix(".json"), device)
        if _held.get(own) == threading.get_ident():
            raise UserError(f"{holder}: a run that another one has begun cannot wait") from None
        if not wait:
            raise UserError(f"{holder}: try later, or leave out --no-wait") from None
        tell(f"{holder}: waiting")
        lock.acquire(poll_interval=LOOK_EVERY)
    locks.callback(lock.release)
    _held[own] = threading.get_ident()
    locks.callback(_held.pop, own, None)


def _note(path: Path, what: str, locks: ExitStack) -> None:
    """Beside the lock: who holds it. Of one who was killed it stays, and is never read."""
    since = datetime.now(UTC).isoformat(timespec="seconds")
    locks.callback(_remove, path)
    write_atomically(path, json.dumps({"pid": os.getpid(), "since": since, "what": what}))


def _remove(path: Path) -> None:
    with suppress(OSError):
        path.unlink()


def _holder(path: Path, device: str) -> str:
    try:
        known = json.loads(read_regular(path))
        who = f"by process {known['pid']} since {known['since']}: {known['what']}"
    except (OSError, ValueError, KeyError, TypeError):
        who = "by another process"
    return f"{device} is in use {who}"
