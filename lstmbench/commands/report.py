"""``lstmbench report``: tables again, from records alone."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lstmbench.commands.options import published_option, relative_option
from lstmbench.errors import UserError
from lstmbench.messages import tell
from lstmbench.plugin.hookspecs import hookimpl

if TYPE_CHECKING:
    from lstmbench.records.store import Loaded


def load_and_tell(paths: Sequence[Path]) -> Loaded:
    """All records in ``paths``; each damaged file is named on standard error."""
    from lstmbench.records.store import load
    from lstmbench.runner.journal import recover

    tell(recover(paths))
    loaded = load(paths)
    tell(loaded.damaged)
    return loaded


@click.command(
    help="Print the tables of RUNS (folders of runs, stores, bundles) from their records.\n\n"
    "Damaged records are named and left out; the exit code is 1 then."
)
@relative_option
@published_option
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--format",
    "form",
    default="plain",
    show_default=True,
    metavar="NAME",
    help="How the tables are written: github, plain, latex, html, csv, json, or a plugin's.",
)
def report(runs: tuple[Path, ...], form: str, relative_to: str | None, published: bool) -> None:
    from lstmbench.analysis.tables import tables_from
    from lstmbench.report import formats
    from lstmbench.report.styles import STYLES
    from lstmbench.report.text import render

    chosen = formats.find(form)
    if published and form not in STYLES:
        raise UserError(f"--published: choose one of the formats {', '.join(STYLES)}")
    loaded = load_and_tell(runs)
    tables = tables_from(loaded.records, relative_to)
    click.echo(render(tables, form, published) if published else formats.render(chosen, tables))
    sys.exit(1 if loaded.damaged else 0)


@hookimpl
def lstmbench_commands() -> list[click.Command]:
    return [report]
