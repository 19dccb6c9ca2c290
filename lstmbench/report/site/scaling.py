"""Sweeps and rooflines as the pages plot them."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from lstmbench.analysis import metrics, roofline
from lstmbench.analysis.tables import Row, Table
from lstmbench.report.site.facts import FACETS, changed
from lstmbench.report.sweeps import SIZES, sweeps

GIGA = 1e9
#: Figures that are plotted against a size: name in the data, how to get it, what it is called.
FIGURES: tuple[tuple[str, Callable[[Row], float | None], str], ...] = (
    ("speed", lambda row: row.speed.value if row.speed else None, "tokens/s"),
    ("share", lambda row: None if row.peak_share is None else 100 * row.peak_share, "% of peak"),
    ("gflops", lambda row: None if row.achieved is None else row.achieved / GIGA, "GFLOP/s"),
)
Json = dict[str, Any]


def scaling(tables: Sequence[Table], slugs: Mapping[int, str]) -> Json:
    """All that the scaling page loads; ``slugs`` as for the index."""
    return {
        "figures": [(name, title) for name, _, title in FIGURES],
        "sweeps": [
            {
                "size": SIZES[sweep.size],
                "about": _about(next(iter(sweep.settings.values())), [sweep.size]),
                "series": [
                    {
                        "label": label,
                        "device": device,
                        "points": [{"x": x, **_point(row, slugs)} for x, row in rows.items()],
                    }
                    for (label, device), rows in sweep.rows().items()
                ],
            }
            for sweep in sweeps(tables)
        ],
        "rooflines": _rooflines(tables, slugs),
    }


def _about(setting: Table, without: Collection[str]) -> str:
    """What settings share that differ in some sizes only."""
    words = {facet.name: facet.word(setting.first) for facet in FACETS}
    words["changed"] = changed(setting.first, without)
    left_out = {"device", "commit", *without}
    return " · ".join(word for name, word in words.items() if word and name not in left_out)


def _point(row: Row, slugs: Mapping[int, str]) -> Json:
    speed = row.speed
    return {
        "slug": slugs[id(row.first)],
        "status": row.status,
        "low": speed and speed.low,
        "high": speed and speed.high,
        **{name: value(row) for name, value, _ in FIGURES},
    }


def _rooflines(tables: Sequence[Table], slugs: Mapping[int, str]) -> list[Json]:
    """A roof for each device of settings that differ in the model's and batch's size only."""
    alike: dict[tuple[str, str], list[tuple[Table, Row]]] = {}
    for setting in tables:
        protocol = {k: v for k, v in setting.facts["protocol"].items() if k not in SIZES}
        facts = json.dumps({**setting.facts, "protocol": protocol}, sort_keys=True)
        for row in setting.rows:
            if row.peak_share is not None:
                alike.setdefault((facts, row.first.trial.device), []).append((setting, row))
    return [_roofline(members, slugs) for members in alike.values()]


def _roofline(members: Sequence[tuple[Table, Row]], slugs: Mapping[int, str]) -> Json:
    setting, first = members[0]
    records = [record for _, row in members for record in row.ok_records]
    bandwidth = metrics.median_of(roofline.bandwidth(record) for record in records)
    sizes = [name for name in SIZES if name != "threads"]
    return {
        "about": f"{first.first.trial.device} · {_about(setting, sizes)}",
        "peak": (metrics.median_of(roofline.peak(r) for r in records) or 0.0) / GIGA,
        "bandwidth": None if bandwidth is None else bandwidth / GIGA,
        "points": [
            {
                "label": row.label,
                "changed": changed(row.first),
                "intensity": roofline.record_cost(row.first).intensity,
                **_point(row, slugs),
            }
            for _, row in members
        ],
    }
