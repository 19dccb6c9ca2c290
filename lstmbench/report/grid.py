"""The one place that draws a table."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

import tabulate

#: Otherwise the padding depends on whether some other package has brought wcwidth.
tabulate.WIDE_CHARS_MODE = False
#: Stands behind a letter that is two columns wide, so that tabulate counts two; for private use,
#: so that no text holds it.
_SECOND = "\ue000"
#: What LaTeX takes for an argument of the line's end above, or of the rule.
_ARGUMENT = re.compile(r"^( *)(?=[\[*])", re.MULTILINE)


def _counted(cell: str) -> str:
    """As many characters as columns on a terminal: Chinese letters and emoji take two."""
    return cell if cell.isascii() else "".join(map(_letter, cell))


def _letter(char: str) -> str:
    return char + _SECOND if unicodedata.east_asian_width(char) in "WF" else char


def grid(
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    style: str = "simple",
    align: Sequence[str] | None = None,
) -> str:
    """A table of strings, taken as they are; ``style`` is one of tabulate's formats."""
    drawn: str = tabulate.tabulate(
        [[_counted(cell) for cell in row] for row in rows],
        [_counted(cell) for cell in header],
        style,
        disable_numparse=True,
        colalign=align if align and rows else None,
    ).replace(_SECOND, "")
    return _ARGUMENT.sub(r"\1{}", drawn) if style.startswith("latex") else drawn
