"""Which tables a set of records gives, in an order and under names that only records decide."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass

from lstmbench.analysis.tables import Row, Table, fastest_first, tables_from
from lstmbench.records import canonical
from lstmbench.records.record import Record
from lstmbench.report.layout import best_section
from lstmbench.report.styles import STYLES

#: Rows beyond which a store is long: its tables stand in files of their own, because web pages cut
#: long READMEs off, and fewer of them are drawn.
MAX_ROWS = 300


def name(table: Table) -> str:
    """A file name that no other table has: readable facts and a digest of all of them."""
    trial = table.first.trial
    changed = (f"{key}_{value}" for key, value in sorted(trial.overrides.items()))
    seeds = "_".join(map(str, table.seeds))
    facts = (trial.protocol.name, *changed, trial.init, trial.corpus, f"s{seeds}")
    readable = "-".join(re.sub(r"[^A-Za-z0-9.]+", "_", fact).strip(".") for fact in facts)
    unique = canonical.digest(json.dumps(table.facts, sort_keys=True).encode())[:8]
    return f"{readable[:100]}-{unique}"


def ordered(tables: Iterable[Table]) -> list[Table]:
    """Tables by what was asked, not by where their records happened to be."""

    def key(table: Table) -> tuple[object, ...]:
        trial = table.first.trial
        changed = [
            (k, 0.0, v) if isinstance(v, str) else (k, float(v), "")
            for k, v in sorted(trial.overrides.items())
        ]
        facts = (trial.protocol.name, changed, trial.init, trial.corpus, trial.dtype)
        return (*facts, table.seeds, trial.threads, table.title, name(table))

    return sorted(tables, key=key)


def make(records: Iterable[Record], relative_to: str | None = None) -> list[Table]:
    """All tables of records that come in order of their published names."""
    return ordered(tables_from(records, relative_to))


def long(tables: Iterable[Table]) -> bool:
    """Whether there are more rows than a page shows."""
    return sum(len(table.rows) for table in tables) > MAX_ROWS


@dataclass(frozen=True)
class Best:
    """The fastest row of each backend, stack and device, for one protocol, text and machine."""

    title: str
    rows: list[Row]


def best(tables: Iterable[Table]) -> list[Best]:
    """The best of ``tables``, in their order.

    Rows without a speed, and with a flag that disqualifies them, are left out.
    """
    titles: dict[tuple[str, str], str] = {}
    fastest: dict[tuple[str, str], dict[tuple[str, str, str], Row]] = {}
    for table in tables:
        trial, machine = table.first.trial, table.first.machine
        title = ", ".join([trial.protocol_title(), trial.corpus_title, machine.label])
        key = (title, machine.digest)
        titles[key] = title
        found = fastest.setdefault(key, {})
        for row in table.rows:
            if row.speed is None or row.disqualified:
                continue
            trial = row.first.trial
            place = (trial.backend, trial.stack, trial.device)
            current = found.setdefault(place, row)
            if current.speed is None or row.speed.value > current.speed.value:
                found[place] = row
    return [
        Best(titles[key], sorted(rows.values(), key=fastest_first))
        for key, rows in fastest.items()
        if rows
    ]


def best_markdown(tables: Iterable[Table]) -> str:
    """The tables of :func:`best` for GitHub, or a sentence where there are none."""
    sections = [best_section(group.title, group.rows) for group in best(tables)]
    return STYLES["github"].write(sections) or "No trial has a speed."
