"""The one place that draws a table."""

from __future__ import annotations

from collections.abc import Sequence

from tabulate import tabulate


def grid(
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    style: str = "simple",
    align: Sequence[str] | None = None,
) -> str:
    """A table of strings, taken as they are; ``style`` is one of tabulate's formats."""
    return tabulate(
        rows, header, style, disable_numparse=True, colalign=align if align and rows else None
    )
