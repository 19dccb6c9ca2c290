"""``lstmbench verify``: for the reader of results that others published."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from lstmbench.plugin.hookspecs import hookimpl


@click.command(
    help="Check PATH: a published store, a bundle, a run or a store of runs.\n\n"
    "Every figure of every table is computed again from the raw series, and every "
    'record is checked against itself. Prints "verified", or each mismatch with its '
    "file and field; then the exit code is 1."
)
@click.argument("path", type=click.Path(path_type=Path))
@click.option(
    "--replay",
    is_flag=True,
    help="Also train the first epochs of records with shared initial parameters again, by the "
    "reference, and compare their losses: seconds to minutes for each distinct start.",
)
def verify(path: Path, replay: bool) -> None:
    from lstmbench.errors import UserError
    from lstmbench.messages import MAX_LINES, describe, one_line, tell
    from lstmbench.plugin import manager
    from lstmbench.plugin.discovery import DISABLE
    from lstmbench.plugin.guard import exits_raise
    from lstmbench.runner.journal import recover
    from lstmbench.verify.stores import verify as check

    tell(recover([path]))
    try:
        with exits_raise():
            report = check(path, train_again=replay)
    except SystemExit as error:  # otherwise a plugin would choose the exit code
        raise UserError(
            f"{path} is not verified: code of a plugin tried to end lstmbench ({describe(error)}); "
            f"leave it out with {DISABLE}"
        ) from error
    if (host := manager.loaded()) is not None:
        for problem in host.problems:
            report.note(problem)
    for line in report.mismatches[:MAX_LINES]:
        click.echo(one_line(line))
    if len(report.mismatches) > MAX_LINES:
        click.echo(f"and {len(report.mismatches) - MAX_LINES} more")
    for line in report.notes:
        click.echo(one_line(f"note: {line}"))
    made = f" and {report.files} files made from them" if report.files else ""
    if report.mismatches:
        count = len(report.mismatches)
        click.echo(f"not verified: {count} mismatch{'es' * (count > 1)}")
        sys.exit(1)
    again = f"; losses of {report.trained_again} records trained again" if replay else ""
    click.echo(f"verified: {report.records} records{made}{again}")


@hookimpl
def lstmbench_commands() -> list[click.Command]:
    return [verify]
