"""How rows of one table compare, for the page that shows two trials side by side."""

from __future__ import annotations

from collections.abc import Sequence

from lstmbench.analysis.tables import Table
from lstmbench.report.numbers import ratio_text
from lstmbench.report.site.names import slug

#: Rows of a table: the pairs of a larger one would outweigh all else.
MAX_ROWS_PAIRED = 40


def pairs(tables: Sequence[Table]) -> dict[str, dict[str, str]]:
    """By a trial's page: its row's speed relative to each other row, under that row's trials.

    Only ratios that have an interval, which takes several processes.
    """
    found: dict[str, dict[str, str]] = {}
    for table in tables:
        if len(table.rows) > MAX_ROWS_PAIRED:
            continue
        for row in table.rows:
            ratios = {
                slug(file): ratio_text(ratio)
                for other in table.rows
                if other is not row and (ratio := row.ratio(other)) and ratio.low is not None
                for file in other.files
            }
            found |= {slug(file): ratios for file in row.files}
    return found
