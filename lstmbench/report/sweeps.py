"""Settings that differ in one size only, side by side: how speed scales with it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lstmbench.analysis.tables import Row, Table
from lstmbench.report.columns import rate
from lstmbench.report.numbers import scaled

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
    """Settings by the value of one of :data:`SIZES`, rising; all else is equal."""

    size: str
    settings: dict[int, Table]

    @property
    def title(self) -> str:
        values = ", ".join(map(str, self.settings))
        first = next(iter(self.settings.values()))
        return f"Scaling with {SIZES[self.size]} ({values}): {first.described(without=self.size)}"

    def rows(self) -> dict[tuple[str, str], dict[int, Row]]:
        """For each (backend:mode, device) its rows by value, fastest at the first value first."""
        found: dict[tuple[str, str], dict[int, Row]] = {}
        for value, setting in self.settings.items():
            for row in setting.rows:
                found.setdefault((row.label, row.first.trial.device), {})[value] = row
        return found

    def table(self) -> tuple[list[str], list[list[str]]]:
        """Header and cells: tokens/s, and in brackets the share of the peak."""
        header = ["backend", "device", *(f"{SIZES[self.size]} {value}" for value in self.settings)]
        cells = [
            [label, device, *(_cell(rows.get(value)) for value in self.settings)]
            for (label, device), rows in self.rows().items()
        ]
        return header, cells

    @property
    def note(self) -> str:
        """What a point is."""
        found = {len(row.ok_records) for rows in self.rows().values() for row in rows.values()} - {
            0
        }
        least, most = min(found, default=0), max(found, default=0)
        number = str(most) if least == most else f"{least} to {most}"
        if most > 1:
            return f"Each point is of {number} processes."
        return "Each point is one process, which gives no interval."


def _cell(row: Row | None) -> str:
    if row is None:
        return ""
    if row.speed is None:
        return row.status
    share = scaled(row.peak_share, 100, 2)
    return f"{rate(row)} tokens/s" + (f" ({share} % of peak)" if share else "")


def sweeps(tables: Sequence[Table]) -> list[Sweep]:
    """Every sweep in some settings, over each size with at least two values."""
    found = []
    for size in SIZES:
        alike: dict[str, dict[int, Table]] = {}
        for setting in tables:
            facts, value = _without(setting.facts, size)
            alike.setdefault(json.dumps(facts, sort_keys=True), {}).setdefault(value, setting)
        found += [
            Sweep(size, dict(sorted(values.items())))
            for values in alike.values()
            if len(values) > 1
        ]
    return found


def _without(facts: dict[str, Any], size: str) -> tuple[dict[str, Any], int]:
    """The facts without one size, and its value."""
    if size in facts:
        return {k: v for k, v in facts.items() if k != size}, facts[size]
    protocol = dict(facts["protocol"])
    value = protocol.pop(size)
    return {**facts, "protocol": protocol}, value
