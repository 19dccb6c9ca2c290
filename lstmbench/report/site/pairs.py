"""How rows of one setting compare, for the page that shows two trials side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lstmbench.analysis.tables import Table
from lstmbench.report.numbers import ratio_text

#: Rows of a setting: the pairs of a larger one would outweigh all else.
MAX_ROWS_PAIRED = 40


def pairs(tables: Sequence[Table], slugs: Mapping[int, str]) -> dict[str, dict[str, str]]:
    """By a trial's file name: its row's speed relative to other rows, each under their trials.

    Only ratios that have an interval, which takes several processes; no row is its own other.
    """
    found: dict[str, dict[str, str]] = {}
    for setting in tables:
        if len(setting.rows) > MAX_ROWS_PAIRED:
            continue
        for row in setting.rows:
            ratios = {
                slugs[id(record)]: ratio_text(ratio)
                for other in setting.rows
                if other is not row and (ratio := row.ratio(other)) and ratio.low is not None
                for record in other.records
            }
            found |= {slugs[id(record)]: ratios for record in row.records}
    return found
