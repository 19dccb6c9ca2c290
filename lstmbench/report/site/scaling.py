"""Sweeps: settings that differ in one size only, and what each backend reached at each size."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from lstmbench.report.figures import Row, Setting
from lstmbench.report.site.facts import FACETS, changed

#: Sizes that a sweep may vary: hyper-parameters of the protocol, and threads.
SIZES = ("hidden_size", "batch_size", "steps", "layers", "threads")
#: Figures that may be plotted: name in the data, how to get it, what it is called.
FIGURES: tuple[tuple[str, Callable[[Row], float | None], str], ...] = (
    ("speed", lambda row: row.speed.value if row.speed else None, "tokens/s"),
)
Json = dict[str, Any]


def _size(setting: Setting, name: str) -> Any:
    return setting.facts["threads"] if name == "threads" else setting.facts["protocol"][name]


def _others(setting: Setting, name: str) -> str:
    """All facts but one: equal for the settings of one sweep."""
    facts = {**setting.facts, "protocol": {**setting.facts["protocol"]}}
    (facts if name == "threads" else facts["protocol"]).pop(name)
    return json.dumps(facts, sort_keys=True)


def _about(setting: Setting, without: str = "") -> str:
    """What the settings of one sweep share."""
    words = {facet.name: facet.word(setting.first) for facet in FACETS}
    words["changed"] = changed(setting.first, without)
    left_out = {"device", "commit", without}
    return " · ".join(word for name, word in words.items() if word and name not in left_out)


def sweeps(tables: Sequence[Setting], slugs: Mapping[int, str]) -> list[Json]:
    """Every set of settings that differ in one size, with the figures of each row."""
    found = []
    for name in SIZES:
        alike: dict[str, list[Setting]] = {}
        for setting in tables:
            alike.setdefault(_others(setting, name), []).append(setting)
        for members in alike.values():
            if len(members) > 1:
                found.append(
                    {
                        "size": name.replace("_", " "),
                        "about": _about(members[0], name),
                        "series": _series(members, name, slugs),
                    }
                )
    return found


def _series(members: Sequence[Setting], name: str, slugs: Mapping[int, str]) -> list[Json]:
    lines: dict[tuple[str, str], list[Json]] = {}
    for setting in sorted(members, key=lambda s: _size(s, name)):
        for row in setting.rows:
            line = lines.setdefault((row.label, row.first.trial.device), [])
            line.append({"x": _size(setting, name), **_point(row, slugs)})
    return [
        {"label": label, "device": device, "points": lines[label, device]}
        for label, device in sorted(lines)
    ]


def _point(row: Row, slugs: Mapping[int, str]) -> Json:
    speed = row.speed
    return {
        "slug": slugs[id(row.first)],
        "status": row.status,
        "low": speed and speed.low,
        "high": speed and speed.high,
        **{name: value(row) for name, value, _ in FIGURES},
    }
