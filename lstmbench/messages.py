"""Texts for people and for records: what is printed, and what may stand in it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from contextlib import suppress

import click

#: What terminals execute, but line ends and tabs; and halves of characters, which no file can hold.
_UNSTORABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")

#: White space that is not only blanks.
_NOT_ONLY_BLANKS = re.compile(r" *[^\S ]\s*")

#: The most lines that are shown; files of others may give rise to any number.
MAX_LINES = 1000


def tell(lines: Iterable[str], prefix: str = "lstmbench: ") -> None:
    """What the user should know, a line each, on standard error; lost where that is gone."""
    known = list(lines)
    shown = [f"{prefix}{_as_written(line)}" for line in known[:MAX_LINES]]
    if len(known) > MAX_LINES:
        shown.append(f"{prefix}{len(known) - MAX_LINES} more lines like these")
    for line in shown:
        with suppress(OSError):
            click.echo(line, err=True)


def one_line(text: str) -> str:
    """``text`` on one line and without control characters, which terminals would execute."""
    return _printable(" ".join(text.split()))


def _as_written(text: str) -> str:
    """As :func:`one_line`, but blanks that stand together stay: some are quoted from a text."""
    return _printable(_NOT_ONLY_BLANKS.sub(" ", text).strip())


def _printable(text: str) -> str:
    return "".join(c for c in text if c.isprintable())


#: Of what an exception says: its author may have put anything there.
MAX_CHARACTERS = 500


def describe(error: BaseException) -> str:
    """``ValueError: what it says``, on one line."""
    try:
        text = str(error)[:MAX_CHARACTERS]
    except Exception:  # it is anybody's class
        text = "it cannot say what is wrong"
    return one_line(f"{type(error).__name__}: {text}").removesuffix(":")


def storable(text: str) -> str:
    """``text`` as a file of UTF-8 can hold it and a terminal show it: the rest is escaped."""
    return _UNSTORABLE.sub(lambda match: match[0].encode("unicode_escape").decode(), text)
