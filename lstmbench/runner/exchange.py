"""Files in a worker's folder, where the worker may have put anything under any name."""

from __future__ import annotations

import contextlib
import io
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import IO

from lstmbench.runner.channel import WorkerLost
from lstmbench.worker.messages import INTERFACE


def place(path: Path, write: Callable[[IO[bytes]], object]) -> str:
    """Write a new file in place of whatever was there. Raises :class:`WorkerLost`."""
    try:
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
        with path.open("xb") as file:  # never through a link
            write(file)
    except OSError as error:
        raise WorkerLost(INTERFACE, f"{path.name} cannot be handed over: {error}") from None
    return str(path)


def take(path: Path, max_bytes: int) -> io.BytesIO:
    """The content of a regular file of so many bytes at most. Raises :class:`WorkerLost`."""
    try:
        # a pipe would keep the host waiting, a link could lead anywhere
        flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
        with open(os.open(path, flags), "rb") as file:  # noqa: PTH123 - of a descriptor
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode):
                raise WorkerLost(INTERFACE, f"{path.name} is no file any more")
            if found.st_size > max_bytes:
                size = f"{found.st_size:,} bytes, at most {max_bytes:,} are expected"
                raise WorkerLost(INTERFACE, f"{path.name} has {size}")
            return io.BytesIO(file.read(max_bytes))
    except OSError as error:
        raise WorkerLost(INTERFACE, f"{path.name} cannot be read: {error}") from None
