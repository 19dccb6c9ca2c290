"""Standard input, output and error, in whatever state they are handed over."""

from __future__ import annotations

import errno
import io
import os
import sys
from typing import TextIO, cast


def prepare() -> None:
    """Make all three usable, and let nothing that is printed fail for its letters.

    A descriptor that was closed leads nowhere from now on: otherwise pipes would get its number,
    and would be lost when a child process is given its own.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # the lowest number is free
    sys.stdin = sys.stdin or _nowhere("r")
    sys.stdout = sys.stdout or _nowhere("w")
    sys.stderr = sys.stderr or _nowhere("w")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _nowhere(mode: str) -> TextIO:
    return cast(TextIO, open(os.devnull, mode))  # noqa: PTH123


def show(text: str) -> str | None:
    """Print, now. Returns what keeps standard output from being written, if anything.

    A reader that has gone away, as ``head`` does, is no trouble.
    """
    try:
        print(text, end="", flush=True)
    except OSError as error:
        _drop(sys.stdout)
        if error.errno != errno.EPIPE:
            return f"standard output: {error.strerror or error}"
    return None


def finish() -> str | None:
    """Print what was not yet printed; returns as :func:`show` does."""
    trouble = show("")
    try:
        sys.stderr.flush()
    except OSError:
        _drop(sys.stderr)
    return trouble


def _drop(stream: TextIO) -> None:
    """Let a stream lead nowhere: what failed would fail again when the interpreter ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
