"""Texts for people: one line each, and without what a terminal would obey."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    pass


def tell(lines: Sequence[str]) -> None:
    """What went wrong, a line each, on standard error."""
    for line in lines:
        click.echo(f"lstmbench: {' '.join(line.split())}", err=True)


def one_line(text: str) -> str:
    """``text`` on one line and without control characters, which terminals would obey."""
    return "".join(c for c in " ".join(text.split()) if c.isprintable())


#: Of what an exception says: its author may have put anything there.
MAX_CHARACTERS = 500


def describe(error: BaseException) -> str:
    """``ValueError: what it says``, on one line."""
    try:
        text = str(error)[:MAX_CHARACTERS]
    except Exception:  # it is anybody's class
        text = "it cannot say what is wrong"
    return one_line(f"{type(error).__name__}: {text}").removesuffix(":")
