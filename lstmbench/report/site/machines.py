"""The machines behind the records."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from lstmbench.records.record import Record, Status
from lstmbench.report.site.facts import machine_name, natural, plain
from lstmbench.report.site.facts import versions as versions_of
from lstmbench.report.site.names import slug


def by_machine(records: Sequence[Record]) -> dict[str, list[Record]]:
    """Records by the digest of their machine, in the order of the machines' names."""
    found: dict[str, list[Record]] = {}
    for record in sorted(records, key=lambda r: natural(machine_name(r.machine))):
        found.setdefault(record.machine.digest, []).append(record)
    return found


def page_data(records: Sequence[Record]) -> dict[str, Any]:
    """What the page of one machine shows, from its records."""
    machine = records[0].machine
    versions: dict[str, set[str]] = {}
    runs: dict[str, list[Record]] = {}
    for record in records:
        runs.setdefault(record.source.run, []).append(record)
        for name, version in versions_of(record).items():
            versions.setdefault(name, set()).add(version)
    return {
        "name": machine_name(machine),
        "slug": slug(machine.digest),
        "digest": machine.digest,
        "facts": [
            (key.replace("_", " "), plain(value))
            for key, value in machine.facts.items()
            if plain(value)
        ],
        "versions": [(n, ", ".join(sorted(v, key=natural))) for n, v in versions.items()],
        "runs": [_run(name, runs[name]) for name in sorted(runs)],
        "trials": len(records),
    }


def _run(name: str, records: Sequence[Record]) -> dict[str, Any]:
    statuses = Counter(record.status for record in records)
    return {
        "name": name,
        "started": _minute(min(record.source.started for record in records)),
        "protocols": ", ".join(sorted({r.trial.protocol.name for r in records})),
        "backends": ", ".join(sorted({r.trial.label for r in records})),
        "commit": ", ".join(sorted({r.source.short_commit for r in records})),
        "trials": len(records),
        "ok": statuses[Status.OK],
    }


def _minute(moment: str) -> str:
    """An ISO 8601 time without its seconds and zone, which is always UTC."""
    return moment[:16].replace("T", " ")
