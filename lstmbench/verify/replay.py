"""Losses that records claim from shared initial parameters, trained again by the reference.

Records that start alike share one path: it is walked once, as far as the longest of them asks for.
Later epochs than those are bound by the audit that a record holds, and by nothing in records that
hold none.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import lru_cache
from typing import Any

import numpy as np

from lstmbench import reference
from lstmbench.audit.comparison import allowances, rounding_dtype
from lstmbench.audit.replay import train, train_epoch
from lstmbench.backend import ModelConfig, Parameters, TrainingConfig
from lstmbench.batches import draw_offsets, partition, window_count
from lstmbench.corpora import corpus as corpora
from lstmbench.corpora.corpus import Corpus
from lstmbench.corpora.spec import CorpusSpec
from lstmbench.errors import UserError
from lstmbench.optimizers import Optimizer
from lstmbench.preparation import Preparation
from lstmbench.protocol import SAMPLING, WORDING, Protocol
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

    ``splits`` are places in the text, ``train`` and what is evaluated: ``validation`` after every
    ``every`` epochs, ``test`` after the ``last`` one.
    """

    spec: CorpusSpec
    preparation: Preparation
    splits: tuple[tuple[str, int, int], ...]
    every: int
    last: int
    model: ModelConfig
    protocol: Protocol
    seed: int
    dtype: str

    @property
    def training(self) -> TrainingConfig:
        return self.protocol.training

    def __str__(self) -> str:
        return (
            f"{self.spec.name}, hidden size {self.model.hidden_size}, seed {self.seed}, "
            f"{self.dtype}"
        )


@dataclass(frozen=True)
class Loss:
    """Nats of the reference in float64, and the relative error that is allowed; ``None`` where
    rounding has carried correct trainings so far apart that nothing can be said."""

    nats: float
    allowed: float | None

    def explains(self, claimed: float) -> bool:
        """Whether correct work may have that loss."""
        if self.allowed is None:
            return True
        return abs(claimed - self.nats) <= self.allowed * abs(self.nats)


@dataclass(frozen=True)
class Epoch:
    """The loss of an epoch, and of the splits that are evaluated after it."""

    train: Loss
    evaluations: Mapping[str, Loss]


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
        while len(self.done) < epochs and not (self.done and self.done[-1].train.allowed is None):
            self.done.append(next(self._walk))
            if time.monotonic() - told >= SECONDS:
                told = time.monotonic()
                tell(f"training again: {self.start}: epoch {len(self.done)} of {epochs}")
        return self.done[:epochs]

    def _walked(self) -> Iterator[Epoch]:
        start, text = self.start, _text(self.start.spec, self.start.preparation)
        assert text is not None
        ids = {name: text.ids[first:stop] for name, first, stop in start.splits}
        rounding = rounding_dtype(start.dtype)
        steps = start.training.steps
        drawn = reference.draw_parameters(start.model, start.seed)
        dtypes = ("float64", rounding)
        exact, rounded = (
            train(drawn, (), start.training, dtype=dtype).parameters for dtype in dtypes
        )
        optimizers = Optimizer(start.training), Optimizer(start.training)
        for index in itertools.count():
            offset = draw_offsets(start.seed, index + 1, steps)[index]
            batches = partition(ids["train"], start.training.batch_size, steps, offset)
            for optimizer in optimizers:
                optimizer.learning_rate = start.protocol.rate(index + 1)
            exact, nats = train_epoch(exact, batches, optimizers[0])
            rounded, other = train_epoch(rounded, batches, optimizers[1], rounding)
            far = _distance(rounded, exact)
            evaluated = {}
            for name in self._due(index + 1):
                batches = partition(ids[name], start.training.batch_size, steps)
                right, near = (reference.evaluate(p, batches).nats for p in (exact, rounded))
                evaluated[name] = _loss(right, near, far, start.dtype)
            yield Epoch(_loss(nats, other, far, start.dtype), evaluated)

    def _due(self, epoch: int) -> list[str]:
        """The splits that are evaluated after an epoch."""
        due = {
            "validation": bool(self.start.every) and epoch % self.start.every == 0,
            "test": epoch == self.start.last,
        }
        return [name for name, _, _ in self.start.splits if due.get(name)]


