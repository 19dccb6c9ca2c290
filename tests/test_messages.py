"""What is printed, and what may stand in a record."""

from __future__ import annotations

import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lstmbench.messages import _as_written, one_line, storable, tell

#: Lone surrogates and control characters among them.
ANY_TEXT = st.text(st.characters(exclude_categories=()))


@given(ANY_TEXT)
def test_what_is_storable_can_be_written_and_shown(text: str) -> None:
    stored = storable(text)
    assert json.loads(json.dumps(stored, ensure_ascii=False).encode()) == stored
    assert not any(unicodedata.category(c) in ("Cc", "Cs") and c not in "\n\t" for c in stored)
    assert storable(stored) == stored


@given(st.text(st.characters(exclude_categories=("Cc", "Cs"))))
def test_ordinary_text_is_stored_as_it_is(text: str) -> None:
    assert storable(text) == text


def test_the_rest_is_escaped() -> None:
    assert storable("caf\udce9 \x1b[2J \x00\tx\n") == "caf\\udce9 \\x1b[2J \\x00\tx\n"


@given(ANY_TEXT)
def test_a_line_is_one_line_that_has_no_terminal_escapes(text: str) -> None:
    assert one_line(text).isprintable()
    assert _as_written(text).isprintable()


def test_blanks_of_a_text_that_is_quoted_stay(capsys: pytest.CaptureFixture[str]) -> None:
    tell(["it begins 'def f():\\n    return'", " one \n  two\t three "], prefix="")
    assert capsys.readouterr().err == "it begins 'def f():\\n    return'\none two three\n"


def test_lines_go_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    tell(["a\nb", "c\x1b[2J"])
    tell(["bare"], prefix="")
    out, err = capsys.readouterr()
    assert out == ""
    assert err == "lstmbench: a b\nlstmbench: c[2J\nbare\n"
