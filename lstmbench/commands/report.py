"""``lstmbench report``: tables again, from records alone."""

from __future__ import annotations

from pathlib import Path

import click

from lstmbench.hookspecs import hookimpl

FORMATS = ("github", "plain", "latex", "html", "csv", "json")


relative_option = click.option(
    "--relative-to",
    metavar="BACKEND:MODE",
    help="Add a column: speed relative to this one, or with :MODE to the backend's own mode.",
)


@click.command()
@relative_option
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--format",
    "form",
    type=click.Choice(FORMATS),
    default="plain",
    show_default=True,
    help="How the tables are written.",
)
def report(runs: tuple[Path, ...], form: str, relative_to: str | None) -> None:
    """Print the tables of RUNS (folders of runs, or of stores) from their records."""
    from lstmbench.report import text
    from lstmbench.report.figures import settings
    from lstmbench.store import open_runs

    records = [record for run in open_runs(runs) for record in run.records()]
    click.echo(text.render(settings(records, relative_to), form))


@hookimpl
def lstmbench_commands() -> list[click.Command]:
    return [report]
