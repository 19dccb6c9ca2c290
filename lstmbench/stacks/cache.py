"""Environments that were made, in the user's cache: each once, and whole or not at all.

``asked/DIGEST.json`` names the environment that a question led to; the digest is that of the
question. ``environments/DIGEST`` is a finished one; the digest is that of what is installed in it.
It is made under another name in ``making`` and renamed when it is finished.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import platformdirs
from filelock import FileLock, Timeout

from lstmbench.errors import UserError
from lstmbench.stacks import installer

#: What a run says while it waits for another one that makes the same stack.
WAIT_SECONDS = 2.0
NOTE = "stack.json"


@dataclass(frozen=True)
class Asked:
    """A question: what is to be installed, of which ``text`` is what a list shows."""

    text: str
    facts: Any

    @property
    def digest(self) -> str:
        return digest(self.facts)


def digest(facts: Any) -> str:
    """SHA-256 of anything that JSON holds."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def root() -> Path:
    """Raises :class:`UserError` for a user without a home."""
    try:
        return platformdirs.user_cache_path("lstmbench") / "stacks"
    except RuntimeError as error:
        raise UserError(f"--stack: there is no folder to keep stacks in: {error}") from error


def environment(folder: Path) -> Path:
    """The virtual environment in a stack's folder."""
    return folder / "environment"


@contextmanager
def obtained(
    asked: Asked,
    make: Callable[[Path], None],
    describe: Callable[[Path], str],
    tell: Callable[[str], None],
) -> Iterator[Path]:
    """The folder of the finished environment that answers a question; nothing removes it meanwhile.

    ``make`` fills a folder; ``describe`` gives the digest of what is in it. Both may raise what
    they like: then nothing is left behind. An environment that holds something else than it should,
    or nothing that runs, is made again. Waits for another process that makes the same one. Raises
    :class:`UserError` where the cache cannot be written.
    """
    home = root()
    try:
        for name in ("asked", "environments", "locks", "making"):
            (home / name).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--stack: {home} cannot be written: {error.strerror or error}") from error
    with ExitStack() as used:
        with _alone(home / "locks" / f"{asked.digest}.lock", tell):
            folder = _known(home, asked, describe)
            if folder is None:
                tell("being made")
                folder = _made(home, asked, make, describe)
            with suppress(OSError):
                os.utime(folder / NOTE)
            used.enter_context(_in_use(home, folder))
        yield folder


@contextmanager
def _alone(lock: Path, tell: Callable[[str], None]) -> Iterator[None]:
    held = FileLock(lock)
    try:
        held.acquire(timeout=WAIT_SECONDS)
    except Timeout:
        tell("waiting for another run that makes it")
        held.acquire()
    try:
        yield
    finally:
        held.release()


def _known(home: Path, asked: Asked, describe: Callable[[Path], str]) -> Path | None:
    """The environment that was made for the same question, if it is still what it was."""
    key = _pointer(home / "asked" / f"{asked.digest}.json").get("environment", "")
    folder = home / "environments" / key
    if not key or not (folder / NOTE).is_file():
        return None
    try:
        if describe(folder) == key:
            return folder
    except Exception:  # it does not even run
        pass
    _discard(home, folder)
    return None


