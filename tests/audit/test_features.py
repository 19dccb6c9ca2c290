"""Audits of trials with an optimizer that keeps something, with a schedule, and with dropout."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from lstmbench import reference
from lstmbench.audit.auditor import Auditor
from lstmbench.audit.comparison import most_allowed
from lstmbench.audit.replay import Course, Trained, train
from lstmbench.backend import ModelConfig, Parameters, TrainingConfig
from lstmbench.batches import partition

MODEL = ModelConfig(11, 12, 2, embedding_size=6)
IDS = np.random.default_rng(0).integers(0, 11, 4 * 6 * 9).astype(np.int32)
EPOCHS = [partition(IDS, 4, 6, offset) for offset in (0, 3)]
START = reference.draw_parameters(MODEL, 0, scale=0.2)
ADAPTIVE = [
    TrainingConfig(2.0**-8, 1.0, 4, 6, optimizer=optimizer) for optimizer in ("adam", "rmsprop")
]
DROPPING = TrainingConfig(0.5, 1.0, 4, 6, dropout=0.5)
#: As wide as it takes for masks to average out.
WIDE = reference.draw_parameters(ModelConfig(11, 32, 2, embedding_size=16), 0, scale=0.3)
#: Which remembers the samples.
DROPPING_AUDITOR = Auditor(DROPPING, "float32")


def before(training: TrainingConfig) -> tuple[Parameters, Course]:
    """After an epoch, as a backend shows it."""
    done = train(START, EPOCHS[:1], training, dtype="float32")
    return done.parameters, Course(moments=done.moments, updates=EPOCHS[0].windows)


def judged(
    training: TrainingConfig, claimed: Trained, start: Parameters, course: Course
) -> list[str]:
    verdict = Auditor(training, "float32").segment(start, EPOCHS, claimed, course=course)
    return verdict.comparison.beyond


@pytest.mark.parametrize("training", ADAPTIVE, ids=lambda training: training.optimizer)
def test_an_honest_segment_goes_on_from_what_the_optimizer_keeps(training: TrainingConfig) -> None:
    start, course = before(training)
    claimed = train(start, EPOCHS, training, dtype="float32", course=course)
    assert judged(training, claimed, start, course) == []


@pytest.mark.parametrize("training", ADAPTIVE, ids=lambda training: training.optimizer)
def test_an_optimizer_that_forgot_is_seen(training: TrainingConfig) -> None:
    start, course = before(training)
    claimed = train(start, EPOCHS, training, dtype="float32")
    assert judged(training, claimed, start, course)


@pytest.mark.parametrize("training", ADAPTIVE, ids=lambda training: training.optimizer)
def test_what_the_optimizer_keeps_is_audited_too(training: TrainingConfig) -> None:
    start, course = before(training)
    claimed = train(start, EPOCHS, training, dtype="float32", course=course)
    kept = replace(claimed, moments=course.moments)
    assert set(judged(training, kept, start, course)) == set(training.moments)
    assert judged(training, replace(claimed, moments=()), start, course)


def test_the_rates_of_the_epochs_are_those_of_the_schedule() -> None:
    training = TrainingConfig(1.0, 1.0, 4, 6, scheduled=True)
    course = Course(rates=(1.0, 0.5))
    claimed = train(START, EPOCHS, training, dtype="float32", course=course)
    assert judged(training, claimed, START, course) == []
    late = train(START, EPOCHS, training, dtype="float32")
    assert judged(training, late, START, course)


@pytest.mark.parametrize("seed", range(100, 120))
def test_honest_dropout_passes_with_masks_of_its_own(seed: int) -> None:
    claimed = train(WIDE, EPOCHS, DROPPING, dtype="float32", course=Course(seed=seed))
    comparison = DROPPING_AUDITOR.segment(WIDE, EPOCHS, claimed).comparison
    assert comparison.beyond == []
    assert comparison.judged
    assert max(comparison.allowed.values()) <= most_allowed("float32", DROPPING.dropout)


@pytest.mark.parametrize(
    "changes",
    [
        {"dropout": 0.0},
        {"dropout": 0.25},
        {"dropout": 0.9},
        {"learning_rate": 0.0},
    ],
    ids=str,
)
def test_other_training_with_dropout_is_seen(changes: Any) -> None:
    claimed = train(WIDE, EPOCHS, replace(DROPPING, **changes), dtype="float32")
    assert DROPPING_AUDITOR.segment(WIDE, EPOCHS, claimed).comparison.beyond


def test_more_is_allowed_with_dropout_only() -> None:
    assert most_allowed("float32", 0.0) == 1e-2 < most_allowed("float32", 0.5) < 1
    assert math.isfinite(most_allowed("float64", 0.5))
