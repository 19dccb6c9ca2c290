"""``lstmbench check``: the conformance kit from the command line."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lstmbench.errors import UserError
from lstmbench.messages import one_line
from lstmbench.plugin import manager
from lstmbench.plugin.hookspecs import hookimpl

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lstmbench.backend import BackendSpec
    from lstmbench.testing.outcome import Outcome


@click.command(help="Check that BACKEND computes what the reference computes.")
@click.argument("backend")
@click.option("--device", default="cpu", show_default=True, help="Where to check.")
@click.option(
    "--mode", default="all", show_default=True, help="'default', 'all', or names, comma-separated."
)
@click.option("--dtype", default="float32", show_default=True)
@click.option("--only", multiple=True, metavar="CHECK", help="Run this check alone; repeatable.")
@click.option(
    "--timeout",
    type=float,
    default=300.0,
    show_default=True,
    help="Seconds for each check, compilation included.",
)
@click.option("--env", multiple=True, metavar="NAME=VALUE", help="Set for the backend's process.")
@click.option("-s", "--show-output", is_flag=True, help="Show what the backend prints.")
@click.option(
    "--log", type=click.Path(path_type=Path, dir_okay=False), help="Keep what it prints here."
)
@click.option("-v", "--verbose", is_flag=True, help="Say what each check asserts.")
def check(
    backend: str,
    device: str,
    mode: str,
    dtype: str,
    only: tuple[str, ...],
    timeout: float,
    env: tuple[str, ...],
    show_output: bool,
    log: Path | None,
    verbose: bool,
) -> None:
    from lstmbench.runner import selection as select
    from lstmbench.testing.outcome import nothing_checked
    from lstmbench.testing.runner import NAMES, Settings, run_checks

    backend, _, own_mode = backend.partition(":")
    spec = find_spec(backend)
    modes = offered_modes(spec, device, own_mode or mode, dtype)
    for name in only:
        if name not in NAMES:
            raise manager.unknown("check", name, NAMES)
    settings = Settings(
        only, select.positive_seconds(timeout, "--timeout"), select.parse_environment(env), log
    )
    good = True
    for name in modes:
        click.echo(f"{backend}:{name} on {device}, {dtype}")
        outcomes: list[Outcome] = []
        running = run_checks(spec, device, name, dtype, settings)
        for asked in settings.names:
            click.echo(f"  {asked:<26}", nl=False)  # so that one sees what takes its time
            outcomes.append(next(running))
            _show(outcomes[-1], show_output, verbose)
        counts = Counter(outcome.outcome for outcome in outcomes)
        click.echo(f"  {', '.join(f'{count} {what}' for what, count in counts.items())}")
        _explain(outcomes)
        if nothing_checked(outcomes):
            click.echo(f"Nothing was checked: {outcomes[-1].detail}")
            good = False
        good = good and all(outcome.acceptable for outcome in outcomes)
        click.echo()
    if log is not None:
        click.echo(f"What the backend printed: {log}")
    sys.exit(0 if good else 1)


def find_spec(backend: str) -> BackendSpec:
    """The spec of that name; otherwise a :class:`UserError` with the ways to one."""
    host = manager.load()
    try:
        return manager.find_backend(host, backend)
    except UserError as error:
        if manager.absence(host, backend):
            raise
        raise UserError(
            f"{error} ('lstmbench list' shows what is installed, 'lstmbench new NAME' starts a "
            "plugin)"
        ) from None


def offered_modes(spec: BackendSpec, device: str, mode: str, dtype: str) -> tuple[str, ...]:
    """The modes meant; :class:`UserError` if the backend has none such on the device."""
    from lstmbench.runner import selection as select

    device, *_ = select.choose_devices(device)
    select.choose_dtype(dtype)
    kind = device.partition(":")[0]
    if spec.modes.get(kind) and dtype not in spec.dtypes_on(kind):
        raise UserError(
            f"{spec.name} offers {', '.join(spec.dtypes_on(kind))} on {kind}, not {dtype}"
        )
    modes = spec.modes_on(kind, select.choose_modes(mode, [spec]))
    if not modes:
        offered = ", ".join(spec.modes.get(kind, ())) or "none"
        raise UserError(f"{spec.name} has no mode {mode!r} on {kind}; there: {offered}")
    return modes


def printable(line: str) -> str:
    """A line of the backend's own, indented as it was, without what a terminal would execute."""
    return "".join(c for c in line.expandtabs() if c.isprintable())


def _show(outcome: Outcome, show_output: bool, verbose: bool) -> None:
    """The rest of a check's line, and what belongs to it."""
    from lstmbench.testing.checks import CHECKS

    seconds = "" if outcome.seconds is None else f"{outcome.seconds:.1f} s"
    click.echo(f" {outcome.outcome:<16} {seconds:>8}  {one_line(outcome.detail)}".rstrip())
    if verbose and outcome.check in CHECKS:
        click.echo(f"      {CHECKS[outcome.check].summary}")
    if show_output:
        for line in outcome.output.splitlines():
            click.echo(f"    | {printable(line)}")


def _explain(outcomes: Iterable[Outcome]) -> None:
    """What to do about each check that did not end well, and what explains it."""
    for outcome in outcomes:
        if outcome.acceptable or not outcome.advice:
            continue
        click.echo(f"\n{outcome.check}: {one_line(outcome.advice)}")
        for line in outcome.lines:
            click.echo(f"    {printable(line)}")


@hookimpl
def lstmbench_commands() -> list[click.Command]:
    return [check]