def _pointer(path: Path) -> dict[str, str]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _made(
    home: Path, asked: Asked, make: Callable[[Path], None], describe: Callable[[Path], str]
) -> Path:
    for left in (home / "making").glob(f"{asked.digest}-*"):  # of a run that was killed
        shutil.rmtree(left, ignore_errors=True)
    new = home / "making" / f"{asked.digest}-{uuid.uuid4().hex[:8]}"
    try:
        new.mkdir()
        make(new)
        key = describe(new)
        note = {"bytes": _bytes(new), "made": time.time()}
        (new / NOTE).write_text(json.dumps(note), encoding="utf-8")
        folder = home / "environments" / key
        with FileLock(home / "lock"):
            if not (folder / NOTE).is_file():  # else another question has led to the same
                shutil.rmtree(folder, ignore_errors=True)
                new.rename(folder)
        content = {"environment": key, "asked": asked.text}
        pointer = home / "asked" / f"{asked.digest}.json"
        pending = pointer.with_suffix(f".{uuid.uuid4().hex[:8]}")
        pending.write_text(json.dumps(content), encoding="utf-8")
        pending.replace(pointer)
    except OSError as error:
        what = error.strerror or error
        raise installer.CannotInstall(f"{home} cannot be written: {what}") from error
    finally:
        shutil.rmtree(new, ignore_errors=True)
    return folder


def _bytes(folder: Path) -> int:
    """Of all files, each counted once."""
    sizes: dict[int, int] = {}
    for place, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):
                found = os.lstat(Path(place) / name)
                sizes[found.st_ino] = found.st_size
    return sum(sizes.values())


@contextmanager
def _in_use(home: Path, folder: Path) -> Iterator[None]:
    """A lock of this process's own, which the system frees however it ends."""
    mark = folder / "used" / f"{uuid.uuid4().hex}.lock"
    with FileLock(home / "lock"):
        mark.parent.mkdir(exist_ok=True)
        held = FileLock(mark, thread_local=False)
        held.acquire()
    try:
        yield
    finally:
        held.release()
        with suppress(OSError):
            mark.unlink(missing_ok=True)


def _is_used(folder: Path) -> bool:
    for mark in (folder / "used").glob("*.lock"):
        if not _free(mark):
            return True
        with suppress(OSError):
            mark.unlink()
    return False


def _free(lock: Path) -> bool:
    try:
        with FileLock(lock).acquire(blocking=False):
            return True
    except (OSError, Timeout):
        return False


def _discard(home: Path, folder: Path) -> None:
    """Take a folder out of sight at once, then remove it."""
    gone = home / "making" / f"gone-{uuid.uuid4().hex[:8]}"
    with suppress(OSError):
        folder.rename(gone)
    shutil.rmtree(gone, ignore_errors=True)


@dataclass(frozen=True)
class Kept:
    """An environment in the cache: for what it was asked, its bytes, when it was used last."""

    folder: Path
    asked: Sequence[str]
    size: int
    last_use: float
    used_now: bool


def kept() -> list[Kept]:
    """All that are finished, those that were used last first."""
    home = root()
    asked: dict[str, list[str]] = {}
    for path in sorted((home / "asked").glob("*.json")):
        pointer = _pointer(path)
        asked.setdefault(pointer.get("environment", ""), []).append(pointer.get("asked", ""))
    found = []
    for note in (home / "environments").glob(f"*/{NOTE}"):
        with suppress(OSError):
            size = _pointer(note).get("bytes", 0)
            folder, used = note.parent, note.stat().st_mtime
            texts = sorted(asked.get(folder.name, ()))
            found.append(Kept(folder, texts, int(size), used, _is_used(folder)))
    return sorted(found, key=lambda one: -one.last_use)


def prune(unused_for: float = 0.0) -> list[Kept]:
    """Remove what no run uses, nor has for so many seconds; what was removed.

    And what runs left that were killed while they made one.
    """
    home = root()
    if not home.is_dir():
        return []
    with FileLock(home / "lock"):
        old = time.time() - unused_for
        removed = [one for one in kept() if not one.used_now and one.last_use <= old]
        for one in removed:
            _discard(home, one.folder)
        for path in (home / "asked").glob("*"):
            if not (home / "environments" / _pointer(path).get("environment", "-")).is_dir():
                path.unlink(missing_ok=True)
        for left in (home / "making").glob("*"):
            lock = home / "locks" / f"{left.name.partition('-')[0]}.lock"
            if _free(lock):
                shutil.rmtree(left, ignore_errors=True)
    return removed
