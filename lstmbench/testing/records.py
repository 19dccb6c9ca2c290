"""Records to test formats and commands with."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from lstmbench.protocol import D2L
from lstmbench.records.record import Epochs, Machine, Parity, Record, Source, Stack
from lstmbench.records.trial import Trial


def make_record(**changes: Any) -> Record:
    """A valid record of five epochs, without running anything.

    Each keyword replaces a field of the record, of its trial or of its source::

        make_record(backend="mine", repeat=1, run="another", status="failed", reason="nan")

    ``stack`` is a :class:`lstmbench.records.record.Stack`, whose label the trial gets.

    The numbers are made up, so ``lstmbench verify`` rejects such a record. Raises
    :class:`TypeError` for a keyword that names no field, and pydantic's ``ValidationError`` for a
    value that no record may hold.
    """
    stack: Stack | None = changes.pop("stack", None)
    trial = {
        "stack": stack.label if stack else "",
        "backend": "numpy",
        "mode": "eager",
        "device": "cpu",
        "dtype": "float32",
        "protocol": D2L,
        "overrides": {},
        "init": "shared",
        "corpus": "time-machine",
        "corpus_digest": "8424dbd9" * 8,
        "seed": 0,
        "threads": 2,
        **_taken(changes, {field.name for field in fields(Trial)}),
    }
    source = {
        "run": "20220519-120000-d2l-abcd",
        "started": "2022-05-19T12:00:00+00:00",
        "command": ["lstmbench", "run"],
        "commit": "0" * 40,
        "dirty": False,
        "interleaved": True,
        **_taken(changes, Source.model_fields),
    }
    record = {
        "trial": Trial(**trial),
        "source": Source(**source),
        "machine": Machine(
            digest="m" * 64,
            facts={"processor": "Some CPU", "physical_cores": 2},
            versions={"python": "3.11.0"},
        ),
        "stack": stack,
        "vocabulary_size": 28,
        "parameters": 1000,
        "status": "ok",
        "phases": {"import": 1.5, "build": 0.25, "prepare": 2.5, "generate": 0.1},
        "parity": Parity(
            worst=5e-6, tolerance=1e-4, errors={"text: loss": 5e-6}, shape=(8, 32, 35), cut=False
        ),
        "epochs": Epochs(
            seconds=[0.5, 0.2, 0.4, 0.1, 0.3],
            nats=[30000.0, 25000.0, 20000.0, 15000.0, 10000.0],
            tokens=[8960] * 5,
        ),
        **_taken(changes, Record.model_fields),
    }
    if changes:
        raise TypeError(f"neither record, trial nor source has a field {min(changes)!r}")
    return Record(**record)


def _taken(changes: dict[str, Any], names: Any) -> dict[str, Any]:
    """The changes of those names, which are taken out of ``changes``."""
    return {name: changes.pop(name) for name in list(changes) if name in names}
