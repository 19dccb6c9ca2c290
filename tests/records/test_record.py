"""Records: what is written is what is read, and nothing else is taken for one."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from lstmbench.analysis.tables import tables_from
from lstmbench.protocol import D2L
from lstmbench.records.record import Continuation, Evaluation, Parity, Record
from lstmbench.report.text import render

Make = Callable[..., Any]


def test_reading_gives_what_was_written(make_record: Make) -> None:
    record = make_record(
        evaluations=[Evaluation(split="test", epoch=5, nats=1.5, tokens=3, floor=1.25)],
        continuations=[Continuation(prefix="time traveller", text=" said the")],
        digests={"parameters": "f" * 64},
        runtime={"kernel": "oneDNN"},
        environment={"KERAS_BACKEND": "jax"},
        log_tail="a line\nanother \x00 \u2028 \U0001f525",
    )
    assert Record.model_validate_json(record.model_dump_json()) == record


def test_overrides_read_back_as_they_were_given(make_record: Make) -> None:
    """What is printed after the run and what ``report`` prints later must be the same."""
    protocol = D2L.override({"epochs": 4, "learning_rate": 0.5})
    record = make_record(protocol=protocol, overrides=protocol.overrides(D2L))
    again = Record.model_validate_json(record.model_dump_json())
    assert render(tables_from([again]), "plain") == render(tables_from([record]), "plain")
    assert again.trial.name == record.trial.name


def test_an_infinite_parity_error_can_be_read_back(make_record: Make) -> None:
    parity = Parity(
        worst=math.inf,
        tolerance=1e-4,
        errors={"text: loss": math.inf},
        shape=(8, 32, 35),
        cut=False,
    )
    record = make_record(status="failed", reason="parity", parity=parity)
    assert Record.model_validate_json(record.model_dump_json()).parity == parity


def test_records_are_frozen(make_record: Make) -> None:
    with pytest.raises(ValidationError):
        make_record().status = "failed"


@pytest.mark.parametrize(
    "change",
    [
        {"schema_version": 4},
        {"status": "splendid"},
        {"reason": "bad luck"},
        {"unheard_of": 1},
        {"epochs": {"seconds": ["soon"]}},
        {"parity": {"worst": 1.0}},
    ],
)
def test_what_is_no_record_is_refused(make_record: Make, change: dict[str, Any]) -> None:
    raw = {**json.loads(make_record().model_dump_json()), **change}
    with pytest.raises(ValidationError):
        Record.model_validate_json(json.dumps(raw))


@pytest.mark.parametrize("status", ["ok", "unavailable", "failed", "interrupted"])
def test_every_status_of_the_design_is_there(make_record: Make, status: str) -> None:
    assert make_record(status=status).status == status


@pytest.mark.parametrize(
    "reason", ["parity", "exception", "nan", "signal", "exit", "timeout", "memory", "protocol"]
)
def test_every_reason_of_the_design_is_there(make_record: Make, reason: str) -> None:
    assert make_record(status="failed", reason=reason).reason == reason


def test_records_are_json_only(make_record: Make, tmp_path: Path) -> None:
    from lstmbench.records.store import Run

    run = Run.create(tmp_path / "store", "d2l")
    run.write_record(make_record())
    (path,) = (run.folder / "records").iterdir()
    assert path.suffix == ".json"
    assert json.loads(path.read_text())["schema_version"] == 3


def test_a_record_of_version_1_is_upgraded_and_reads_as_one_of_today(make_record):
    old = json.loads(make_record(memory={"imported": 1, "peak_with_parity": 5}).model_dump_json())
    old["schema_version"] = 1
    old["memory"] = {"imported": 1, "peak": 5}
    for later in ("joules",):
        del old["epochs"][later]
    del old["peak"], old["source"]["aim"], old["surroundings"]
    record = Record.model_validate(old)
    assert record.schema_version == 3
    assert record == make_record(memory={"imported": 1, "peak_with_parity": 5})
