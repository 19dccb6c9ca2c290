"""Which plots a set of tables gives, under names that only records decide."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from lstmbench.analysis.tables import Table
from lstmbench.publish import tables as tabling
from lstmbench.records import canonical
from lstmbench.report import images
from lstmbench.report.sweeps import SIZES, Sweep, sweeps

#: Tables that get plots, those with most rows, for a drawing takes a while; fewer in long stores.
MAX_PLOTS = 40
MAX_PLOTS_OF_LONG = 8


@dataclass(frozen=True)
class Plot:
    """An SVG at ``path`` in a store; ``draw`` makes it."""

    kind: str
    path: str
    title: str
    draw: images.Draw


def plots(tables: Sequence[Table]) -> list[Plot]:
    """The plots that the records are enough for, table by table, then scaling."""
    limit = MAX_PLOTS_OF_LONG if tabling.long(tables) else MAX_PLOTS
    trained = [t for t in tables if any(row.first.epochs.nats for row in t.rows)]
    most = sorted(trained, key=lambda t: (-len(t.rows), tabling.name(t)))[:limit]
    chosen = {id(table) for table in most}
    found = [p for table in trained if id(table) in chosen for p in _of_table(table)]
    return found + [_of_sweep(sweep) for sweep in sweeps(tables)[:limit]]


def _of_table(table: Table) -> list[Plot]:
    path = f"plots/{tabling.name(table)}"
    title = f"Perplexity against epoch: {table.title}"
    found = [Plot("perplexity", f"{path}-perplexity.svg", title, images.perplexity([table]))]
    if roof := images.roofline([table]):
        found.append(Plot("roofline", f"{path}-roofline.svg", f"Roofline: {table.title}", roof))
    return found


def sweep_name(sweep: Sweep) -> str:
    """A file name for a sweep, whichever of its sizes are there."""
    facts = next(iter(sweep.settings.values())).facts
    rest = {**facts, "protocol": {**facts["protocol"], sweep.size: None}, sweep.size: None}
    unique = canonical.digest(json.dumps(rest, sort_keys=True).encode())[:8]
    return f"scaling-{SIZES[sweep.size]}-{unique}"


def _of_sweep(sweep: Sweep) -> Plot:
    path = f"plots/{sweep_name(sweep)}.svg"
    return Plot("scaling", path, sweep.title, images.scaling(sweep))
