"""``lstmbench stacks``: the environments that ``run --stack`` has made, and how to remove them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from lstmbench.plugin.hookspecs import hookimpl

if TYPE_CHECKING:
    from lstmbench.stacks.cache import Kept

MIB = 2**20
DAY = 86_400.0


@click.command(help="List the environments that 'run --stack' has made; --prune removes them.")
@click.option("--prune", is_flag=True, help="Remove all that no run is using.")
@click.option(
    "--unused-for",
    type=click.FloatRange(min=0),
    metavar="DAYS",
    help="With --prune: only what was not used for so long.",
)
def stacks(prune: bool, unused_for: float | None) -> None:
    from lstmbench.errors import UserError
    from lstmbench.messages import one_line
    from lstmbench.report.grid import grid
    from lstmbench.stacks import cache

    if unused_for is not None and not prune:
        raise UserError("--unused-for says what --prune removes: give both")
    found = cache.prune((unused_for or 0.0) * DAY) if prune else cache.kept()
    if found:
        rows = [[one_line(cell) for cell in cells(one)] for one in found]
        click.echo(grid(("asked for", "MiB", "last use", "state", "digest"), rows))
    total = sum(one.size for one in found) / MIB
    count = f"{len(found)} stack{'s' if len(found) != 1 else ''}"
    click.echo(f"{count}, {total:,.0f} MiB, {'removed from' if prune else 'in'} {cache.root()}")


def cells(one: Kept) -> tuple[str, ...]:
    """A row of the table."""
    from datetime import datetime

    used = datetime.fromtimestamp(one.last_use).isoformat(" ", "minutes")
    asked = "; ".join(one.asked) or "nothing any more"
    state = "in use" if one.used_now else ""
    return asked, f"{one.size / MIB:,.0f}", used, state, one.folder.name[:12]


@hookimpl
def lstmbench_commands() -> list[click.Command]:
    return [stacks]
