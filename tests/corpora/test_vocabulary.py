"""From text to ids."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Literal

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from lstmbench.corpora.normalise import letters
from lstmbench.corpora.vocabulary import Vocabulary, split

ORDER = " etainoshrdlmucfwgypbvkxzjq"


def test_the_time_machine_is_the_course_s(corpus_file: Path) -> None:
    text = letters(corpus_file.read_text())
    vocabulary = Vocabulary(text)
    assert len(text) == 170_580
    assert len(vocabulary) == 28
    assert vocabulary.symbols == ["<unk>", *ORDER]
    assert text.startswith("the time machine by h g wellsithe time traveller for so it w")
    first = [3, 9, 2, 1, 3, 5, 13, 2, 1, 13, 4, 15, 9, 5, 6, 2, 1, 21, 19, 1]
    assert vocabulary.encode(text)[:20].tolist() == first


def test_lines_are_cleaned_one_by_one_and_joined_with_nothing() -> None:
    assert letters("  It's 9 o'clock -- ALREADY!\n\n_End_ \n") == "it s o clock alreadyend"


def test_letters_beyond_ascii_are_no_letters() -> None:
    assert letters("na\u00efve \u00c9t\u00e9") == "na ve t"


@given(st.text())
def test_what_is_left_is_letters_and_single_blanks(text: str) -> None:
    clean = letters(text)
    assert re.fullmatch("[a-z ]*", clean)
    assert "  " not in clean
    assert clean == clean.strip()


@given(st.text(alphabet="ABCabc .,-", max_size=60))
def test_normalising_twice_changes_nothing(text: str) -> None:
    assert letters(letters(text)) == letters(text)


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


#: Whole texts as files hold them: no halves of characters.
WHOLE = st.text(st.characters(exclude_categories=["Cs"]), max_size=200)


@given(WHOLE)
def test_characters_of_any_script_come_back(text: str) -> None:
    vocabulary = Vocabulary(text)
    assert vocabulary.decode(vocabulary.encode(text).tolist()) == text


@given(WHOLE)
def test_bytes_of_any_script_come_back(text: str) -> None:
    vocabulary = Vocabulary(text, "byte")
    ids = vocabulary.encode(text)
    assert len(ids) == len(text.encode())
    assert len(vocabulary) <= 257
    assert vocabulary.decode(ids.tolist()) == text


@given(st.lists(st.lists(st.sampled_from(["the", "cat", "山", "🎉", "x = 1;"]), max_size=5)))
def test_words_come_back_with_their_line_ends(lines: list[list[str]]) -> None:
    text = "".join(f"{' '.join(line)}\n" for line in lines)
    vocabulary = Vocabulary(text, "word")
    written = vocabulary.decode(vocabulary.encode(text).tolist())
    assert written.split() == text.replace("\n", " <eos> ").split()


@given(WHOLE, st.sampled_from(["char", "word", "byte"]), st.integers(2, 9), st.integers(1, 4))
def test_limits_keep_the_most_frequent(
    text: str, tokens: Literal["char", "word", "byte"], size: int, least: int
) -> None:
    whole, limited = Vocabulary(text, tokens), Vocabulary(text, tokens, size, least)
    counts = Counter(split(text, tokens))
    frequent = [symbol for symbol in whole.symbols[1:] if counts[symbol] >= least]
    assert limited.symbols == ["<unk>", *frequent[: size - 1]]
    ids = limited.encode(text)
    assert (ids == 0).sum() == sum(n for s, n in counts.items() if s not in limited.symbols[1:])


def test_a_text_s_own_unknown_is_the_unknown() -> None:
    vocabulary = Vocabulary("the <unk> of the <unk> <unk>\n", "word")
    assert vocabulary.symbols == ["<unk>", "the", "of", "<eos>"]
    assert vocabulary.encode("the <unk>").tolist() == [1, 0]
    assert vocabulary.unknown("the <unk> dog dog\n") == ["dog"]


def test_what_follows_is_joined_as_the_text_was_split() -> None:
    words, characters = Vocabulary("a b\n", "word"), Vocabulary("ab")
    assert "a" + words.continuation([2, 3]) == "a b <eos>"
    assert "a" + characters.continuation([2]) == "ab"
    assert words.continuation([]) == ""


def test_half_a_character_is_shown_as_such() -> None:
    vocabulary = Vocabulary("é", "byte")
    assert vocabulary.decode([1]) == "\ufffd"
    assert vocabulary.decode([1, 2, 0]) == "é<unk>"
