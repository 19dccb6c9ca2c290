"""Which plots a set of tables gets; naming them is cheap, drawing them is not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lstmbench.publish import tables as tabling
from lstmbench.report.figures import Setting
from lstmbench.report.sweeps import SIZES, sweeps

#: Tables that get plots: those with most rows, for a drawing takes a while.
MOST_PLOTS = 40


@dataclass(frozen=True)
class Drawing:
    """``path`` is relative to the store; ``draw`` makes the SVG."""

    path: str
    title: str
    draw: Callable[[], str]


def drawings(tables: Sequence[Setting]) -> list[Drawing]:
    """Perplexity and roofline of each table, and the scaling of each sweep."""
    found = []
    for table in _chosen(tables):
        name = tabling.name(table)
        path = f"plots/{name}-perplexity.svg"
        found.append(Drawing(path, f"perplexity: {table.title}", _lazy("perplexity_svg", [table])))
        if any(row.peak_share is not None for row in table.rows):
            path = f"plots/{name}-roofline.svg"
            found.append(Drawing(path, f"roofline: {table.title}", _lazy("roofline_svg", [table])))
    for sweep in sweeps(tables)[:MOST_PLOTS]:
        first = next(iter(sweep.settings.values()))
        path = f"plots/{tabling.name(first)}-scaling-{SIZES[sweep.size]}.svg"
        found.append(Drawing(path, sweep.title, _lazy("scaling_svg", sweep)))
    return found


def _lazy(function: str, what: object) -> Callable[[], str]:
    def draw() -> str:
        from lstmbench.report import plots  # matplotlib is slow to import

        svg: str = getattr(plots, function)(what)
        return svg

    return draw


def _chosen(tables: Sequence[Setting]) -> list[Setting]:
    """The tables that get plots, in their order."""
    trained = [t for t in tables if any(row.first.epochs.nats for row in t.rows)]
    most = sorted(trained, key=lambda t: (-len(t.rows), tabling.name(t)))[:MOST_PLOTS]
    names = {tabling.name(table) for table in most}
    return [table for table in trained if tabling.name(table) in names]
