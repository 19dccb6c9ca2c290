"""Tables laid out for readers: texts in columns, titles and notes, in no format yet."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from lstmbench.analysis.metrics import BY_KEY, SHARE_OF_PEAK
from lstmbench.analysis.tables import Row, Table
from lstmbench.report.columns import DETAILS, RESULTS, TRIAL_FACTS, TextColumn
from lstmbench.report.notes import notes
from lstmbench.report.numbers import ratio_text


@dataclass(frozen=True)
class TextTable:
    """A table of texts; ``key`` says which one: results, details, text, ..."""

    key: str
    columns: tuple[TextColumn, ...]

    @classmethod
    def of(cls, key: str, columns: Iterable[TextColumn]) -> TextTable:
        """Of those columns that have something to show."""
        return cls(key, tuple(c for c in columns if c.always or any(c.texts)))

    @classmethod
    def from_rows(
        cls,
        key: str,
        columns: Sequence[tuple[str, str]],
        rows: Sequence[Sequence[str]],
        align: str = "left",
    ) -> TextTable:
        """Of (key, heading) of each column, and of the cells row by row."""
        texts = list(zip(*rows, strict=True)) if rows else [() for _ in columns]
        filled = zip(columns, texts, strict=True)
        return cls(key, tuple(TextColumn(*names, tuple(own), align) for names, own in filled))

    @property
    def rows(self) -> list[tuple[str, ...]]:
        return list(zip(*(column.texts for column in self.columns), strict=True))


@dataclass(frozen=True)
class Section:
    """A title with tables and lines of text below it, in order."""

    title: str
    parts: tuple[TextTable | str, ...]

    @property
    def tables(self) -> list[TextTable]:
        return [part for part in self.parts if isinstance(part, TextTable)]


def section(table: Table) -> Section:
    """Results, details, notes, and what the models write."""
    parts: list[TextTable | str] = [TextTable.of("results", _results(table))]
    trained = [row for row in table.rows if row.ok_records]
    if trained:
        parts.append(TextTable.of("details", (column.of(trained) for column in DETAILS)))
    parts += notes(table)
    written = [
        (row.label, row.first.trial.device, c.prefix, c.text if c.text.strip() else "(blanks)")
        for row in table.rows
        for c in row.first.continuations
    ]
    if written:
        columns = [
            ("label", "backend"),
            ("device", "device"),
            ("prefix", "after"),
            ("text", "the model writes"),
        ]
        parts.append(TextTable.from_rows("text", columns, written))
    return Section(table.title, tuple(parts))


def _results(table: Table) -> list[TextColumn]:
    # the layers alone predict nothing
    no_loss = {"perplexity"} if table.first.trial.protocol.is_layer else set()
    columns = [column.of(table.rows) for column in RESULTS if column.key not in no_loss]
    if table.relative_to:
        place = [column.key for column in columns].index(SHARE_OF_PEAK.key)
        columns.insert(place, relative_column([table], table.relative_to))
    if table.repeated:
        columns.insert(0, rank_column([table]))
    if len(table.seeds) > 1:
        place = [column.key for column in columns].index(BY_KEY["perplexity"].key)
        columns.insert(place, seeds_column(table.rows))
    return columns


def seeds_column(rows: Iterable[Row]) -> TextColumn:
    """How many seeds the perplexities of each row are of."""
    return TextColumn("seeds", "seeds", tuple(str(len(row.ok_seeds) or "") for row in rows))


def rank_column(tables: Iterable[Table]) -> TextColumn:
    """Ranks, each within its table."""
    ranks = [rank for table in tables for rank in table.ranks]
    return TextColumn("rank", "rank", tuple(str(rank or "") for rank in ranks), always=True)


def relative_column(tables: Iterable[Table], relative_to: str) -> TextColumn:
    """Speeds relative to that row of their table."""
    texts = (ratio_text(table.relative(row)) for table in tables for row in table.rows)
    return TextColumn("relative_speed", f"x {relative_to}", tuple(texts))


def best_section(title: str, rows: Sequence[Row]) -> Section:
    """Rows of several tables, with the facts in which they may differ."""
    columns = (column.of(rows) for column in (*RESULTS, *TRIAL_FACTS))
    return Section(title, (TextTable.of("best", columns),))