def _loss(nats: float, rounded: float, far: float, dtype: str) -> Loss:
    """One training is one sample: by luck its loss may be right though its parameters are ``far``
    off, so a loss may err as much as they do."""
    off = max(abs(rounded / nats - 1), far)
    off = off if math.isfinite(off) else math.inf
    return Loss(nats, allowances({"loss": off}, dtype).get("loss"))


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
        reached = self._reach(start, min(_wanted(record), len(claimed)))
        claims = [
            *((f"epochs.nats.{i}", claimed[i], epoch.train) for i, epoch in enumerate(reached)),
            *(
                (f"evaluations.{i}.nats", evaluation.nats, loss)
                for i, evaluation in enumerate(record.evaluations)
                if evaluation.epoch <= len(reached)
                and (loss := reached[evaluation.epoch - 1].evaluations.get(evaluation.split))
            ),
        ]
        wrong = [claim for claim in claims if not claim[2].explains(claim[1])]
        for field_name, nats, loss in wrong[:1]:
            more = f" (and {len(wrong) - 1} more losses)" if len(wrong) > 1 else ""
            yield field_name, f"{nats}, the reference trains to {loss.nats}{more}"

    def _reach(self, start: Start, wanted: int) -> list[Epoch]:
        ((first, stop),) = ((f, s) for name, f, s in start.splits if name == "train")
        batch, steps = start.training.batch_size, start.training.steps
        tokens = window_count(stop - first, batch, steps) * batch * steps
        operations = 6 * start.model.parameter_count * max(1, tokens)
        affordable = int(MAX_OPERATIONS // operations)
        if not affordable:
            raise NotReplayed("a model of that size takes the reference too long")
        limit = min(affordable, self.max_epochs or affordable)
        path = self._paths.setdefault(start, Path(start))
        reached = path.reach(min(wanted, limit), self.tell)
        if reached[-1].train.allowed is None:
            why = "rounding has carried correct trainings too far apart"
            self.cut[f"losses from epoch {len(reached)} on ({start}) are not judged: {why}"] = None
        elif limit < wanted:
            why = "it takes the reference too long" if limit == affordable else "as was asked"
            self.cut[f"losses from epoch {limit + 1} on ({start}) not trained again: {why}"] = None
        return reached


def _start(record: Record, spec: CorpusSpec | None) -> Start:
    trial, protocol = record.trial, record.trial.protocol
    if trial.own_model:
        raise NotReplayed(f"model {trial.model!r} is its plugin's own")
    if trial.init != "shared":
        raise NotReplayed(f"{trial.init} initial parameters are not in the record")
    if protocol.dropout:
        raise NotReplayed("which numbers were dropped is not in the record")
    if protocol.schedule == "validation":
        raise NotReplayed("its learning rate followed its own validation")
    text = _text(spec, trial.preparation)
    if spec is None or text is None or text.digest != trial.corpus_digest:
        raise NotReplayed(f"corpus {trial.corpus!r} is not at hand")
    model = protocol.model(record.vocabulary_size)
    try:
        splits = text.splits(protocol)
    except UserError as error:
        raise NotReplayed(str(error)) from error
    return Start(
        spec=spec,
        preparation=trial.preparation,
        splits=tuple((name, part.start, part.stop) for name, part in splits.items()),
        every=protocol.validate_every,
        last=protocol.epochs if "test" in splits else 0,
        model=model,
        protocol=replace(protocol, **_WITHOUT_PART),
        seed=trial.seed,
        dtype=trial.dtype,
    )


#: Of a protocol, what has no part in how the reference trains: records that differ in nothing else
#: share a path.
_WITHOUT_PART: dict[str, Any] = {
    f.name: f.default
    for f in fields(Protocol)
    if f.name in (*WORDING, *SAMPLING, "epochs", "prefixes", "continuation")
} | {"summary": "", "name": ""}


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
def _text(spec: CorpusSpec | None, preparation: Preparation) -> Corpus | None:
    try:
        return corpora.resolve(spec, preparation) if spec else None
    except UserError:
        return None
