"""Which plots some tables give; drawing them is never in the way of anything else."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from lstmbench.analysis.tables import Table
from lstmbench.report.sweeps import SIZES, Sweep, sweeps

#: Makes an SVG.
Draw = Callable[[], str]


def perplexity(tables: Sequence[Table]) -> Draw:
    def draw() -> str:
        from lstmbench.report.plots import perplexity_svg  # matplotlib is slow to import

        return perplexity_svg(tables)

    return draw


def roofline(tables: Sequence[Table]) -> Draw | None:
    """``None`` where no trial has a measured peak."""
    if all(row.peak_share is None for table in tables for row in table.rows):
        return None

    def draw() -> str:
        from lstmbench.report.plots import roofline_svg

        return roofline_svg(tables)

    return draw


def scaling(sweep: Sweep) -> Draw:
    def draw() -> str:
        from lstmbench.report.plots import scaling_svg

        return scaling_svg(sweep)

    return draw


def images(tables: Sequence[Table]) -> dict[str, Draw]:
    """Every plot that the records are enough for, by file name."""
    found = {"perplexity.svg": perplexity(tables)}
    if roof := roofline(tables):
        found["roofline.svg"] = roof
    for number, sweep in enumerate(sweeps(tables)):
        found[f"scaling-{SIZES[sweep.size]}{f'-{number}' * (number > 0)}.svg"] = scaling(sweep)
    return found


def draw(wanted: Mapping[str, Draw], problems: list[str]) -> dict[str, str]:
    """The drawings by name; a line is added to ``problems`` for each that cannot be made."""
    drawn = {}
    for name, make in wanted.items():
        try:
            drawn[name] = make()
        except Exception as error:  # whatever is wrong with a library, there are tables to show
            problems.append(f"{name} cannot be drawn: {type(error).__name__}: {error}")
    return drawn
