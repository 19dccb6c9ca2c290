"""``lstmbench publish``: tables where people read them."""

from __future__ import annotations

from pathlib import Path

import click

from lstmbench.commands.report import relative_option
from lstmbench.hookspecs import hookimpl


def markers(block: str) -> tuple[str, str]:
    """The lines between which a block of tables stands."""
    name = f" {block}" if block else ""
    return f"<!-- lstmbench:begin{name} -->", f"<!-- lstmbench:end{name} -->"


@click.command()
@relative_option
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--into",
    required=True,
    type=click.Path(path_type=Path),
    help="A Markdown file: what stands between {} and {} is replaced.".format(*markers("")),
)
@click.option("--block", default="", help="Of several blocks the one whose markers end in this.")
def publish(runs: tuple[Path, ...], into: Path, relative_to: str | None, block: str) -> None:
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
    opening, closing = markers(block)
    before, begin, rest = content.partition(opening)
    _, end, after = rest.partition(closing)
    if not begin or not end:
        raise UserError(f"{into} has no lines {opening} and {closing} to write between")
    table = text.render(settings(records, relative_to), "github")
    write_atomically(into, f"{before}{opening}\n{table}\n{closing}{after}")


@hookimpl
def lstmbench_commands() -> list[click.Command]:
    return [publish]
