"""Texts for people: one line each, and without what a terminal would obey."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

import click


def tell(lines: Sequence[str]) -> None:
    """What went wrong, a line each, on standard error, if there is somebody to read it."""
    for line in lines:
        with contextlib.suppress(OSError):
            click.echo(f"lstmbench: {' '.join(line.split())}", err=True)


def one_line(text: str) -> str:
    """``text`` on one line and without control characters, which terminals would obey."""
    return "".join(c for c in " ".join(text.split()) if c.isprintable())
