"""Hyper-parameters: presets, overrides, splits."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lstmbench.backend import ModelConfig, TrainingConfig, needed_features
from lstmbench.batches import window_count
from lstmbench.errors import UserError
from lstmbench.protocol import D2L, HELDOUT, OVERRIDABLE, PRESETS, QUICK


def test_d2l_is_as_published() -> None:
    assert D2L.training == TrainingConfig(1.0, 1.0, 32, 35)
    assert D2L.model(28) == ModelConfig(28, 256, 1)
    assert needed_features(D2L.model(28), D2L.training) == []
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
    [(name, value) for name in OVERRIDABLE for value in (0, -1) if (name, value) != ("dropout", 0)]
    + [("learning_rate", value) for value in (math.nan, math.inf, -0.0)]
    + [("dropout", value) for value in (1, 1.5, math.nan)]
    + [("optimizer", "adagrad")],
)
def test_out_of_range_names_the_option(name: str, value: float) -> None:
    with pytest.raises(UserError, match=f"--{name.replace('_', '-')} .*must be"):
        D2L.override({name: value})


def test_an_override_is_told_only_where_it_differs() -> None:
    changed = D2L.override({"epochs": 500, "hidden_size": 8, "learning_rate": 0.5})
    assert changed.overrides(D2L) == {"hidden_size": 8, "learning_rate": 0.5}
    assert D2L.hidden_size == 256


def test_what_does_not_go_together_is_one_line() -> None:
    with pytest.raises(UserError, match=r"tied weights need .*, got none and 256"):
        D2L.override({"tied": True})
    with pytest.raises(UserError, match=r"tied weights need .*, got 8 and 16"):
        D2L.override({"tied": True, "embedding_size": 8, "hidden_size": 16})
    tied = D2L.override({"tied": True, "embedding_size": 256})
    assert tied.overrides(D2L) == {"tied": True, "embedding_size": 256}
    with pytest.raises(UserError, match="follows the validation, and it has no validation text"):
        dataclasses.replace(D2L, schedule="validation", decay=0.25).override({})
    dataclasses.replace(HELDOUT, schedule="validation", decay=0.25).override({})
    with pytest.raises(UserError, match="to clip_norm or to clip_value"):
        dataclasses.replace(D2L, clip_value=1.0).override({})


def test_a_learning_rate_by_epoch_is_constant_and_then_falls() -> None:
    protocol = dataclasses.replace(D2L, schedule="epoch", decay=0.5, decay_after=2)
    assert [protocol.rate(epoch) for epoch in range(1, 6)] == [1.0, 1.0, 0.5, 0.25, 0.125]
    assert protocol.training.scheduled


def test_a_learning_rate_by_validation_falls_where_the_best_is_not_beaten() -> None:
    protocol = dataclasses.replace(HELDOUT, schedule="validation", decay=0.25)
    losses = [3.0, 2.0, 2.0, 1.5, 1.75, 1.6]
    rates = [protocol.rate(1, losses[:count]) for count in range(len(losses) + 1)]
    assert rates == [1.0, 1.0, 1.0, 0.25, 0.25, 0.0625, 0.015625]


@given(st.integers(1, 100))
def test_a_constant_learning_rate_follows_nothing(epoch: int) -> None:
    assert D2L.rate(epoch, [1.0, 2.0, 3.0]) == 1.0
    assert not D2L.training.scheduled


@pytest.mark.parametrize(
    ("changes", "needed"),
    [
        ({"embedding_size": 8}, ["embedding"]),
        ({"embedding_size": 256, "tied": True}, ["embedding", "tied"]),
        ({"dropout": 0.5}, ["dropout"]),
        ({"optimizer": "adam"}, ["adam"]),
        ({"optimizer": "rmsprop"}, ["rmsprop"]),
        ({"schedule": "epoch"}, ["schedule"]),
        ({"clip_norm": None, "clip_value": 5.0}, ["clip-value"]),
        ({"clip_norm": None}, ["unclipped"]),
        ({"loss": "sum"}, ["sum-loss"]),
        ({"initialisation": "uniform", "forget_bias": 1.0}, []),
    ],
)
def test_what_a_protocol_needs_of_a_backend(changes: Any, needed: list[str]) -> None:
    protocol = dataclasses.replace(D2L, **changes)
    assert needed_features(protocol.model(28), protocol.training) == needed


def test_a_protocol_is_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        D2L.epochs = 1  # type: ignore[misc]
