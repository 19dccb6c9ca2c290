"""Texts for people and for records: what is printed, and what may stand in it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from contextlib import suppress

import click

#: What terminals obey, but line ends and tabs; and halves of characters, which no file can hold.
_UNSTORABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")


def tell(lines: Iterable[str], prefix: str = "lstmbench: ") -> None:
    """What the user should know, a line each, on standard error; lost where that is gone."""
    for line in lines:
        with suppress(OSError):
            click.echo(f"{prefix}{one_line(line)}", err=True)


def error(message: str) -> None:
    """The line that says why a command ends without result."""
    tell([message])


def one_line(text: str) -> str:
    """``text`` on one line and without control characters, which terminals would obey."""
    return "".join(c for c in " ".join(text.split()) if c.isprintable())


def storable(text: str) -> str:
    """``text`` as a file of UTF-8 can hold it and a terminal show it: the rest is escaped."""
    return _UNSTORABLE.sub(lambda match: match[0].encode("unicode_escape").decode(), text)
