"""``lstmbench publish``: tables where people read them."""

from __future__ import annotations

from pathlib import Path

import click

from lstmbench.commands.report import relative_option
from lstmbench.hookspecs import hookimpl

BEGIN, END = "<!-- lstmbench:begin -->", "<!-- lstmbench:end -->"


@click.command()
@relative_option
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--into",
    required=True,
    type=click.Path(path_type=Path),
    help=f"A Markdown file: what stands between {BEGIN} and {END} is replaced.",
)
def publish(runs: tuple[Path, ...], into: Path, relative_to: str | None) -> None:
    """Write the tables of RUNS between the markers of a Markdown file."""
    from lstmbench.errors import UserError
    from lstmbench.report import text
    from lstmbench.report.figures import settings
    from lstmbench.store import open_runs, write_atomically

    records = [record for run in open_runs(runs) for record in run.records()]
    try:
        content = into.read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(f"{into}: {error.strerror or error}") from error
    before, begin, rest = content.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise UserError(f"{into} has no lines {BEGIN} and {END} to write between")
    table = text.render(settings(records, relative_to), "github")
    write_atomically(into, f"{before}{BEGIN}\n{table}\n{END}{after}")


@hookimpl
def lstmbench_commands() -> list[click.Command]:
    return [publish]
