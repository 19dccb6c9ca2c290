"""``lstmbench verify``: for the reader of results that others published."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lstmbench.plugin.hookspecs import hookimpl

if TYPE_CHECKING:
    from lstmbench.verify.findings import Report


#: The exit code of what is right as far as it can be made again.
EXCEPT = 3


@click.command(
    help="Check PATH: a published store, a bundle, a run or a store of runs.\n\n"
    "Every figure of every table is computed again from the raw series, and every record is "
    "checked against itself and against the others. The last line says what that gives: "
    '"verified", exit code 0; "verified except ...", exit code 3, where some files cannot be made '
    'again here; "not verified", exit code 1, after each mismatch with its file and field. Before '
    "it stands what is not vouched for."
)
@click.argument("path", type=click.Path(path_type=Path))
@click.option(
    "--replay",
    is_flag=True,
    help="Also train records with shared initial parameters again, by the reference, and compare "
    "their losses: up to the last epoch that was audited, or some minutes for each distinct start.",
)
@click.option(
    "--replay-epochs",
    type=click.IntRange(min=1),
    metavar="N",
    help="With --replay: at most N epochs of each distinct start.",
)
@click.option(
    "--identity",
    metavar="WHO",
    help="Of a bundle: it must be signed by WHO, an e-mail address or a workflow's address.",
)
@click.option("--issuer", metavar="URL", help="With --identity: who must have vouched for WHO.")
def verify(
    path: Path,
    replay: bool,
    replay_epochs: int | None,
    identity: str | None,
    issuer: str | None,
) -> None:
    from lstmbench.errors import UserError
    from lstmbench.messages import MAX_LINES, describe, one_line, tell
    from lstmbench.plugin import manager
    from lstmbench.plugin.discovery import DISABLE
    from lstmbench.plugin.guard import exits_raise
    from lstmbench.runner.journal import recover
    from lstmbench.verify.replay import Paths
    from lstmbench.verify.stores import verify as check

    if replay_epochs is not None and not replay:
        raise UserError("--replay-epochs limits --replay: give both")
    if issuer and not identity:
        raise UserError("--issuer is of an --identity: give both")
    tell(recover([path]))
    refused = _refused(path, identity, issuer) if identity else None
    paths = Paths(replay_epochs, lambda line: tell([line])) if replay else None
    try:
        with exits_raise():
            report = check(path, paths)
    except SystemExit as error:  # otherwise a plugin would choose the exit code
        raise UserError(
            f"{path} is not verified: code of a plugin tried to end lstmbench ({describe(error)}); "
            f"leave it out with {DISABLE}"
        ) from error
    if refused:
        report.wrong(str(path), f"is not signed by {identity} as it is: {refused}")
    elif identity:
        report.note(f"signed by {identity}, who vouches for it")
    if (host := manager.loaded()) is not None:
        for problem in host.problems:
            report.note(problem)
    lines = [
        *report.mismatches,
        *(f"cannot be made again: {file}: {why}" for file, why in report.unmade.items()),
        *(f"note: {line}" for line in report.notes),
        *(f"not vouched for: {line}" for line in report.unvouched),
    ]
    for line in lines[:MAX_LINES]:
        click.echo(one_line(line))
    if len(lines) > MAX_LINES:
        click.echo(f"and {len(lines) - MAX_LINES} more")
    click.echo(_verdict(report, replay))
    sys.exit(1 if report.mismatches else EXCEPT if report.unmade else 0)


def _refused(path: Path, identity: str, issuer: str | None) -> str | None:
    """Why a signature is refused; ``None`` for a good one."""
    from lstmbench.errors import UserError
    from lstmbench.publish import signing
    from lstmbench.records.files import exists, is_file

    if not exists(path):
        return None  # as verifying says, in its own words
    if not is_file(path):
        raise UserError(f"--identity checks a bundle's signature, and {path} is a folder")
    try:
        signing.check(path, identity, issuer, signing.service())
    except signing.Refused as refused:
        return str(refused)
    return None


def _verdict(report: Report, replay: bool) -> str:
    if report.mismatches:
        count = len(report.mismatches)
        return f"not verified: {count} mismatch{'es' * (count > 1)}"
    word = "verified"
    if count := len(report.unmade):
        them = "files that cannot" if count > 1 else "file that cannot"
        word = f"verified except {count} {them} be made again here"
    made = f" and {report.files} files made from them" if report.files else ""
    parts = [f"{report.records} records{made}"]
    if replay:
        parts.append(f"losses of {report.trained_again} records trained again")
    if count := report.unaudited.total():
        parts.append(f"{count} records not audited: made before audits")
    return f"{word}: {'; '.join(parts)}"


@hookimpl
def lstmbench_commands() -> list[click.Command]:
    return [verify]
