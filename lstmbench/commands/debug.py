"""``lstmbench debug``: one window, quantity by quantity, until the first that differs."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from lstmbench.errors import UserError
from lstmbench.messages import one_line
from lstmbench.plugin.hookspecs import hookimpl

if TYPE_CHECKING:
    from lstmbench.testing.messages import Step

COLUMNS = ("quantity", "expected", "got", "error", "scale", "cosine")


@click.command(
    help="Hold one window of BACKEND against the reference, until the first quantity that "
    "differs.\n\n"
    "Compared are the parameters, the loss, each tensor's gradient (its change by the "
    'learning rate), clipping, and the state that is carried to the next window. "scale" and '
    '"cosine" say how a tensor lies to the expected one: got = 2 x expected has scale 2 and '
    "cosine 1."
)
@click.argument("backend", metavar="BACKEND[:MODE]")
@click.option("--device", default="cpu", show_default=True, help="Where to compute.")
@click.option("--dtype", default="float32", show_default=True)
@click.option("--hidden-size", type=click.IntRange(1), default=16, show_default=True)
@click.option("--layers", type=click.IntRange(1), default=1, show_default=True)
@click.option("--batch-size", type=click.IntRange(1), default=4, show_default=True)
@click.option("--steps", type=click.IntRange(1), default=6, show_default=True)
@click.option(
    "--learning-rate",
    type=click.FloatRange(0, min_open=True),
    default=1.0,
    show_default=True,
    help="Moved by powers of two to where a change can be measured.",
)
@click.option(
    "--timeout", type=float, default=300.0, show_default=True, help="Seconds for all of it."
)
@click.option("--env", multiple=True, metavar="NAME=VALUE", help="Set for the backend's process.")
@click.option("-s", "--show-output", is_flag=True, help="Show what the backend prints.")
def debug(
    backend: str,
    device: str,
    dtype: str,
    timeout: float,
    env: tuple[str, ...],
    show_output: bool,
    **sizes: Any,
) -> None:
    from lstmbench.commands.check import find_spec, offered_modes, printable
    from lstmbench.runner import selection as select
    from lstmbench.runner.channel import WorkerLost
    from lstmbench.testing.messages import Examine
    from lstmbench.testing.runner import Settings, child_of

    name, _, mode = backend.partition(":")
    spec = find_spec(name)
    mode = offered_modes(spec, device, mode or "default", dtype)[0]
    seconds = select.positive_seconds(timeout, "--timeout")
    settings = Settings(seconds=seconds, environment=select.parse_environment(env))
    click.echo(f"{name}:{mode} on {device}, {dtype}")
    with child_of(spec, device, mode, dtype, settings) as child:
        try:
            child.load()
            answer = child.ask(Examine(**sizes, stack_after=child.stack_after))
        except WorkerLost as lost:
            output = child.output()
            for line in output.splitlines()[-20:]:
                click.echo(f"    | {printable(line)}")
            raise UserError(f"{name}:{mode} gave no answer: {lost.reason}: {lost}") from None
        output = child.output()
    if show_output:
        for line in output.splitlines():
            click.echo(f"    | {printable(line)}")
    good = True
    for step in answer.steps:
        good = _show(step) and good
    if failure := answer.failure:
        click.echo(f"\n{one_line(failure.message)}")
        for line in failure.lines:
            click.echo(f"    {printable(line)}")
    elif good:
        click.echo(
            "\nNothing differs at this size. Where a trial fails, give its own: --hidden-size, "
            "--layers, --batch-size, --steps, --learning-rate."
        )
    sys.exit(0 if good and not failure else 1)


def _show(step: Step) -> bool:
    """A step's table, and what its differences say; whether there are none."""
    from lstmbench.report.grid import grid

    differing = [each for each in step.quantities if each.differs]
    click.echo(f"\n{step.title}: {'differs' if differing else 'as expected'}")
    rows = [
        [*(one_line(getattr(each, column)) for column in COLUMNS), "<--" if each.differs else ""]
        for each in step.quantities
    ]
    align = ("left", *["right"] * (len(COLUMNS) - 1), "left")
    click.echo(grid((*COLUMNS, ""), rows, align=align))
    for each in differing:
        click.echo(one_line(each.explanation))
    for line in step.lines:
        click.echo(one_line(line))
    return not differing


@hookimpl
def lstmbench_commands() -> list[click.Command]:
    return [debug]
