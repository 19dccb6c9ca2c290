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
