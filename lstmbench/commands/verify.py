"""``lstmbench verify``: for the reader of somebody's results."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from lstmbench.plugin.hookspecs import hookimpl


@click.command()
@click.argument("path", type=click.Path(path_type=Path))
def verify(path: Path) -> None:
    """Check PATH: a published store, a bundle, a run or a store of runs.

    Every figure of every table is computed again from the raw series, and every record is checked
    against itself. Prints "verified", or each mismatch with its file and field; then the exit code
    is 1.
    """
    from lstmbench.messages import one_line, tell
    from lstmbench.runner.journal import recover
    from lstmbench.verify.stores import verify as check

    tell(recover([path]))
    report = check(path)
    for line in report.mismatches:
        click.echo(one_line(line))
    for line in report.notes:
        click.echo(one_line(f"note: {line}"))
    made = f" and {report.files} files made from them" if report.files else ""
    if report.mismatches:
        count = len(report.mismatches)
        click.echo(f"not verified: {count} mismatch{'es' * (count > 1)}")
        sys.exit(1)
    click.echo(f"verified: {report.records} records{made}")


@hookimpl
def lstmbench_commands() -> list[click.Command]:
    return [verify]
