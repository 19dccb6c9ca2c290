"""Hyper-parameters: presets, overrides, splits."""

from __future__ import annotations

import dataclasses
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lstmbench.batches import window_count
from lstmbench.errors import UserError
from lstmbench.protocol import D2L, HELDOUT, OVERRIDABLE, PRESETS, QUICK


def test_d2l_is_as_published() -> None:
    assert dataclasses.astuple(D2L.training) == (1.0, 1.0, 32, 35)
    assert dataclasses.astuple(D2L.model(28)) == (28, 256, 1)
    assert (D2L.epochs, D2L.train_tokens) == (500, 10_000)
    assert D2L.prefixes == ("time traveller", "traveller")
    assert D2L.continuation == 50


def test_quick_differs_in_epochs_only_and_says_so() -> None:
    maths = {**dataclasses.asdict(QUICK)}
    for name in ("name", "summary", "note"):
        del maths[name]
    expected = {name: getattr(D2L, name) for name in maths}
    assert maths == {**expected, "epochs": 40}
    assert "barely learned" in QUICK.note


def test_heldout_makes_about_as_many_updates_as_d2l() -> None:
    tokens = 170_580
    parts = HELDOUT.splits(tokens)
    assert parts["train"] == slice(0, 153_522)
    assert parts["validation"] == slice(153_522, 162_051)
    assert parts["test"] == slice(162_051, 170_580)
    train = window_count(parts["train"].stop, 32, 35)
    assert 0.9 < HELDOUT.epochs * train / (500 * 8) < 1.1
    assert (HELDOUT.epochs, HELDOUT.validate_every) == (30, 5)


def test_names_of_presets_differ() -> None:
    assert len({preset.name for preset in PRESETS}) == len(PRESETS)


@given(st.integers(0, 10**6))
def test_splits_never_overlap_and_never_exceed_the_text(tokens: int) -> None:
    for preset in PRESETS:
        end = 0
        for part in preset.splits(tokens).values():
            assert part.start == end
            end = part.stop
        assert end <= tokens


@pytest.mark.parametrize(
    ("name", "value"),
    [(name, value) for name in OVERRIDABLE for value in (0, -1)]
    + [("learning_rate", value) for value in (math.nan, math.inf, -0.0)],
)
def test_out_of_range_names_the_option(name: str, value: float) -> None:
    with pytest.raises(UserError, match=f"--{name.replace('_', '-')} .*must be"):
        D2L.override({name: value})


def test_an_override_is_told_only_where_it_differs() -> None:
    changed = D2L.override({"epochs": 500, "hidden_size": 8, "learning_rate": 0.5})
    assert changed.overrides(D2L) == {"hidden_size": 8, "learning_rate": 0.5}
    assert D2L.hidden_size == 256


def test_a_protocol_is_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        D2L.epochs = 1  # type: ignore[misc]
