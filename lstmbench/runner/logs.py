"""Logs of workers, bounded while they are written."""

from __future__ import annotations

import contextlib
import os
import threading
from pathlib import Path

#: Bytes of a log; beyond, it begins anew, so that what was printed last is always there.
MAX_LOG = 16 * 2**20
DROPPED = b"[earlier output was dropped]\n"
#: Seconds in which the rest of a worker's output is read once it has ended.
REST_SECONDS = 5.0


class Log(threading.Thread):
    """Copies what is written to the descriptor :attr:`sink` into a file, until all have closed it.

    Raises ``OSError`` where the file cannot be opened. A disk that is full ends the file, not the
    copying: printing never waits.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(daemon=True)
        self._file = path.open("ab", buffering=0)
        try:
            self._source, self.sink = os.pipe()
        except OSError:
            self._file.close()
            raise
        self.start()

    def run(self) -> None:
        with self._file:
            while chunk := os.read(self._source, 1 << 16):
                with contextlib.suppress(OSError):
                    if self._file.tell() + len(chunk) > MAX_LOG:
                        self._file.truncate(0)
                        self._file.write(DROPPED)
                    self._file.write(chunk)
        os.close(self._source)

    def finish(self) -> None:
        """Wait until all is in the file; the processes that wrote must have ended."""
        self.join(REST_SECONDS)


def tail(path: Path, size: int) -> str:
    """The last ``size`` bytes of a log; empty where there is none, or a link or a pipe instead."""
    try:
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - size))
            return log.read(size).decode(errors="replace")
    except OSError:
        return ""
