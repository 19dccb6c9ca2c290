"""Records that are true in every field, runs of them, and stores made from those."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lstmbench import __version__
from lstmbench.audit.draws import segments
from lstmbench.batches import draw_offsets, partition
from lstmbench.corpora import corpus
from lstmbench.plugin import manager
from lstmbench.protocol import D2L, HELDOUT, Protocol
from lstmbench.records.record import (
    Activity,
    Audit,
    AuditPart,
    Challenge,
    Continuation,
    Epochs,
    Evaluation,
    Machine,
    Parity,
    Record,
    Status,
)
from lstmbench.records.store import Run
from lstmbench.reference import draw_parameters
from lstmbench.testing import make_record
from lstmbench.verify.known import ReferenceData

SMALL = {"epochs": 12, "hidden_size": 4, "batch_size": 4, "steps": 5}
FACTS = {"processor": "Some CPU", "physical_cores": 2, "gpus": []}
TENSORS = ("layer0.input_kernel", "layer0.recurrent_kernel", "layer0.bias")
QUANTITIES = ("loss", *TENSORS, "output_kernel", "output_bias")


NONCE = "0123456789abcdef" * 2


def audit_of(record: Record) -> Audit:
    """As an auditor leaves it that found nothing."""

    def part(what: str, last: int, first: int | None = None) -> AuditPart:
        quantities = ["text"] if what == "text" else ["parameters", "progress", "loss 1"]
        fields = {
            "what": what,
            "first": first,
            "last": last,
            "errors": dict.fromkeys(quantities, 1e-6),
            "allowed": dict.fromkeys(quantities, 1e-4),
        }
        return AuditPart.model_validate(fields)

    epochs = record.trial.protocol.epochs
    drawn = segments(NONCE, record.trial.name, epochs)
    parts = [part("challenge", epochs), part("text", epochs)]
    parts += [part("segment", segment.last, segment.first) for segment in drawn]
    return Audit(nonce=NONCE, parts=parts)


def grouped(records: Sequence[Record]) -> list[Record]:
    """Each names the others of its group."""

    def others(record: Record) -> list[str]:
        mine = (record.source.run, record.trial.group_key())
        return [
            other.trial.name
            for other in records
            if other is not record and (other.source.run, other.trial.group_key()) == mine
        ]

    return [r.model_copy(update={"interleaved_with": others(r)}) for r in records]


def true_record(
    preset: Protocol = D2L, text: corpus.CorpusSpec = corpus.BUNDLED, **changes: Any
) -> Record:
    """As a run would leave it; keywords replace fields of the trial, the source or the record."""
    made = corpus.resolve(text)
    protocol = changes.setdefault("protocol", preset.override(SMALL))
    seed, dtype = changes.setdefault("seed", 0), changes.setdefault("dtype", "float32")
    model, parts = protocol.model(len(made.vocabulary)), protocol.splits(len(made.ids))

    def tokens(split: str) -> int:
        ids = made.ids[parts[split]]
        return partition(ids, protocol.batch_size, protocol.steps).tokens

    def bound(split: str) -> float | None:
        if made.surprisal is None:
            return None
        places = np.arange(parts[split].start, parts[split].stop)
        predicted = partition(places, protocol.batch_size, protocol.steps).targets
        return float(made.surprisal[predicted].sum())

    expected = [("validation", 5), ("validation", 10), ("test", 12)] if preset is HELDOUT else []
    count = tokens("train")
    errors = {f"{label}: {q}": 1e-6 for label in ("text", "clipped") for q in QUANTITIES}
    offsets = json.dumps(draw_offsets(seed, protocol.epochs, protocol.steps))
    speed = changes.pop("speed", 1.0)
    seconds = [0.5 / speed] + [(0.1 + 0.01 * (i * 7 % 5) + 1e-4 * i) / speed for i in range(11)]
    audited = {
        "activity": Activity(seconds=2.0, processor_seconds=0.01),
        "challenge": Challenge(seconds=[0.12 / speed], processor_seconds=[0.11 / speed]),
    }
    record = {
        "overrides": protocol.overrides(preset),
        "corpus": made.name,
        "corpus_digest": made.digest,
        "command": ["lstmbench", "run", "--store", ".../runs", "--backends", "numpy"],
        "machine": Machine(
            digest=hashlib.sha256(json.dumps(FACTS, sort_keys=True).encode()).hexdigest(),
            facts=FACTS,
            versions={"python": "3.11.0", "lstmbench": __version__},
        ),
        "vocabulary_size": len(made.vocabulary),
        "parameters": model.parameter_count,
        "memory": {"imported": 2**20, "peak": 2**21},
        "parity": Parity(
            worst=5e-6,
            tolerance=1e-4,
            errors={**errors, "text: loss": 5e-6},
            shape=(count // 20, 4, 5),
            cut=False,
        ),
        "epochs": Epochs(
            seconds=seconds,
            nats=[count * (3.0 - 0.1 * i) for i in range(12)],
            tokens=[count] * 12,
            host_seconds=[second + 0.001 for second in seconds],
            processor_seconds=[0.9 * second for second in seconds],
        ),
        "evaluations": [
            Evaluation(
                split=s, epoch=e, nats=2.5 * tokens(s), tokens=tokens(s), source_nats=bound(s)
            )
            for s, e in expected
        ],
        "continuations": [Continuation(prefix=p, text="x" * 50) for p in protocol.prefixes],
        "digests": {
            "offsets": hashlib.sha256(offsets.encode()).hexdigest(),
            "parameters": draw_parameters(model, seed).astype(dtype).digest(),
        },
        "runtime": {"kernel": "BLAS"},
        "log_tail": "a line\nanother",
    }
    left = make_record(**{**record, **audited, **changes})
    if left.status != Status.OK or "audit" in changes:
        return left
    return left.model_copy(update={"audit": audit_of(left)})


@pytest.fixture(scope="session")
def make_true() -> Callable[..., Record]:
    return true_record


@pytest.fixture(scope="session")
def known() -> ReferenceData:
    """What records are checked against, without plugins."""
    specs = {spec.name: spec for spec in (corpus.TIME_MACHINE, corpus.BUNDLED, corpus.MARKOV)}
    return ReferenceData({"d2l": D2L, "heldout": HELDOUT}, specs)


@pytest.fixture(scope="session")
def pool() -> list[Record]:
    """Records of two runs: two tables, a repeat, a failure."""
    failure: dict[str, Any] = {
        "status": "failed",
        "reason": "exception",
        "message": "it broke",
        "epochs": Epochs(),
        "continuations": [],
        "phases": {},
        "activity": None,
        "challenge": None,
    }
    records = [
        true_record(),
        true_record(backend="fast", mode="jit", speed=2.0),
        true_record(backend="fast", mode="eager", speed=1.5),
        true_record(repeat=1, speed=1.01),
        true_record(backend="broken", **failure),
        true_record(init="native", run="20220520-120000-d2l-0001"),
        true_record(HELDOUT, corpus.MARKOV, run="20220520-120000-d2l-0001"),
    ]
    return grouped(records)


def write_run(folder: Path, records: Sequence[Record]) -> Path:
    """A run's folder with these records."""
    run = Run(folder)
    (folder / "records").mkdir(parents=True)
    for record in records:
        run.write_record(record)
    names = [{"name": record.trial.name} for record in records]
    run.write_plan({"groups": [names], "unavailable": []})
    return folder


@pytest.fixture(scope="session")
def runs() -> Callable[[Path, Sequence[Record]], Path]:
    return write_run


@pytest.fixture
def no_plots(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing takes a while."""
    from lstmbench.publish import plots

    monkeypatch.setattr(plots, "MAX_PLOTS", 0)
    monkeypatch.setattr(plots, "MAX_PLOTS_OF_LONG", 0)


@pytest.fixture(autouse=True)
def _no_foreign_plugins(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What is installed beside the host changes nothing."""
    import importlib.metadata

    monkeypatch.setattr(importlib.metadata, "entry_points", lambda **_: [])
    manager.load.cache_clear()
    yield
    manager.load.cache_clear()


def contents(folder: Path) -> dict[str, bytes]:
    """Every file by its path."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.fixture(scope="session")
def files() -> Callable[[Path], dict[str, bytes]]:
    return contents
