"""What a backend may answer, and what is refused with which words."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from lstmbench import reference
from lstmbench.backend import EpochLoss, ModelConfig
from lstmbench.batches import partition
from lstmbench.worker.answers import InvalidAnswer, check_ids, check_loss, check_parameters
from lstmbench.worker.messages import INTERFACE

BATCHES = partition(np.arange(100), 2, 3)
TOKENS = BATCHES.tokens


@pytest.mark.parametrize(
    ("loss", "reason", "words"),
    [
        (EpochLoss(math.nan, TOKENS), "nan", "nan"),
        (EpochLoss(-math.inf, TOKENS), "nan", "inf"),
        (EpochLoss(np.float64(1.0), TOKENS), INTERFACE, "nats as float, got float64"),
        (EpochLoss(1, TOKENS), INTERFACE, "nats as float, got int"),
        (EpochLoss(1.0, float(TOKENS)), INTERFACE, "tokens as int, got float"),  # type: ignore[arg-type]
        (EpochLoss(1.0, np.int64(TOKENS)), INTERFACE, "tokens as int, got int64"),  # type: ignore[arg-type]
        (EpochLoss(1.0, 1), INTERFACE, f"expected {TOKENS} tokens, got 1"),
        ((1.0, TOKENS), INTERFACE, "expected an EpochLoss, got tuple"),
        (1.0, INTERFACE, "expected an EpochLoss, got float"),
        (None, INTERFACE, "expected an EpochLoss, got NoneType"),
    ],
)
def test_losses_that_are_refused(loss: Any, reason: str, words: str) -> None:
    with pytest.raises(InvalidAnswer) as refused:
        check_loss(loss, BATCHES)
    assert refused.value.reason == reason
    assert words in str(refused.value)


def test_a_sound_loss_is_taken() -> None:
    assert check_loss(EpochLoss(12.5, TOKENS), BATCHES) == EpochLoss(12.5, TOKENS)


@pytest.mark.parametrize(
    "ids",
    [
        [1, 2, 3],
        [1] * 5,
        (1,) * 4,
        np.ones(4, int),
        [np.int64(1)] * 4,
        [1.0] * 4,
        [True] * 4,
        [9] * 4,
        [-1] * 4,
        "1234",
        None,
    ],
    ids=repr,
)
def test_ids_that_are_refused(ids: Any) -> None:
    with pytest.raises(InvalidAnswer, match=r"expected .* got") as refused:
        check_ids(ids, length=4, vocabulary_size=9)
    assert refused.value.reason == INTERFACE


@pytest.mark.parametrize("ids", [[0, 8, 1, 1], [3] * 4])
def test_sound_ids_are_taken(ids: list[int]) -> None:
    assert check_ids(ids, length=4, vocabulary_size=9) == ids


@pytest.mark.parametrize("parameters", [None, {}, [np.ones(1)]])
def test_parameters_that_are_refused(parameters: Any) -> None:
    with pytest.raises(InvalidAnswer, match="expected Parameters, got") as refused:
        check_parameters(parameters)
    assert refused.value.reason == INTERFACE


def test_sound_parameters_are_taken() -> None:
    good = reference.draw_parameters(ModelConfig(5, 3, 1), 0)
    assert check_parameters(good) is good
