"""The index: one line per row of any setting, column by column."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lstmbench.analysis.tables import Row, Table
from lstmbench.records.record import Record
from lstmbench.report.columns import COLUMNS, DETAILS
from lstmbench.report.numbers import ratio_text
from lstmbench.report.site.facts import FACETS, natural, versions_facet

#: Columns that the site shows in another way.
ELSEWHERE = {"backend", "mode", "device", "status"}
#: Every figure of a row, in the order of the tables.
FIGURES = tuple(c for c in (*COLUMNS, *DETAILS) if c.heading not in ELSEWHERE)
#: Shown when asked for: they say again, or in detail, what another column says.
HIDDEN = {"floor", "training s", "commit", "versions", *(c.heading for c in DETAILS)}


@dataclass(frozen=True)
class _Column:
    """``shown``: at first. ``choice``: offered as a filter. ``in_label``: names a curve.

    Numbers are sorted as numbers.
    """

    heading: str
    texts: Sequence[str]
    number: bool = False
    shown: bool = True
    choice: bool = False
    in_label: bool = False

    def to_json(self) -> dict[str, Any]:
        """Distinct texts once, and for each row which of them."""
        values = list(dict.fromkeys(self.texts))
        place = {value: index for index, value in enumerate(values)}
        return {
            "heading": self.heading,
            "number": self.number,
            "shown": self.shown,
            "choice": self.choice and len(values) > 1,
            "telling": self.in_label,
            "values": values,
            "at": [place[text] for text in self.texts],
        }


def ordered(tables: Sequence[Table]) -> list[Table]:
    """Settings in an order that depends on what they are, not on which record came first."""
    return sorted(tables, key=lambda setting: (natural(setting.title), str(setting.facts)))


def index(tables: Sequence[Table], slugs: Mapping[int, str]) -> dict[str, Any]:
    """What the index page loads; ``slugs`` are the trials' file names by the record's ``id``."""
    rows = [row for setting in tables for row in setting.rows]
    facets = [*FACETS, versions_facet([row.first for row in rows])]
    chosen = {
        facet: _Column(
            facet.name,
            [facet.text(row.first) for row in rows],
            shown=not facet.setting and facet.name not in HIDDEN,
            choice=True,
            in_label=facet.name not in HIDDEN,
        )
        for facet in facets
    }
    varying = {f: column for f, column in chosen.items() if len(set(column.texts)) > 1}
    words = [f for f in varying if f.setting]
    names = [" · ".join(w for f in words if (w := f.word(row.first))) for row in rows]
    columns = [
        _Column("trial", [row.label for row in rows]),
        _Column("backend", [r.first.trial.backend for r in rows], shown=False, choice=True),
        _Column("mode", [r.first.trial.mode for r in rows], shown=False, choice=True),
        _Column("status", [row.status for row in rows], choice=True),
        *([_Column("setting", names)] if any(names) else []),
        *varying.values(),
        *_figures(tables, rows),
    ]
    return {
        "columns": [column.to_json() for column in columns],
        "setting": [i for i, setting in enumerate(tables) for _ in setting.rows],
        "trials": [[slugs[id(record)] for record in row.records] for row in rows],
        "curve": [_first_with_epochs(row.records) for row in rows],
        "throughout": [
            (facet.name, column.texts[0])
            for facet, column in chosen.items()
            if facet not in varying and column.texts and column.texts[0]
        ],
    }


def _first_with_epochs(records: Sequence[Record]) -> int:
    """Which of a row's trials is plotted; -1 for none."""
    return next((i for i, record in enumerate(records) if record.epochs.nats), -1)


def _figures(tables: Sequence[Table], rows: Sequence[Row]) -> list[_Column]:
    """Every column that has something to show."""
    found = [
        _Column(
            c.heading, [c.cell(row) for row in rows], c.align == "right", c.heading not in HIDDEN
        )
        for c in FIGURES
    ]
    place = next(i for i, c in enumerate(found) if c.heading == "tokens/s") + 1
    relative_to = next((s.relative_to for s in tables if s.relative_to), None)
    if relative_to:
        texts = [ratio_text(setting.relative(row)) for setting in tables for row in setting.rows]
        found.insert(place, _Column(f"x {relative_to}", texts, number=True))
    ranks = [str(rank or "") for setting in tables for rank in setting.ranks]
    found.insert(place, _Column("rank", ranks, number=True))
    found.append(_Column("message", [_message(row) for row in rows], shown=False))
    return [column for column in found if any(column.texts)]


def _message(row: Row) -> str:
    return next((record.message for record in row.records if record.message), "")
