"""Options that several commands have in common, and the types of their values."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import click

from lstmbench.runner.options import Options

Command = Callable[..., Any]


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
    """``2%`` or ``0.02``, the same number; ``example`` is what an error proposes."""

    name = "share"

    def __init__(self, example: str = "2% or 0.02") -> None:
        self.example = example

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        text = str(value).strip()
        try:
            # decimal: 3.3 / 100 is another float than 0.033
            return float(Decimal(text[:-1]) / 100 if text.endswith("%") else Decimal(text))
        except (ArithmeticError, ValueError):
            self.fail(f"{value!r} is no share such as {self.example}", param, ctx)


OVERRIDES: tuple[tuple[str, type[int] | type[float]], ...] = (
    ("epochs", int),
    ("hidden_size", int),
    ("batch_size", int),
    ("steps", int),
    ("learning_rate", float),
    ("layers", int),
)


def override_options(command: Command) -> Command:
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


def corpus_options(command: Command) -> Command:
    """Which text is trained on."""
    file = click.option(
        "--corpus-file", type=click.Path(path_type=Path), help="Where the corpus's file is."
    )
    name = click.option("--corpus", help="A text by name [default: time-machine, else bundled].")
    return name(file(command))


def store_option(command: Command) -> Command:
    """Where a run's folder is made."""
    return click.option(
        "--store",
        type=click.Path(path_type=Path),
        default=Options.store,
        show_default=True,
        help="The folder in which the run gets a folder.",
    )(command)


published_option = click.option(
    "--published",
    is_flag=True,
    help="Show what others published for the same protocol and corpus, too.",
)
relative_option = click.option(
    "--relative-to",
    metavar="BACKEND:MODE",
    help="Add a column: speed relative to this one, or with :MODE to the backend's own mode.",
)
