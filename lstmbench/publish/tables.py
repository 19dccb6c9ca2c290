"""Which tables a set of records gives, in an order and under names that only records decide."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass

from lstmbench.analysis.tables import Row, Table, processor_name, tables_from
from lstmbench.messages import one_line
from lstmbench.records import canonical
from lstmbench.records.record import Record
from lstmbench.report.columns import COLUMNS, Column
from lstmbench.report.grid import grid
from lstmbench.report.text import STYLES

#: Rows beyond which a store is long: its tables stand in files of their own, for web pages cut
#: long READMEs off, and fewer of them are drawn.
MAX_ROWS = 300
#: Facts of a trial, not of its table, that the best rows are told apart by.
FACTS = (
    Column("init", lambda row: row.first.trial.init, "left"),
    Column("dtype", lambda row: row.first.trial.dtype, "left"),
    Column("seed", lambda row: str(row.first.trial.seed)),
    Column("threads", lambda row: str(row.first.trial.threads)),
    Column("commit", lambda row: (row.first.source.commit or "unknown")[:8], "left"),
)


def name(table: Table) -> str:
    """A file name that no other table has: readable facts and a digest of all of them."""
    trial = table.first.trial
    changed = (f"{key}_{value}" for key, value in sorted(trial.overrides.items()))
    facts = (trial.protocol.name, *changed, trial.init, trial.corpus, f"s{trial.seed}")
    readable = "-".join(re.sub(r"[^A-Za-z0-9.]+", "_", fact).strip(".") for fact in facts)
    unique = canonical.digest(json.dumps(table.facts, sort_keys=True).encode())[:8]
    return f"{readable[:100]}-{unique}"


def ordered(tables: Iterable[Table]) -> list[Table]:
    """Tables by what was asked, not by where their records happened to be."""

    def key(table: Table) -> tuple[object, ...]:
        trial = table.first.trial
        numbers = [(k, float(v)) for k, v in sorted(trial.overrides.items())]
        facts = (trial.protocol.name, numbers, trial.init, trial.corpus, trial.dtype)
        return (*facts, trial.seed, trial.threads, table.title, name(table))

    return sorted(tables, key=key)


def make(records: Iterable[Record], relative_to: str | None = None) -> list[Table]:
    """All tables of records that come in order of their published names."""
    return ordered(tables_from(records, relative_to))


def long(tables: Iterable[Table]) -> bool:
    """Whether there are more rows than a page shows."""
    return sum(len(table.rows) for table in tables) > MAX_ROWS


@dataclass(frozen=True)
class Best:
    """The fastest row of each backend on each device, for one protocol, text and machine."""

    title: str
    rows: list[Row]


def best(tables: Iterable[Table]) -> list[Best]:
    """The best of ``tables``, in their order; rows that are suspect, or not ok, are left out."""
    found: dict[str, Best] = {}
    champions: dict[tuple[str, str, str], Row] = {}
    for table in tables:
        trial, machine = table.first.trial, table.first.machine
        title = ", ".join(
            [
                " with ".join(
                    [
                        trial.protocol.name,
                        *(f"{k.replace('_', '-')} {v}" for k, v in trial.overrides.items()),
                    ]
                ),
                f"corpus {trial.corpus} ({trial.corpus_digest[:8]})",
                processor_name(machine.facts),
            ]
        )
        key = f"{title} {machine.digest}"
        found.setdefault(key, Best(title, []))
        for row in table.rows:
            place = (key, row.first.trial.backend, row.first.trial.device)
            if row.speed is None or any("suspect" in r.flags for r in row.records):
                continue
            current = champions.get(place)
            if current is None or current.speed is None or row.speed.value > current.speed.value:
                champions[place] = row
    for (key, _, _), row in champions.items():
        found[key].rows.append(row)
    for group in found.values():
        group.rows.sort(key=lambda r: (-(r.speed.value if r.speed else 0), r.label))
    return [group for group in found.values() if group.rows]


def best_markdown(tables: Iterable[Table]) -> str:
    """The tables of :func:`best` for GitHub, or a sentence where there are none."""
    style, parts = STYLES["github"], []
    for group in best(tables):
        parts.append(style.heading(one_line(group.title)).rstrip("\n"))
        filled = [(c, [c.cell(row) for row in group.rows]) for c in (*COLUMNS, *FACTS)]
        shown = [(c, cells) for c, cells in filled if any(cells)]
        cells = [[style.cell(one_line(cell)) for cell in texts] for _, texts in shown]
        rows = list(zip(*cells, strict=True))
        headings, align = [c.heading for c, _ in shown], [c.align for c, _ in shown]
        parts.append(grid(headings, rows, style.table, align))
    return "\n\n".join(parts) or "No trial has a speed."
