"""Options that several commands have in common, and the types of their values."""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any, ClassVar

import click

from lstmbench.errors import UserError
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


class Size(click.ParamType[Any]):
    """Bytes: a number, or one with a unit such as ``8GiB`` or ``500MB``."""

    name = "size"
    units: ClassVar = {
        "": 1,
        **{f"{prefix}B": 1000**power for power, prefix in enumerate("KMGT", start=1)},
        **{f"{prefix}iB": 1024**power for power, prefix in enumerate("KMGT", start=1)},
    }

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        found = re.fullmatch(r"\s*(\d{1,15}(?:\.\d{1,6})?)\s*([KMGT]i?B)?\s*", str(value))
        size = int(Decimal(found[1]) * self.units[found[2] or ""]) if found else 0
        if not size:
            self.fail(f"{value!r} is no size such as 8GiB or 500MB", param, ctx)
        return size


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
    ("input_size", int),
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


def _no_longer(context: click.Context, option: click.Parameter, value: str | None) -> None:
    """``--corpus-file`` named the file of a named text."""
    if value is not None:
        raise UserError(f"--corpus-file is gone: say --corpus {value}")


_CORPUS = (
    click.option(
        "--corpus",
        metavar="NAME|FILE|FOLDER",
        help="A text by name, or your own: a file, or a folder with train.txt, valid.txt and "
        "test.txt [default: time-machine, else bundled].",
    ),
    click.option(
        "--tokens",
        metavar="char|word|byte",
        help="What the text is split into [default: the corpus's, for your own char].",
    ),
    click.option(
        "--normalise",
        metavar="letters|none|exact|...",
        help="What is done to the text before: the course's letters and blanks; line ends and "
        "accents are written alike; nothing; or what a plugin brings [default: the corpus's, for "
        "your own none].",
    ),
    click.option(
        "--vocabulary-size",
        type=int,
        metavar="SYMBOLS",
        help="The most frequent symbols; the others are <unk> [default: all].",
    ),
    click.option(
        "--min-count",
        type=int,
        metavar="COUNT",
        help="Symbols that occur less often are <unk> [default: 1].",
    ),
    click.option("--corpus-file", hidden=True, expose_value=False, callback=_no_longer),
)


def corpus_options(command: Command) -> Command:
    """Which text is trained on."""
    for option in reversed(_CORPUS):
        command = option(command)
    return command


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
