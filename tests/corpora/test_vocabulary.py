"""From text to ids."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from lstmbench.corpora.vocabulary import Vocabulary, normalise

ORDER = " etainoshrdlmucfwgypbvkxzjq"


def test_the_time_machine_is_the_course_s(corpus_file: Path) -> None:
    text = normalise(corpus_file.read_text())
    vocabulary = Vocabulary(text)
    assert len(text) == 170_580
    assert len(vocabulary) == 28
    assert vocabulary.symbols == ["<unk>", *ORDER]
    assert text.startswith("the time machine by h g wellsithe time traveller for so it w")
    first = [3, 9, 2, 1, 3, 5, 13, 2, 1, 13, 4, 15, 9, 5, 6, 2, 1, 21, 19, 1]
    assert vocabulary.encode(text)[:20].tolist() == first


def test_lines_are_cleaned_one_by_one_and_joined_with_nothing() -> None:
    assert normalise("  It's 9 o'clock -- ALREADY!\n\n_End_ \n") == "it s o clock alreadyend"


def test_letters_beyond_ascii_are_no_letters() -> None:
    assert normalise("na\u00efve \u00c9t\u00e9") == "na ve t"


@given(st.text())
def test_what_is_left_is_letters_and_single_blanks(text: str) -> None:
    clean = normalise(text)
    assert re.fullmatch("[a-z ]*", clean)
    assert "  " not in clean
    assert clean == clean.strip()


@given(st.text(alphabet="ABCabc .,-", max_size=60))
def test_normalising_twice_changes_nothing(text: str) -> None:
    assert normalise(normalise(text)) == normalise(text)


@given(st.text(alphabet="abcde", min_size=1))
def test_ids_fall_in_frequency_and_ties_keep_the_order_of_first_appearance(text: str) -> None:
    symbols = Vocabulary(text).symbols
    counts = Counter(text)
    assert symbols[0] == "<unk>"
    assert symbols[1:] == sorted(counts, key=lambda s: (-counts[s], text.index(s)))


@given(st.text(alphabet="abcde"))
def test_decoding_is_the_inverse(text: str) -> None:
    vocabulary = Vocabulary(text)
    ids = vocabulary.encode(text)
    assert ids.dtype == np.int32
    assert ids.ndim == 1
    assert vocabulary.decode(ids.tolist()) == text
    assert not (ids == 0).any()


def test_a_symbol_never_counted_is_unknown() -> None:
    vocabulary = Vocabulary("aab")
    assert vocabulary.encode("xab").tolist() == [0, 1, 2]
    assert vocabulary.decode([0, 1]) == "<unk>a"
