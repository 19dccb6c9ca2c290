"""``lstmbench check``: the conformance kit from the command line."""

from __future__ import annotations

import sys

import click

from lstmbench.errors import UserError
from lstmbench.plugin import manager
from lstmbench.plugin.hookspecs import hookimpl


@click.command(help="Check that BACKEND computes what the reference computes.")
@click.argument("backend")
@click.option("--device", default="cpu", show_default=True, help="Where to check.")
@click.option(
    "--mode", default="all", show_default=True, help="'default', 'all', or names, comma-separated."
)
@click.option("--dtype", default="float32", show_default=True)
def check(backend: str, device: str, mode: str, dtype: str) -> None:
    from lstmbench.report.grid import grid
    from lstmbench.runner.selection import choose_devices, choose_dtype, choose_modes
    from lstmbench.testing.runner import nothing_checked, run_checks

    spec = manager.find_backend(manager.load(), backend)
    device, *_ = choose_devices(device)
    choose_dtype(dtype)
    kind = device.partition(":")[0]
    if spec.modes.get(kind) and dtype not in spec.dtypes_on(kind):
        raise UserError(
            f"{backend} offers {', '.join(spec.dtypes_on(kind))} on {kind}, not {dtype}"
        )
    modes = spec.modes_on(kind, choose_modes(mode, [spec]))
    if not modes:
        offered = ", ".join(spec.modes.get(kind, ())) or "none"
        raise UserError(f"{backend} has no mode {mode!r} on {kind}; there: {offered}")
    good = True
    for name in modes:
        click.echo(f"{backend}:{name} on {device}, {dtype}")
        outcomes = list(run_checks(spec, device, name, dtype))
        click.echo(
            grid(("check", "outcome", "detail"), [(o.check, o.outcome, o.detail) for o in outcomes])
            + "\n"
        )
        for outcome in outcomes:
            if not outcome.acceptable and outcome.advice:
                click.echo(f"{outcome.check}: {outcome.advice}")
        if nothing_checked(outcomes):
            click.echo(f"Nothing was checked: {outcomes[-1].detail}")
            good = False
        good = good and all(outcome.acceptable for outcome in outcomes)
    sys.exit(0 if good else 1)


@hookimpl
def lstmbench_commands() -> list[click.Command]:
    return [check]
