"""Sweeps and rooflines as the pages plot them."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from typing import Any

from lstmbench.analysis import roofline, series
from lstmbench.analysis.metrics import METRICS, SHARE_OF_PEAK, Metric
from lstmbench.analysis.tables import Row, Table
from lstmbench.report.site.facts import FACETS, changed
from lstmbench.report.site.names import slug
from lstmbench.report.sweeps import SIZES, sweeps

GIGA = 1e9
#: What is plotted against a size.
FIGURES = [(metric, metric.shown) for metric in METRICS if metric.scales and metric.shown]
Json = dict[str, Any]


def scaling(tables: Sequence[Table]) -> Json:
    """All that the scaling page loads."""
    return {
        "figures": [(metric.key, shown.heading) for metric, shown in FIGURES],
        "sweeps": [
            {
                "size": SIZES[sweep.size],
                "about": _about(next(iter(sweep.tables.values())), [sweep.size]),
                "series": [
                    {
                        "label": label,
                        "device": device,
                        "points": [{"x": x, **_point(row)} for x, row in rows.items()],
                    }
                    for (label, device), rows in sweep.rows().items()
                ],
            }
            for sweep in sweeps(tables)
        ],
        "rooflines": _rooflines(tables),
    }


def _about(table: Table, without: Collection[str]) -> str:
    """What tables share that differ in some sizes only."""
    words = {facet.name: facet.word(table.rows[0]) for facet in FACETS}
    words["changed"] = changed(table.first, without)
    left_out = {"device", "commit", "seed", *without}
    return " · ".join(word for name, word in words.items() if word and name not in left_out)


def _point(row: Row) -> Json:
    """``shown`` are figures in the units of tables, ``low`` and ``high`` bounds of tokens/s."""
    speed = row.speed
    return {
        "slug": slug(row.files[0]),
        "status": row.status,
        "low": speed and speed.low,
        "high": speed and speed.high,
        "shown": {metric.key: _scaled(row, metric, shown.factor) for metric, shown in FIGURES},
    }


def _scaled(row: Row, metric: Metric, factor: float) -> float | None:
    value = row.value(metric)
    return None if value is None else value * factor


def _rooflines(tables: Sequence[Table]) -> list[Json]:
    """A roof for each device of tables that differ in the model's and batch's size only."""
    alike: dict[tuple[str, str], list[tuple[Table, Row]]] = {}
    for table in tables:
        protocol = {k: v for k, v in table.facts["protocol"].items() if k not in SIZES}
        facts = json.dumps({**table.facts, "protocol": protocol, "seed": None}, sort_keys=True)
        for row in table.rows:
            if row.figure(SHARE_OF_PEAK):
                alike.setdefault((facts, row.first.trial.device), []).append((table, row))
    return [_roofline(members) for members in alike.values()]


def _roofline(members: Sequence[tuple[Table, Row]]) -> Json:
    table, first = members[0]
    records = [record for _, row in members for record in row.ok_records]
    bandwidth = series.median_of(roofline.bandwidth(record) for record in records)
    sizes = [name for name in SIZES if name != "threads"]
    return {
        "about": f"{first.first.trial.device} · {_about(table, sizes)}",
        "peak": (series.median_of(roofline.peak(r) for r in records) or 0.0) / GIGA,
        "bandwidth": None if bandwidth is None else bandwidth / GIGA,
        "points": [
            {
                "label": row.label,
                "changed": changed(row.first),
                "intensity": roofline.record_cost(row.first).intensity,
                **_point(row),
            }
            for _, row in members
        ],
    }
