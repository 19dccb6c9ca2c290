"""Options that several commands have in common, and the types of their values."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from lstmbench.runner.options import Options

Command = Callable[..., Any]


def _truth(text: str) -> bool:
    """As click reads it. Raises ``ValueError``."""
    try:
        return bool(click.BOOL.convert(text, None, None))
    except click.BadParameter:
        raise ValueError(text) from None


#: The kinds of values that an option takes: how one is read, and what it is called.
KINDS: dict[type[Any], tuple[Callable[[str], Any], str, str]] = {
    int: (int, "int", "a whole number"),
    float: (float, "float", "a number"),
    str: (str.strip, "name", "a name"),
    bool: (_truth, "yes|no", "yes or no"),
}


class Several(click.ParamType[Any]):
    """One value, or several separated by commas; each must be of ``kind``."""

    def __init__(self, kind: type[Any]) -> None:
        self.read, name, self.expected = KINDS[kind]
        self.name = f"{name}[,...]"

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        if not isinstance(value, str):
            return value
        try:
            return [self.read(part) for part in value.split(",")]
        except ValueError:
            self.fail(f"{value!r} is not {self.expected}, nor several with commas", param, ctx)


class Share(click.ParamType[Any]):
    """``2%`` or ``0.02``."""

    name = "share"

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        text = str(value).strip()
        try:
            return float(text[:-1]) / 100 if text.endswith("%") else float(text)
        except ValueError:
            self.fail(f"{value!r} is no share such as 2% or 0.02", param, ctx)


OVERRIDES: tuple[tuple[str, type[Any]], ...] = (
    ("epochs", int),
    ("hidden_size", int),
    ("batch_size", int),
    ("steps", int),
    ("learning_rate", float),
    ("layers", int),
    ("embedding_size", int),
    ("dropout", float),
    ("optimizer", str),
    ("tied", bool),
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
