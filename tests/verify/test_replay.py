"""Losses from a shared start are trained again; what cannot be said is said to be so."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from lstmbench import reference
from lstmbench.audit.replay import Trained, train
from lstmbench.batches import draw_offsets, partition
from lstmbench.corpora import corpus
from lstmbench.protocol import D2L
from lstmbench.records.record import Epochs, Record
from lstmbench.verify import replay

SMALL = D2L.override({"epochs": 4, "hidden_size": 8, "batch_size": 16, "steps": 20})
TEXT = corpus.resolve(corpus.BUNDLED)


@pytest.fixture
def record(make_record: Callable[..., Any]) -> Callable[..., Record]:
    """A record whose losses are those of correct float32; keywords change it."""

    def make(factor: float = 1.0, epoch: int = 1, **changes: Any) -> Record:
        parameters = reference.draw_parameters(SMALL.model(len(TEXT.vocabulary)), 0)
        nats = []
        for offset in draw_offsets(0, SMALL.epochs, SMALL.steps):
            batches = partition(TEXT.ids[:10_000], SMALL.batch_size, SMALL.steps, offset)
            parameters, loss = reference.train_epoch(parameters, batches, SMALL.training)
            nats.append(loss.nats)
        nats[epoch] *= factor
        epochs = Epochs(seconds=[0.1, 0.2, 0.3, 0.4], nats=nats, tokens=[batches.tokens] * 4)
        fields: dict[str, Any] = {
            "protocol": SMALL,
            "corpus": "bundled",
            "corpus_digest": TEXT.digest,
            "vocabulary_size": len(TEXT.vocabulary),
            "epochs": epochs,
        }
        made: Record = make_record(**{**fields, **changes})
        return made

    return make


def test_honest_losses_are_what_training_gives(record: Callable[..., Record]) -> None:
    assert list(replay.faults(record(), corpus.BUNDLED)) == []


@pytest.mark.parametrize("factor", [0.5, 0.9999, 1.0001])
@pytest.mark.parametrize("epoch", [0, 2])
def test_a_made_up_loss_is_named(record: Callable[..., Record], factor: float, epoch: int) -> None:
    ((field, what),) = replay.faults(record(factor, epoch), corpus.BUNDLED)
    assert field == f"epochs.nats.{epoch}"
    assert "the reference trains to" in what


def test_another_seed_is_another_training(record: Callable[..., Record]) -> None:
    assert list(replay.faults(record(seed=1), corpus.BUNDLED))


@pytest.mark.parametrize(
    ("changes", "spec", "words"),
    [
        ({"init": "native"}, corpus.BUNDLED, "native"),
        ({}, None, "not at hand"),
        ({"corpus_digest": "0" * 64}, corpus.BUNDLED, "not at hand"),
        ({"protocol": D2L.override({"hidden_size": 20_000})}, corpus.BUNDLED, "too long"),
    ],
)
def test_what_cannot_be_trained_again_is_said(
    record: Callable[..., Record], changes: dict[str, Any], spec: Any, words: str
) -> None:
    with pytest.raises(replay.NotReplayed, match=words):
        list(replay.faults(record(**changes), spec))


def test_records_that_start_alike_share_one_training(
    record: Callable[..., Record], monkeypatch: pytest.MonkeyPatch
) -> None:
    replay._train.cache_clear()
    calls = []

    def counted(*arguments: Any, dtype: str) -> Trained:
        start, epochs, training = arguments
        calls.append(dtype)
        return train(start, epochs, training, dtype=dtype)

    monkeypatch.setattr(replay, "train", counted)
    for backend in ("a", "b", "c"):
        assert list(replay.faults(record(backend=backend), corpus.BUNDLED)) == []
    assert calls == ["float64", "float32"]
