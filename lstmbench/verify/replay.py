"""Losses that records claim from shared initial parameters, trained again by the reference.

Records that start alike share one path: it is walked once, as far as the longest of them asks for.
Later epochs than those are bound by the audit that a record holds, and by nothing in records that
hold none.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

from lstmbench import reference
from lstmbench.audit.comparison import allowances, rounding_dtype
from lstmbench.audit.replay import train, train_epoch
from lstmbench.backend import ModelConfig, Parameters, TrainingConfig
from lstmbench.batches import draw_offsets, partition
from lstmbench.corpora import corpus as corpora
from lstmbench.corpora.corpus import Corpus, CorpusSpec
from lstmbench.errors import UserError
from lstmbench.records.record import Record

#: Epochs that are trained again of records that hold no audit.
EPOCHS = 3
#: Multiplications and additions of one path beyond which it is not walked: some minutes.
MAX_OPERATIONS = 3e12
#: Seconds between two lines that say how far it is.
SECONDS = 5.0

Tell = Callable[[str], None]


class NotReplayed(Exception):
    """Why the losses of a record were not computed again."""


@dataclass(frozen=True)
class Start:
    """All that decides how the reference trains: records with an equal one share a path.

    ``part`` is the training split, ``first`` and beyond of the text's ids.
    """

    spec: CorpusSpec
    part: tuple[int, int]
    model: ModelConfig
    training: TrainingConfig
    seed: int
    dtype: str

    def __str__(self) -> str:
        return (
            f"{self.spec.name}, hidden size {self.model.hidden_size}, seed {self.seed}, "
            f"{self.dtype}"
        )


@dataclass(frozen=True)
class Epoch:
    """Nats of the reference in float64, and the relative error that is allowed; ``None`` where
    rounding has carried correct trainings so far apart that nothing can be said."""

    nats: float
    allowed: float | None


@dataclass
class Path:
    """The reference's training from a start, in float64 and in what shows the dtype's rounding."""

    start: Start
    done: list[Epoch] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._walk = self._walked()

    def reach(self, epochs: int, tell: Tell) -> list[Epoch]:
        """The first ``epochs`` epochs; those that were not walked yet are now.

        Fewer, if rounding hides everything from some epoch on.
        """
        told = time.monotonic()
        while len(self.done) < epochs and not (self.done and self.done[-1].allowed is None):
            self.done.append(next(self._walk))
            if time.monotonic() - told >= SECONDS:
                told = time.monotonic()
                tell(f"training again: {self.start}: epoch {len(self.done)} of {epochs}")
        return self.done[:epochs]

    def _walked(self) -> Iterator[Epoch]:
        start, text = self.start, _text(self.start.spec)
        assert text is not None
        ids = text.ids[slice(*start.part)]
        rounding = rounding_dtype(start.dtype)
        steps = start.training.steps
        drawn = reference.draw_parameters(start.model, start.seed)
        exact, rounded = (
            train(drawn, (), start.training, dtype=dtype).parameters
            for dtype in ("float64", rounding)
        )
        for index in itertools.count():
            offset = draw_offsets(start.seed, index + 1, steps)[index]
            batches = partition(ids, start.training.batch_size, steps, offset)
            exact, nats = train_epoch(exact, batches, start.training)
            rounded, other = train_epoch(rounded, batches, start.training, 1, rounding)
            # one training is one sample: by luck its loss may be right, though it is far off
            off = max(abs(other / nats - 1), _distance(rounded, exact))
            off = off if math.isfinite(off) else math.inf
            yield Epoch(nats, allowances({"loss": off}, start.dtype).get("loss"))


class Paths:
    """Every path that was begun, by its start. ``cut`` says where one ended early, and why."""

    def __init__(self, max_epochs: int | None = None, tell: Tell = lambda line: None) -> None:
        self.max_epochs = max_epochs
        self.tell = tell
        self.cut: dict[str, None] = {}
        self._paths: dict[Start, Path] = {}

    def faults(self, record: Record, spec: CorpusSpec | None) -> Iterator[tuple[str, str]]:
        """The field whose loss is not what training from the record's start gives, if there is one.

        ``spec`` is the record's text. Raises :class:`NotReplayed` where that cannot be said.
        """
        claimed = record.epochs.nats
        if not claimed:
            return
        start = _start(record, spec)
        reached = self._reach(start, min(_wanted(record), len(claimed)), record)
        wrong = [
            (index, epoch.nats)
            for index, epoch in enumerate(reached)
            if epoch.allowed is not None
            and not abs(claimed[index] - epoch.nats) <= epoch.allowed * abs(epoch.nats)
        ]
        for index, nats in wrong[:1]:
            more = f" (and {len(wrong) - 1} more epochs)" if len(wrong) > 1 else ""
            yield f"epochs.nats.{index}", f"{claimed[index]}, the reference trains to {nats}{more}"

    def _reach(self, start: Start, wanted: int, record: Record) -> list[Epoch]:
        operations = 6 * start.model.parameter_count * record.epochs.tokens[0]
        affordable = int(MAX_OPERATIONS // operations)
        if not affordable:
            raise NotReplayed("a model of that size takes the reference too long")
        limit = min(affordable, self.max_epochs or affordable)
        path = self._paths.setdefault(start, Path(start))
        reached = path.reach(min(wanted, limit), self.tell)
        if reached[-1].allowed is None:
            why = "rounding has carried correct trainings too far apart"
            self.cut[f"losses from epoch {len(reached)} on ({start}) are not judged: {why}"] = None
        elif limit < wanted:
            why = "it takes the reference too long" if limit == affordable else "as was asked"
            self.cut[f"losses from epoch {limit + 1} on ({start}) not trained again: {why}"] = None
        return reached


def _start(record: Record, spec: CorpusSpec | None) -> Start:
    trial, protocol = record.trial, record.trial.protocol
    if trial.init != "shared":
        raise NotReplayed(f"{trial.init} initial parameters are not in the record")
    text = _text(spec)
    if spec is None or text is None or text.digest != trial.corpus_digest:
        raise NotReplayed(f"corpus {trial.corpus!r} is not at hand")
    part = protocol.splits(len(text.ids))["train"]
    model = protocol.model(record.vocabulary_size)
    place = (part.start, part.stop)
    return Start(spec, place, model, protocol.training, trial.seed, trial.dtype)


def _wanted(record: Record) -> int:
    """Up to the last epoch that was audited."""
    if record.audit is None:
        return EPOCHS
    ends = (part.last for part in record.audit.parts if part.what == "segment")
    return max(EPOCHS, *ends, 0)


def _distance(one: Parameters, other: Parameters) -> float:
    """Relative to the size of ``other``; infinite where a value is not finite."""
    pairs = list(zip(one.items(), other.items(), strict=True))
    off = math.hypot(*(float(np.linalg.norm(a.astype(np.float64) - b)) for (_, a), (_, b) in pairs))
    ratio = off / math.hypot(*(float(np.linalg.norm(b)) for _, (_, b) in pairs))
    return ratio if math.isfinite(ratio) else math.inf


@lru_cache(maxsize=8)
def _text(spec: CorpusSpec | None) -> Corpus | None:
    try:
        return corpora.resolve(spec) if spec else None
    except UserError:
        return None
