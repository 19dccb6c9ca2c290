"""Tables that differ in one size only, side by side: how speed scales with it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lstmbench.analysis.metrics import SHARE_OF_PEAK, TOKENS_PER_SECOND
from lstmbench.analysis.tables import Row, Table
from lstmbench.report.columns import figure_text
from lstmbench.report.layout import Section, TextTable

#: What a sweep may run over, with its name on the command line.
SIZES = {
    "hidden_size": "hidden-size",
    "batch_size": "batch-size",
    "steps": "steps",
    "layers": "layers",
    "threads": "threads",
}


@dataclass(frozen=True)
class Sweep:
    """Tables by the value of one of :data:`SIZES`, rising; all else but seeds is equal."""

    size: str
    tables: dict[int, Table]

    @property
    def title(self) -> str:
        values = ", ".join(map(str, self.tables))
        first = next(iter(self.tables.values()))
        seeds = sorted({seed for table in self.tables.values() for seed in table.seeds})
        title = first.title_without(self.size, seeds)
        return f"Scaling with {SIZES[self.size]} ({values}): {title}"

    def rows(self) -> dict[tuple[str, str], dict[int, Row]]:
        """For each (backend:mode, device) its rows by value, fastest at the first value first."""
        found: dict[tuple[str, str], dict[int, Row]] = {}
        for value, table in self.tables.items():
            for row in table.rows:
                found.setdefault((row.label, row.first.trial.device), {})[value] = row
        return found

    @property
    def note(self) -> str:
        """What a point is."""
        rows = [row for by_value in self.rows().values() for row in by_value.values()]
        counts = {len(row.ok_records) for row in rows} - {0}
        least, most = min(counts, default=0), max(counts, default=0)
        number = str(most) if least == most else f"{least} to {most}"
        if most > 1:
            return f"Each point is of {number} processes."
        return "Each point is one process, which gives no interval."


def sweep_section(sweep: Sweep) -> Section:
    """Tokens/s, and in brackets the share of the peak, by size."""
    sizes = [(str(value), f"{SIZES[sweep.size]} {value}") for value in sweep.tables]
    cells = [
        [label, device, *(_cell(rows.get(value)) for value in sweep.tables)]
        for (label, device), rows in sweep.rows().items()
    ]
    columns = [("label", "backend"), ("device", "device"), *sizes]
    return Section(sweep.title, (TextTable.from_rows("sweep", columns, cells), sweep.note))


def _cell(row: Row | None) -> str:
    if row is None:
        return ""
    if row.speed is None:
        return row.status
    share = figure_text(SHARE_OF_PEAK, row)
    speed = figure_text(TOKENS_PER_SECOND, row)
    return f"{speed} tokens/s" + (f" ({share} % of peak)" if share else "")


def sweeps(tables: Sequence[Table]) -> list[Sweep]:
    """Every sweep in some tables, over each size with at least two values."""
    found = []
    for size in SIZES:
        alike: dict[str, dict[int, Table]] = {}
        for table in tables:
            facts, value = _without(table.facts, size)
            alike.setdefault(json.dumps(facts, sort_keys=True), {}).setdefault(value, table)
        found += [
            Sweep(size, dict(sorted(values.items())))
            for values in alike.values()
            if len(values) > 1
        ]
    return found


def _without(facts: Mapping[str, Any], size: str) -> tuple[dict[str, Any], int]:
    """The facts without one size and without seeds, which are the same work; and its value."""
    facts = {**facts, "seed": None}
    if size in facts:
        return {k: v for k, v in facts.items() if k != size}, facts[size]
    protocol = dict(facts["protocol"])
    value = protocol.pop(size)
    return {**facts, "protocol": protocol}, value
