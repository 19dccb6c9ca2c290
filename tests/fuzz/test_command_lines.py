"""Any command line ends with a result or one line, and never with a traceback."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lstmbench.plugin import manager

FUZZ = settings.get_profile("fuzz")
#: What some option or argument takes.
TAKEN = (
    "all numpy numpy:eager torch eager default cpu cuda cuda:0 mps quick d2l heldout float32 "
    "bfloat16 shared native bundled time-machine markov plain github latex html csv json run "
    "run@numpy:eager none record-1.json backend=numpy status=ok threads=2 2% 0.97 A=B"
)
WORDS = st.sampled_from(TAKEN.split())
NUMBERS = st.one_of(
    st.integers().map(str),
    st.floats().map(str),
    st.lists(st.integers(-1, 2**70).map(str), max_size=3).map(",".join),
    st.sampled_from(["1e999", "0x10", "1_000", "٣", "-0", "nan", "inf", "1,", ",", "%"]),
)
#: Nothing that leads out of the current folder: some commands write.
TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0/"), max_size=12) | st.builds(
    lambda text, times: text * times,
    st.text(st.characters(codec="utf-8", exclude_characters="\0/"), min_size=1, max_size=3),
    st.integers(80, 400),
)
#: What the system hands over where bytes are no UTF-8.
SURROGATES = st.binary(min_size=1, max_size=4).map(lambda b: b.decode("utf-8", "surrogateescape"))
VALUES = st.one_of(WORDS, NUMBERS, TEXTS, SURROGATES).filter(
    lambda text: ".." not in text and "/" not in text and "\0" not in text and text != "~"
)


def commands() -> dict[str, click.Command]:
    return manager.load().commands()


@st.composite
def lines(draw: st.DrawFn) -> list[str]:
    """A command with some of its options, most of them with a value of the right kind."""
    known = commands()
    name: str = draw(st.sampled_from(sorted(known)) | VALUES)
    words = [name]
    parameters = known[name].params if name in known else []
    options = [option for p in parameters for option in p.opts if option.startswith("-")]
    flags = {option for p in parameters for option in p.opts if getattr(p, "is_flag", False)}
    for _ in range(draw(st.integers(0, 5))):
        if bool(options) and draw(st.booleans()):
            option = draw(st.sampled_from(options))
            value = draw(VALUES)
            if option in flags and draw(st.booleans()):
                words.append(option)
            elif draw(st.booleans()):
                words.append(f"{option}={value}")
            else:
                words += [option, value]
        else:
            words.append(draw(VALUES))
    return words


@FUZZ
@given(line=lines())
@example(line=["report", "a" * 300])
@example(line=["new", "a" * 300])
@example(line=["publish", "run", "--bundle", ""])
@example(line=["publish", "run", "--bundle", "."])
@example(line=["publish", "run", "--into", ""])
@example(line=["publish", "run", "--summary", ""])
@example(line=["publish", "run", "--to", ""])
@example(line=["verify", "", "--identity", "me"])
@example(line=["run", "--env", "A=\udcff"])
@example(line=["run", "--store", "a\udcffb", "--backends", "numpy"])
@example(line=["run", "--epochs", ",".join(map(str, range(1, 200))), "--hidden-size", "1,2"])
def test_any_command_line_ends_well(
    invoke: Callable[..., Any], run_folder: Path, line: list[str]
) -> None:
    invoke(*line).check()
