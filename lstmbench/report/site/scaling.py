"""Sweeps: settings that differ in one size only, and what each backend reached at each size."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from lstmbench.report.figures import Row, Setting
from lstmbench.report.site.facts import FACETS, changed

#: Sizes that a sweep may vary: hyper-parameters of the protocol, and threads.
SIZES = ("hidden_size", "batch_size", "steps", "layers", "threads")
#: Figures that may be plotted: name in the data, key of ``Row.to_json``, what it is called.
FIGURES = (
    ("speed", "tokens_per_second", "tokens/s"),
    ("share", "peak_share_percent", "% of peak"),
    ("gflops", "gflops_per_second", "GFLOP/s"),
)
#: For the roofline, likewise.
ROOFLINE = (
    ("intensity", "flops_per_byte", "FLOP/byte"),
    ("gflops", "gflops_per_second", "GFLOP/s"),
    ("peak", "peak_gflops_per_second", "GFLOP/s"),
    ("bandwidth", "bandwidth_gigabytes_per_second", "GB/s"),
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
    texts = {facet.name: facet.text(setting.first) for facet in FACETS}
    del texts["device"]
    texts["changed"] = changed(setting.first, without)
    texts["initial parameters"] += " initial parameters"
    texts["seed"] = f"seed {texts['seed']}"
    texts["threads"] = "" if without == "threads" else f"threads {texts['threads']}"
    return " · ".join(text for text in texts.values() if text)


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
    figures = row.to_json()
    return {
        "slug": slugs[id(row.first)],
        "status": row.status,
        "low": figures["tokens_per_second_low"],
        "high": figures["tokens_per_second_high"],
        **{name: figures.get(key) for name, key, _ in FIGURES},
    }


def rooflines(tables: Sequence[Setting], slugs: Mapping[int, str]) -> list[Json]:
    """For each setting and device with a measured peak: the roof and the rows beneath it."""
    found = []
    for setting in tables:
        devices: dict[str, list[Json]] = {}
        for row in setting.rows:
            figures = row.to_json()
            point = {name: figures.get(key) for name, key, _ in ROOFLINE}
            if point["intensity"] and point["gflops"] and point["peak"]:
                point |= {"label": row.label, "slug": slugs[id(row.first)]}
                devices.setdefault(row.first.trial.device, []).append(point)
        for device, points in devices.items():
            about = f"{device} · {_about(setting)}"
            found.append({"about": about, "points": points})
    return found
