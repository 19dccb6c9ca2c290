"""Losses from a shared start are trained again; what cannot be said is said to be so."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import pytest

from lstmbench import reference
from lstmbench.audit.replay import train_epoch
from lstmbench.batches import draw_offsets, partition
from lstmbench.corpora import corpus
from lstmbench.protocol import D2L, HELDOUT
from lstmbench.records.record import Audit, AuditPart, Epochs, Evaluation, Record
from lstmbench.verify import replay
from lstmbench.verify.replay import Paths

SMALL = D2L.override({"epochs": 6, "hidden_size": 8, "batch_size": 64, "steps": 20})
TEXT = corpus.resolve(corpus.BUNDLED)


def audited(last: int) -> Audit:
    """Of a run whose last segment was a single epoch."""
    part = AuditPart(what="segment", first=last, last=last, errors={}, allowed={})
    return Audit(nonce="0" * 32, parts=[part])


@cache
def correct_losses() -> tuple[tuple[float, ...], int]:
    """Those of float32, and the tokens of an epoch."""
    parameters = reference.draw_parameters(SMALL.model(len(TEXT.vocabulary)), 0)
    nats = []
    for offset in draw_offsets(0, SMALL.epochs, SMALL.steps):
        batches = partition(TEXT.ids[:10_000], SMALL.batch_size, SMALL.steps, offset)
        parameters, loss = reference.train_epoch(parameters, batches, SMALL.training)
        nats.append(loss.nats)
    return tuple(nats), batches.tokens


@pytest.fixture
def record(make_record: Callable[..., Any]) -> Callable[..., Record]:
    """A record whose losses are those of correct float32; keywords change it."""

    def make(factor: float = 1.0, epoch: int = 1, **changes: Any) -> Record:
        correct, tokens = correct_losses()
        nats = list(correct)
        nats[epoch] *= factor
        count = len(nats)
        seconds = [0.1 + 0.01 * index for index in range(count)]
        fields: dict[str, Any] = {
            "protocol": SMALL,
            "corpus": "bundled",
            "corpus_digest": TEXT.digest,
            "vocabulary_size": len(TEXT.vocabulary),
            "epochs": Epochs(seconds=seconds, nats=nats, tokens=[tokens] * count),
        }
        made: Record = make_record(**{**fields, **changes})
        return made

    return make


def faults(record: Record, spec: Any = corpus.BUNDLED) -> list[tuple[str, str]]:
    return list(Paths().faults(record, spec))


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
def test_honest_losses_are_what_training_gives(record: Callable[..., Record], dtype: str) -> None:
    """They are float32's: exact enough for bfloat16, and not for float64."""
    found = faults(record(audit=audited(6), dtype=dtype))
    assert bool(found) == (dtype == "float64")


@pytest.mark.parametrize("factor", [0.5, 0.9999, 1.0001])
@pytest.mark.parametrize("epoch", [0, 2])
def test_a_made_up_loss_is_named(record: Callable[..., Record], factor: float, epoch: int) -> None:
    ((field, what),) = faults(record(factor, epoch))
    assert field == f"epochs.nats.{epoch}"
    assert "the reference trains to" in what


def test_losses_on_held_out_text_are_evaluated_again(make_record: Callable[..., Any]) -> None:
    protocol = HELDOUT.override({"epochs": 5, "hidden_size": 4, "batch_size": 16, "steps": 20})
    splits = protocol.splits(len(TEXT.ids))
    train, *held = (
        partition(TEXT.ids[splits[name]], 16, 20) for name in ("train", "validation", "test")
    )
    parameters = reference.draw_parameters(protocol.model(len(TEXT.vocabulary)), 0)
    nats = []
    for offset in draw_offsets(0, 5, 20):
        batches = partition(TEXT.ids[splits["train"]], 16, 20, offset)
        parameters, loss = reference.train_epoch(parameters, batches, protocol.training)
        nats.append(loss.nats)
    losses = [reference.evaluate(parameters, batches).nats for batches in held]

    def record(factor: float) -> Record:
        made: Record = make_record(
            protocol=protocol,
            corpus="bundled",
            corpus_digest=TEXT.digest,
            vocabulary_size=len(TEXT.vocabulary),
            epochs=Epochs(seconds=[0.1] * 5, nats=nats, tokens=[train.tokens] * 5),
            evaluations=[
                Evaluation(split="validation", epoch=5, nats=losses[0], tokens=held[0].tokens),
                Evaluation(split="test", epoch=5, nats=losses[1] * factor, tokens=held[1].tokens),
            ],
            audit=audited(5),
        )
        return made

    assert protocol.validate_every == 5
    paths = Paths()
    assert list(paths.faults(record(1.0), corpus.BUNDLED)) == []
    ((field, _),) = paths.faults(record(0.999), corpus.BUNDLED)
    assert field == "evaluations.1.nats"


def test_epochs_are_trained_up_to_the_last_one_that_was_audited(
    record: Callable[..., Record],
) -> None:
    assert faults(record(0.99, 5, audit=audited(5))) == []
    ((field, _),) = faults(record(0.99, 5, audit=audited(6)))
    assert field == "epochs.nats.5"


def test_another_seed_is_another_training(record: Callable[..., Record]) -> None:
    ((_, what),) = faults(record(seed=1))
    assert what.endswith(" more losses)")


def test_a_limit_is_kept_and_said(record: Callable[..., Record]) -> None:
    paths = Paths(max_epochs=2)
    assert list(paths.faults(record(0.5, 2), corpus.BUNDLED)) == []
    (line,) = paths.cut
    assert line.startswith("losses from epoch 3 on (bundled, hidden size 8, seed 0, float32)")


def test_where_rounding_hides_mistakes_nothing_is_said(record: Callable[..., Record]) -> None:
    """At an extreme rate two correct trainings part."""
    wild = SMALL.override({"learning_rate": 1e3})
    paths = Paths()
    assert list(paths.faults(record(0.5, protocol=wild, audit=audited(6)), corpus.BUNDLED)) != []
    assert any("rounding" in line for line in paths.cut)


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
        faults(record(**changes), spec)


def test_records_that_start_alike_share_one_training(
    record: Callable[..., Record], monkeypatch: pytest.MonkeyPatch
) -> None:
    count = 0

    def counted(*arguments: Any) -> Any:
        nonlocal count
        count += 1
        return train_epoch(*arguments)

    monkeypatch.setattr(replay, "train_epoch", counted)
    paths = Paths()
    for last in (4, 6, 5):
        assert list(paths.faults(record(audit=audited(last)), corpus.BUNDLED)) == []
    assert count == 2 * 6  # in two dtypes


def test_what_is_trained_is_told(
    record: Callable[..., Record], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replay, "SECONDS", 0.0)
    lines: list[str] = []
    list(Paths(tell=lines.append).faults(record(), corpus.BUNDLED))
    start = "training again: bundled, hidden size 8, seed 0, float32"
    assert lines == [f"{start}: epoch {n} of 3" for n in (1, 2, 3)]
