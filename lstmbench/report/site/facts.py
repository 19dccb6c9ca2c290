"""Records as words: what distinguishes tables, and any JSON value as plain text."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

from lstmbench.analysis.tables import Row
from lstmbench.records.record import Machine, Record


def plain(value: Any) -> str:
    """A JSON value as a reader would write it; empty for ``None``."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        return ", ".join(f"{key}={plain(part)}" for key, part in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(map(plain, value))
    return str(value)


def natural(text: str) -> list[tuple[int, str]]:
    """A sort key that puts ``hidden-size 128`` before ``hidden-size 1024``."""
    return [_part(part) for part in re.split(r"(\d+)", text)]


def _part(text: str) -> tuple[int, str]:
    """Numbers by length, then digit by digit: they may be longer than integers are read."""
    if not text.isdecimal():
        return (0, text)
    digits = text.lstrip("0")
    return (len(digits), digits)


def machine_name(machine: Machine) -> str:
    """Processor, cores and GPUs, and the digest that tells equal names apart."""
    gpus = machine.facts.get("gpus")
    parts = [machine.label, *([plain(gpus)] if gpus else [])]
    return f"{' + '.join(parts)} {machine.digest[:8]}"


def changed(record: Record, without: Collection[str] = ()) -> str:
    """The hyper-parameters that are not the protocol's own, less those named ``without``."""
    return ", ".join(record.trial.overrides_in_words(without))


@dataclass(frozen=True)
class Facet:
    """Something by which rows differ without being a result.

    ``setting``: one word of a table's short name, with the facet's name before bare numbers.
    ``minor``: the index shows it on request, and leaves it out of the names of curves.
    """

    name: str
    text: Callable[[Row], str]
    setting: bool = True
    minor: bool = False

    def word(self, row: Row) -> str:
        text = self.text(row)
        return f"{self.name} {text}" if re.fullmatch(r"\d[\d, ]*", text) else text


#: In the order in which a reader asks. ``text`` is never a path or a host: records hold none.
FACETS = (
    Facet("device", lambda r: r.first.trial.device, setting=False),
    Facet("protocol", lambda r: r.first.trial.protocol.name),
    Facet("changed", lambda r: changed(r.first)),
    Facet("init", lambda r: r.first.trial.init),
    Facet("corpus", lambda r: r.first.trial.corpus_words),
    Facet("dtype", lambda r: r.first.trial.dtype),
    Facet("seed", lambda r: ", ".join(map(str, r.seeds))),
    Facet("threads", lambda r: str(r.first.trial.threads)),
    Facet("environment", lambda r: plain(dict(r.first.trial.environment))),
    Facet("machine", lambda r: machine_name(r.first.machine), setting=False),
    Facet("commit", lambda r: r.first.source.short_commit, setting=False, minor=True),
)


def versions(record: Record) -> dict[str, str]:
    """What was installed where the worker ran, beside what the host knows of itself."""
    return record.machine.versions | (record.stack.versions if record.stack else {})


def versions_facet(rows: Sequence[Row]) -> Facet:
    """The versions that are not the same in all rows."""
    records = [row.first for row in rows]
    seen: dict[str, set[str]] = {}
    for record in records:
        for name, version in versions(record).items():
            seen.setdefault(name, set()).add(version)
    known = [versions(record) for record in records]
    everywhere = {n for n in seen if all(n in own for own in known)}
    varying = sorted(n for n in seen if len(seen[n]) > 1 or n not in everywhere)

    def text(row: Row) -> str:
        known = versions(row.first)
        return ", ".join(f"{name} {known[name]}" for name in varying if name in known)

    return Facet("versions", text, setting=False, minor=True)
