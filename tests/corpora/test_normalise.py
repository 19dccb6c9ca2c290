"""What is done to a text before it is split."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lstmbench.corpora.normalise import letters_by_line, normaliser, unchanged
from lstmbench.corpora.spec import CorpusSpec
from lstmbench.errors import UserError


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r", "\x85", "\u2028", "\u2029"])
def test_every_line_end_becomes_the_same(end: str) -> None:
    assert unchanged(f"one{end}{end}two{end}") == "one\n\ntwo\n"


def test_a_form_feed_ends_no_line() -> None:
    assert unchanged("one\x0ctwo\tthree") == "one\x0ctwo\tthree"


def test_letters_with_accents_are_one_character() -> None:
    assert unchanged("e\u0301") == "\xe9"


@given(st.text())
def test_nothing_else_changes(text: str) -> None:
    once = unchanged(text)
    assert unchanged(once) == once
    assert unicodedata.is_normalized("NFC", once)
    assert not set(once) & set("\r\x85\u2028\u2029")


@given(st.text())
def test_exact_is_to_the_character(text: str) -> None:
    function = normaliser("exact", "char", {})
    assert function is not None
    assert function(text) == text


def test_words_stay_words_across_lines() -> None:
    assert letters_by_line("It's 9\no'clock\n") == "it s\no clock"


def upper(name: str) -> CorpusSpec:
    return CorpusSpec(name, "", make=lambda: "x", normalise=str.upper)


def test_a_corpus_brings_its_own_under_its_name() -> None:
    function = normaliser("loud", "char", {"loud": upper("loud")})
    assert function is not None
    assert function("abc") == "ABC"
    assert normaliser("quiet", "char", {"loud": upper("loud")}) is None


@pytest.mark.parametrize("function", [lambda text: 1 / 0, lambda text: None])
def test_what_a_plugin_does_wrong_is_named(function: object) -> None:
    spec = CorpusSpec("bad", "", make=lambda: "x", normalise=function)  # type: ignore[arg-type]
    wrong = normaliser("bad", "char", {"bad": spec})
    assert wrong is not None
    with pytest.raises(UserError, match="--normalise bad: its function"):
        wrong("abc")
