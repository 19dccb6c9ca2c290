"""What must hold in a record beyond its types, so that figures can be computed from it at all."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from lstmbench.protocol import OVERRIDABLE, Protocol
from lstmbench.records.record import Epochs, Record, Status
from lstmbench.records.trial import DTYPES, Trial

#: No epoch is shorter or longer, in seconds; what lies beyond is no measurement.
DURATION_BOUNDS = (1e-9, 1e9)
#: Counts and sizes up to here are exact in every program that reads JSON.
MAX_COUNT = 2**53
#: Phases that start-up consists of.
START_UP = ("import", "build", "prepare")


def fault(record: Record) -> str | None:
    """The first field that no figure could be computed from and why, or ``None``."""
    return next(_faults(record), None)


def _faults(record: Record) -> Iterator[str]:
    yield from _series(record.epochs)
    yield from _trial(record.trial)
    if not 0 < record.vocabulary_size <= MAX_COUNT:
        yield f"vocabulary_size: {record.vocabulary_size} is no size"
    if record.status == Status.OK:
        if not record.epochs.seconds:
            yield "epochs: status is ok, yet there is no epoch"
        for phase in START_UP:
            if phase not in record.phases.known():
                yield f"phases.{phase}: missing, though status is ok"
    for name, value in record.phases.known().items():
        if not 0 <= value <= DURATION_BOUNDS[1]:
            yield f"phases.{name}: {value} is no duration"
    for name, size in record.memory.known().items():
        if not 0 <= size <= MAX_COUNT:
            yield f"memory.{name}: {size} is no size"
    for index, evaluation in enumerate(record.evaluations):
        if not 0 < evaluation.tokens <= MAX_COUNT:
            yield f"evaluations.{index}.tokens: {evaluation.tokens} is no count"
        for name in ("nats", "source_nats"):
            nats = getattr(evaluation, name)
            if nats is not None and not math.isfinite(nats):
                yield f"evaluations.{index}.{name}: {nats} is no loss"
    for name, part in record.peak or ():
        if part is not None:
            yield from _durations(f"peak.{name}.seconds", part.seconds)
    if record.peak is not None and not 0 < record.peak.matmul.side <= MAX_COUNT:
        yield f"peak.matmul.side: {record.peak.matmul.side} is no size"
    copies = record.peak.copies if record.peak else None
    if copies is not None and not 0 < copies.size <= MAX_COUNT:
        yield f"peak.copies.size: {copies.size} is no size"


def _trial(trial: Trial) -> Iterator[str]:
    if trial.dtype not in DTYPES:
        yield f"trial.dtype: {trial.dtype!r} is none of {', '.join(DTYPES)}"
    for name, value in trial.overrides.items():
        if not abs(value) <= MAX_COUNT:
            yield f"trial.overrides.{name}: {value} is beyond anything"
    for name, count in (("seed", trial.seed), ("repeat", trial.repeat)):
        if not 0 <= count < 2**63:
            yield f"trial.{name}: {count} is out of range"
    if not 0 < trial.threads <= MAX_COUNT:
        yield f"trial.threads: {trial.threads} is out of range"
    yield from _protocol(trial.protocol)


def _protocol(protocol: Protocol) -> Iterator[str]:
    ranges = {
        **OVERRIDABLE,
        **dict.fromkeys(("train_fraction", "validation_fraction", "test_fraction"), (0, 1)),
        **dict.fromkeys(("clip_norm", "validate_every", "continuation", "repeats"), (0, MAX_COUNT)),
        "budget": (0, DURATION_BOUNDS[1]),
    }
    for name in ("train_tokens", "precision"):
        if getattr(protocol, name) is not None:
            ranges[name] = (0, MAX_COUNT)
    for name, (least, most) in ranges.items():
        value = getattr(protocol, name)
        if not least <= value <= most or (value == 0 and name in OVERRIDABLE):
            yield f"trial.protocol.{name}: {value} is out of range"


def _series(epochs: Epochs) -> Iterator[str]:
    count = len(epochs.seconds)
    for name in ("nats", "tokens", "joules"):
        length = len(getattr(epochs, name))
        if length != count and (length or name != "joules"):
            yield f"epochs.{name}: {length} values for {count} epochs"
    yield from _durations("epochs.seconds", epochs.seconds)
    for index, tokens in enumerate(epochs.tokens):
        if not 0 < tokens <= MAX_COUNT:
            yield f"epochs.tokens.{index}: {tokens} is no count"
    for index, nats in enumerate(epochs.nats):
        if not math.isfinite(nats):
            yield f"epochs.nats.{index}: {nats} is no loss"
    for index, joules in enumerate(epochs.joules):
        if not 0 <= joules <= MAX_COUNT:
            yield f"epochs.joules.{index}: {joules} is no energy"


def _durations(field: str, values: Sequence[float]) -> Iterator[str]:
    least, most = DURATION_BOUNDS
    for index, value in enumerate(values):
        if not least <= value <= most:
            yield f"{field}.{index}: {value} is no duration"
