"""``lstmbench run``: train the selected backends on the selected devices and print the table."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from lstmbench.plugin.hookspecs import hookimpl


class Several(click.ParamType[Any]):
    """One number, or several separated by commas; each must be of ``kind``."""

    def __init__(self, kind: type[int] | type[float]) -> None:
        self.kind = kind
        self.name = f"{kind.__name__}[,...]"

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        if not isinstance(value, str):
            return value
        try:
            return [self.kind(part) for part in value.split(",")]
        except ValueError:
            number = "a whole number" if self.kind is int else "a number"
            self.fail(f"{value!r} is not {number}, nor several with commas", param, ctx)


class Share(click.ParamType[Any]):
    """``2%`` or ``0.02``."""

    name = "share"

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        text = str(value).strip()
        try:
            return float(text[:-1]) / 100 if text.endswith("%") else float(text)
        except ValueError:
            self.fail(f"{value!r} is no share such as 2% or 0.02", param, ctx)


OVERRIDES: tuple[tuple[str, type[int] | type[float]], ...] = (
    ("epochs", int),
    ("hidden_size", int),
    ("batch_size", int),
    ("steps", int),
    ("learning_rate", float),
    ("layers", int),
)


def override_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """One option for each hyper-parameter of the protocol."""
    for name, kind in reversed(OVERRIDES):
        option = click.option(
            f"--{name.replace('_', '-')}",
            name,
            type=Several(kind),
            help="Override the protocol's; 'run' makes a sweep of several.",
        )
        command = option(command)
    return command


@click.command(help="Train each backend on each device and tabulate perplexity and tokens/s.")
@click.option(
    "--backends",
    default="all",
    show_default=True,
    help="'all', or NAME or NAME:MODE, comma-separated.",
)
@click.option(
    "--modes",
    default="default",
    show_default=True,
    help="'default', 'all', or names, comma-separated.",
)
@click.option("--devices", default="all", show_default=True, help="'all', or cpu, cuda:0, mps.")
@click.option("--protocol", default="d2l", show_default=True, help="Named hyper-parameters.")
@override_options
@click.option("--dtype", default="float32", show_default=True, help="Of parameters and products.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option(
    "--init",
    type=click.Choice(["shared", "native"]),
    default="shared",
    show_default=True,
    help="Initial parameters: the same for all, or each framework's own.",
)
@click.option(
    "--repeats",
    type=click.IntRange(1, 1000),
    help="Fresh processes for each trial: they give intervals and ranks [default: the protocol's].",
)
@click.option(
    "--precision",
    type=Share(),
    help="Repeat until every ratio is known within this, such as 2% [default: the protocol's].",
)
@click.option(
    "--budget",
    type=float,
    metavar="SECONDS",
    help="Stop repeating after this time, whatever is known [default: the protocol's].",
)
@click.option("--yes", is_flag=True, help="Run a sweep of any size.")
@click.option("--corpus", help="A text by name [default: time-machine, else bundled].")
@click.option("--corpus-file", type=click.Path(path_type=Path), help="Where the corpus's file is.")
@click.option(
    "--threads",
    type=Several(int),
    help="For every framework [default: the physical cores, within a container's limit]; "
    "several make a sweep.",
)
@click.option("--env", multiple=True, metavar="NAME=VALUE", help="Set for the workers; recorded.")
@click.option("--no-interleave", is_flag=True, help="One trial after the other, no turns.")
@click.option(
    "--timeout",
    type=float,
    default=300.0,
    show_default=True,
    help="Seconds for any answer of a worker.",
)
@click.option(
    "--prepare-timeout",
    type=float,
    default=900.0,
    show_default=True,
    help="Seconds for import, and for compilation with parity.",
)
@click.option(
    "--store",
    type=click.Path(path_type=Path),
    default=Path("lstmbench-runs"),
    show_default=True,
    help="The folder in which the run gets a folder.",
)
def run(**options: Any) -> None:
    from lstmbench.runner.run import Options, execute

    sys.exit(execute(Options(**options)))


@hookimpl
def lstmbench_commands() -> list[click.Command]:
    return [run]
