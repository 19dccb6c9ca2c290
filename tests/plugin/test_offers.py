"""What a plugin offers, field by field."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lstmbench.backend import BackendSpec
from lstmbench.corpora.corpus import BUNDLED, MARKOV, TIME_MACHINE, CorpusSpec
from lstmbench.plugin import offers
from lstmbench.protocol import D2L, HELDOUT, PRESETS, Protocol

SPEC = BackendSpec("mine", "my own", "mine:Mine", {"cpu": ("eager",)})
ANYTHING = st.one_of(
    *(st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.binary()),
    *(st.lists(st.text()), st.tuples(st.text()), st.dictionaries(st.text(), st.text())),
    *(st.dictionaries(st.text(), st.tuples(st.text())), st.just(print), st.just(object())),
)


def protocol_fault(**changes: Any) -> str | None:
    return offers.fault(replace(D2L, **changes), Protocol, offers.protocol_faults)


def corpus_fault(**changes: Any) -> str | None:
    return offers.fault(replace(TIME_MACHINE, **changes), CorpusSpec, offers.corpus_faults)


def test_the_host_s_own_are_right() -> None:
    for preset in PRESETS:
        assert offers.fault(preset, Protocol, offers.protocol_faults) is None
    for spec in (TIME_MACHINE, BUNDLED, MARKOV):
        assert offers.fault(spec, CorpusSpec, offers.corpus_faults) is None


@pytest.mark.parametrize("name", ["mine", "我的模型", "a.b+c", "1st", "x" * 64])
def test_names_that_can_be_used(name: str) -> None:
    assert offers.usable(name)


@pytest.mark.parametrize(
    "name",
    [
        *("", " ", "a b", "a\tb", "a,b", "a:b", "a/b", "a\\b", "-a", "all", "default", "x" * 65),
        *("\x00", "\x1b[2J", "\ud800", "\u202eevil", "a\u2028b", None, 7, b"mine"),
    ],
)
def test_names_that_cannot(name: object) -> None:
    assert not offers.usable(name)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"epochs": 0}, "epochs=0, expected a whole number from 1 to 100000"),
        ({"epochs": 5.0}, "epochs=5.0, expected a whole number"),
        ({"epochs": True}, "epochs=True, expected a whole number"),
        ({"layers": "2"}, "layers='2', expected a whole number"),
        ({"learning_rate": 0}, "learning_rate=0, expected a positive number"),
        ({"learning_rate": float("nan")}, "learning_rate=nan, expected a positive number"),
        ({"clip_norm": float("inf")}, "clip_norm=inf, expected a positive number"),
        ({"train_tokens": 0}, "train_tokens=0, expected a whole number from 1, or None"),
        ({"continuation": -1}, "continuation=-1, expected a whole number from 0"),
        ({"repeats": 0}, "repeats=0, expected a whole number from 1"),
        ({"validate_every": None}, "validate_every=None, expected a whole number from 0"),
        ({"prefixes": "time"}, "prefixes='time', expected (text, ...)"),
        ({"prefixes": ["time"]}, "prefixes=['time'], expected (text, ...)"),
        ({"prefixes": ("\ud800",)}, "prefixes=('\\ud800',), expected (text, ...)"),
        ({"summary": None}, "summary=None, expected text"),
        ({"precision": 2.0}, "precision=2.0, expected a share"),
        ({"budget": 0}, "budget=0, expected a positive number"),
        ({"test_fraction": 1.5}, "test_fraction=1.5, expected a share from 0 to 1"),
        (
            {"train_tokens": None, "validation_fraction": 0.2, "test_fraction": 0.1},
            "test_fraction=0.1, expected no more than",
        ),
    ],
)
def test_protocols_that_cannot_be_trained(changes: dict[str, Any], words: str) -> None:
    assert (protocol_fault(**changes) or "").startswith(f"offers 'd2l' with {words}")


def test_a_protocol_with_fields_of_its_own_is_refused() -> None:
    class Adam(Protocol):
        optimizer = "adam"

    said = offers.fault(Adam("adam", ""), Protocol, offers.protocol_faults)
    assert said == (
        "returned a Adam, a subclass of Protocol: what it adds would be ignored, so it must be a "
        "Protocol itself"
    )


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"sha256": TIME_MACHINE.sha256.upper()}, "expected 64 digits of 0-9a-f"),
        ({"sha256": ""}, "sha256='', expected 64 digits"),
        (
            {"filename": "", "sha256": ""},
            "filename='', expected a file's name, as there is no make",
        ),
        ({"filename": "../x.txt"}, "filename='../x.txt', expected a file's name"),
        ({"urls": "http://x"}, "urls='http://x', expected (address, ...)"),
        ({"make": "text"}, "make='text', expected a function"),
        ({"surprisal": 1.0}, "surprisal=1.0, expected a function, or None"),
    ],
)
def test_corpora_that_cannot_be_read(changes: dict[str, Any], words: str) -> None:
    assert words in (corpus_fault(**changes) or "")


@given(st.sampled_from([f.name for f in fields(Protocol)]), ANYTHING)
def test_any_value_in_a_protocol_is_accepted_or_named(field: str, value: Any) -> None:
    said = offers.fault(replace(HELDOUT, **{field: value}), Protocol, offers.protocol_faults)
    together = ("test_fraction", "that cannot be: ")
    named = field == "name" or f"{field}=" in (said or "")
    assert said is None or named or any(words in said for words in together)
    if said is None:
        replace(HELDOUT, **{field: value}).override({})


@given(st.sampled_from([f.name for f in fields(BackendSpec)]), ANYTHING)
def test_any_value_in_a_spec_is_accepted_or_named(field: str, value: Any) -> None:
    said = offers.fault(replace(SPEC, **{field: value}), BackendSpec, offers.backend_faults)
    assert said is None or field in ("name", "interface") or f" with {field}=" in said


@given(st.sampled_from([f.name for f in fields(CorpusSpec)]), ANYTHING)
def test_any_value_in_a_corpus_is_accepted_or_named(field: str, value: Any) -> None:
    said = corpus_fault(**{field: value})
    assert said is None or field == "name" or f" with {field}=" in said
