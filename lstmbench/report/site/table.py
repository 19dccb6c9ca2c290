"""The index: one line per row of any table, column by column."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lstmbench.analysis.metrics import BY_KEY, TOKENS_PER_SECOND
from lstmbench.analysis.tables import Row, Table
from lstmbench.records.record import Record
from lstmbench.report.columns import DETAIL_FIGURES, FIGURES, TextColumn
from lstmbench.report.layout import rank_column, relative_column, seeds_column
from lstmbench.report.site.facts import FACETS, natural, versions_facet
from lstmbench.report.site.names import slug


@dataclass(frozen=True)
class _Column:
    """``choice``: offered as a filter. ``in_label``: names a curve.

    Columns that are aligned to the right are sorted as numbers.
    """

    column: TextColumn
    choice: bool = False
    in_label: bool = False

    @classmethod
    def of(cls, key: str, texts: Sequence[str], minor: bool = False, choice: bool = False) -> Any:
        """A column of words."""
        return cls(TextColumn(key, key, tuple(texts), "left", minor=minor), choice)

    def to_json(self) -> dict[str, Any]:
        """Distinct texts once, and for each row which of them."""
        values = list(dict.fromkeys(self.column.texts))
        place = {value: index for index, value in enumerate(values)}
        return {
            "key": self.column.key,
            "heading": self.column.heading,
            "number": self.column.align == "right",
            "shown": not self.column.minor,
            "choice": self.choice and len(values) > 1,
            "in_label": self.in_label,
            "values": values,
            "at": [place[text] for text in self.column.texts],
        }


def ordered(tables: Sequence[Table]) -> list[Table]:
    """Tables in an order that depends on what they are, not on which record got first."""
    return sorted(tables, key=lambda table: (natural(table.title), str(table.facts)))


def index(tables: Sequence[Table]) -> dict[str, Any]:
    """What the index page loads."""
    rows = [row for table in tables for row in table.rows]
    facets = [*FACETS, versions_facet(rows)]
    texts = {facet: tuple(facet.text(row) for row in rows) for facet in facets}
    varying = [facet for facet in facets if len(set(texts[facet])) > 1]
    words = [facet for facet in varying if facet.setting]
    names = [" · ".join(w for f in words if (w := f.word(row))) for row in rows]
    stacks = [row.first.trial.stack for row in rows]
    columns = [
        _Column.of("trial", [row.label for row in rows]),
        _Column.of("backend", [r.first.trial.backend for r in rows], minor=True, choice=True),
        _Column.of("mode", [r.first.trial.mode for r in rows], minor=True, choice=True),
        *([_Column.of("stack", stacks, minor=True, choice=True)] if any(stacks) else []),
        _Column.of("status", [row.status for row in rows], choice=True),
        *([_Column.of("setting", names)] if any(names) else []),
        *(
            _Column(
                TextColumn(f.name, f.name, texts[f], "left", minor=f.setting or f.minor),
                choice=True,
                in_label=not f.minor,
            )
            for f in varying
        ),
        *map(_Column, _figures(tables, rows)),
    ]
    return {
        "columns": [column.to_json() for column in columns],
        "table": [i for i, table in enumerate(tables) for _ in table.rows],
        "trials": [[slug(file) for file in row.files] for row in rows],
        "curves": [_with_epochs(row.records) for row in rows],
        "in_all": [
            (facet.name, texts[facet][0])
            for facet in facets
            if facet not in varying and any(texts[facet])
        ],
    }


def _with_epochs(records: Sequence[Record]) -> list[int]:
    """Which of a row's trials are plotted: the first of each seed that trained."""
    found: dict[int, int] = {}
    for index, record in enumerate(records):
        if record.epochs.nats:
            found.setdefault(record.trial.seed, index)
    return list(found.values())


def _figures(tables: Sequence[Table], rows: Sequence[Row]) -> list[TextColumn]:
    """Every column that has something to show."""
    found = [column.of(rows) for column in (*FIGURES, *DETAIL_FIGURES)]
    place = [column.key for column in found].index(TOKENS_PER_SECOND.key) + 1
    relative_to = next((table.relative_to for table in tables if table.relative_to), None)
    if relative_to:
        found.insert(place, relative_column(tables, relative_to))
    found.insert(place, rank_column(tables))
    if any(len(table.seeds) > 1 for table in tables):
        place = [column.key for column in found].index(BY_KEY["perplexity"].key)
        found.insert(place, seeds_column(rows))
    messages = tuple(row.message for row in rows)
    found.append(TextColumn("message", "message", messages, "left", minor=True))
    return [column for column in found if any(column.texts)]
