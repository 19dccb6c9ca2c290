"""Losses that records claim from shared initial parameters, trained again by the reference.

Records that start alike share one training. How far it goes is short: later epochs are bound by the
audit that a record holds, and by nothing in records that hold none.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

from lstmbench import reference
from lstmbench.audit.comparison import compare, rounding_dtype
from lstmbench.audit.replay import Trained, train
from lstmbench.backend import ModelConfig, Parameters, TrainingConfig
from lstmbench.batches import draw_offsets, partition
from lstmbench.corpora import corpus as corpora
from lstmbench.corpora.corpus import Corpus, CorpusSpec
from lstmbench.errors import UserError
from lstmbench.records.record import Record

#: Epochs that are trained again, as far as the record has so many.
EPOCHS = 3
#: Multiplications and additions of one training beyond which it is not done: some minutes.
MAX_OPERATIONS = 3e12


class NotReplayed(Exception):
    """Why the losses of a record were not computed again."""


def faults(record: Record, spec: CorpusSpec | None) -> Iterator[tuple[str, str]]:
    """Fields whose loss is not what training from the record's start gives, and why.

    ``spec`` is the record's text. Raises :class:`NotReplayed` where that cannot be said.
    """
    trial = record.trial
    nats = tuple(record.epochs.nats[:EPOCHS])
    if not nats:
        return
    if trial.init != "shared":
        raise NotReplayed(f"{trial.init} initial parameters are not in the record")
    text = _text(spec)
    if text is None or text.digest != trial.corpus_digest:
        raise NotReplayed(f"corpus {trial.corpus!r} is not at hand")
    protocol = trial.protocol
    part = protocol.splits(len(text.ids))["train"]
    model = protocol.model(record.vocabulary_size)
    if 6 * model.parameter_count * sum(record.epochs.tokens[:EPOCHS]) > MAX_OPERATIONS:
        raise NotReplayed("a model of that size takes the reference too long")
    offsets = tuple(draw_offsets(trial.seed, protocol.epochs, protocol.steps)[: len(nats)])
    place = (part.start, part.stop)
    start, exact, rounded = _train(
        spec, place, model, protocol.training, trial.seed, offsets, rounding_dtype(trial.dtype)
    )
    claimed = Trained(exact.parameters, nats)
    comparison = compare(start, claimed, exact, rounded, trial.dtype)
    for index in range(len(nats)):
        name = f"loss {index + 1}"
        if name in comparison.beyond:
            expected = exact.nats[index]
            yield f"epochs.nats.{index}", f"{nats[index]}, the reference trains to {expected}"


@lru_cache(maxsize=8)
def _text(spec: CorpusSpec | None) -> Corpus | None:
    try:
        return corpora.resolve(spec) if spec else None
    except UserError:
        return None


@lru_cache(maxsize=64)
def _train(
    spec: CorpusSpec,
    part: tuple[int, int],
    model: ModelConfig,
    training: TrainingConfig,
    seed: int,
    offsets: tuple[int, ...],
    dtype: str,
) -> tuple[Parameters, Trained, Trained]:
    """The start, and the reference's training from it in float64 and in ``dtype``."""
    text = _text(spec)
    assert text is not None
    ids = text.ids[slice(*part)]
    epochs = [partition(ids, training.batch_size, training.steps, offset) for offset in offsets]
    start = reference.draw_parameters(model, seed)
    exact, rounded = (train(start, epochs, training, dtype=each) for each in ("float64", dtype))
    return start, exact, rounded
