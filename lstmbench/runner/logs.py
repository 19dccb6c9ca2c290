"""Logs of workers, bounded while they are written."""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import struct
import termios
import threading
import time
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
        self._copying = threading.Lock()
        try:
            self._source, self.sink = os.pipe()
        except OSError:
            self._file.close()
            raise
        self.start()

    def run(self) -> None:
        readable = select.poll()
        readable.register(self._source)
        with self._file:
            while True:
                readable.poll()
                with self._copying:
                    chunk = os.read(self._source, 1 << 16)
                    if not chunk:
                        break
                    self._copy(chunk)
        os.close(self._source)

    def _copy(self, chunk: bytes) -> None:
        with contextlib.suppress(OSError):
            if self._file.tell() + len(chunk) > MAX_LOG:
                self._file.truncate(0)
                self._file.write(DROPPED)
            self._file.write(chunk)

    def drain(self) -> None:
        """Wait until what has been written so far is in the file, which goes on."""
        deadline = time.monotonic() + REST_SECONDS
        while self.is_alive() and time.monotonic() < deadline:
            with self._copying, contextlib.suppress(OSError):
                unread = fcntl.ioctl(self._source, termios.FIONREAD, bytes(4))
                if struct.unpack("i", unread) == (0,):
                    return
            time.sleep(0.001)

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
