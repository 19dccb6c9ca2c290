"""The one place that draws a table."""

from __future__ import annotations

import re
from collections.abc import Sequence

import tabulate

#: Otherwise the padding depends on whether some other package has brought wcwidth.
tabulate.WIDE_CHARS_MODE = False
#: What LaTeX takes for an argument of the line's end above, or of the rule.
_ARGUMENT = re.compile(r"^( *)(?=[\[*])", re.MULTILINE)


def grid(
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    style: str = "simple",
    align: Sequence[str] | None = None,
) -> str:
    """A table of strings, taken as they are; ``style`` is one of tabulate's formats."""
    drawn: str = tabulate.tabulate(
        rows, header, style, disable_numparse=True, colalign=align if align and rows else None
    )
    return _ARGUMENT.sub(r"\1{}", drawn) if style.startswith("latex") else drawn
