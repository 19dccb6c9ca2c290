"""Records: what is written is what is read, and nothing else is taken for one."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from lstmbench.analysis import flags
from lstmbench.analysis.tables import tables_from
from lstmbench.protocol import D2L
from lstmbench.records.migration import CURRENT
from lstmbench.records.record import (
    Continuation,
    Evaluation,
    Flag,
    Parity,
    Phases,
    Record,
    StoppingRule,
    SystemLoad,
)
from lstmbench.report.text import render

Make = Callable[..., Any]


def test_reading_gives_what_was_written(make_record: Make) -> None:
    record = make_record(
        evaluations=[Evaluation(split="test", epoch=5, nats=1.5, tokens=3, source_nats=1.25)],
        continuations=[Continuation(prefix="time traveller", text=" said the")],
        digests={"parameters": "f" * 64},
        runtime={"kernel": "oneDNN"},
        environment={"KERAS_BACKEND": "jax"},
        log_tail="a line\nanother \x00 \u2028 \U0001f525",
    )
    assert Record.model_validate_json(record.model_dump_json()) == record


def test_overrides_read_back_as_they_were_given(make_record: Make) -> None:
    """What is printed after the run and what ``report`` prints later must be the same."""
    protocol = D2L.override({"epochs": 5, "learning_rate": 0.5})
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
        {"schema_version": CURRENT + 1},
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
    "reason",
    ["parity", "audit", "exception", "nan", "signal", "exit", "timeout", "memory", "interface"],
)
def test_every_reason_of_the_design_is_there(make_record: Make, reason: str) -> None:
    assert make_record(status="failed", reason=reason).reason == reason


def test_records_are_json_only(make_record: Make, tmp_path: Path) -> None:
    from lstmbench.records.store import Run

    run = Run.create(tmp_path / "store", "d2l")
    run.write_record(make_record())
    (path,) = (run.folder / "records").iterdir()
    assert path.suffix == ".json"
    assert json.loads(path.read_text())["schema_version"] == CURRENT


def test_a_record_of_version_1_is_upgraded_and_reads_as_one_of_today(
    make_record: Callable[..., Record],
) -> None:
    old = json.loads(make_record(memory={"imported": 1, "peak_with_parity": 5}).model_dump_json())
    old["schema_version"] = 1
    old["memory"] = {"imported": 1, "peak": 5}
    for later in ("joules", "host_seconds", "processor_seconds"):
        del old["epochs"][later]
    for later in ("peak", "system_load", "activity", "challenge", "audit"):
        del old[later]
    del old["source"]["stopping_rule"]
    record = Record.model_validate(old)
    assert record.schema_version == CURRENT
    assert record == make_record(memory={"imported": 1, "peak_with_parity": 5})


#: As version 3 wrote them; never to be changed.
VERSION_3 = Path(__file__).parents[1] / "data" / "record-3.json"


def test_a_record_of_version_3_has_its_new_names() -> None:
    raw = json.loads(VERSION_3.read_text())
    record = Record.model_validate(raw)
    assert record.flags == [Flag.INTERFERENCE, Flag.DRIFTING]
    assert record.interleaved_with == raw["companions"]
    assert record.source.stopping_rule == StoppingRule(precision=0.02, seconds=660)
    assert record.system_load == SystemLoad(others=0.25, stolen=0.0)
    assert record.peak is not None
    assert record.peak.matmul.seconds == raw["peak"]["product"]["seconds"]
    assert record.evaluations[0].source_nats == 19000.25
    assert record.phases.known() == raw["phases"]
    assert record.memory.known() == raw["memory"]
    assert record.digests.known() == raw["digests"]


def test_a_record_of_version_4_has_no_audit_and_is_not_blamed_for_it(make_record: Make) -> None:
    old = json.loads(make_record(flags=[Flag.DRIFTING]).model_dump_json())
    old["schema_version"] = 4
    for later in ("host_seconds", "processor_seconds"):
        del old["epochs"][later]
    for later in ("activity", "challenge", "audit"):
        del old[later]
    record = Record.model_validate(old)
    assert record == make_record(flags=[Flag.DRIFTING])
    assert (record.activity, record.challenge, record.audit) == (None, None, None)
    assert flags.raised(record) == []


def test_a_broken_interface_has_its_new_name() -> None:
    raw = {**json.loads(VERSION_3.read_text()), "status": "failed", "reason": "protocol"}
    assert Record.model_validate(raw).reason == "interface"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("surroundings", "system_load"),
        ("companions", "interleaved_with"),
        ("source.aim", "source.stopping_rule"),
        ("peak.product", "peak.matmul"),
        ("evaluations.0.floor", "evaluations.0.source_nats"),
    ],
)
def test_a_field_under_its_old_and_its_new_name_is_refused(old: str, new: str) -> None:
    raw = part = json.loads(VERSION_3.read_text())
    *parents, name = old.split(".")
    for parent in parents:
        part = part[int(parent) if parent.isdecimal() else parent]
    part[new.rpartition(".")[2]] = part[name]
    with pytest.raises(ValidationError, match=old):
        Record.model_validate(raw)


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_a_record_of_version_3_with_any_value_in_a_field_is_read_or_refused(
    data: st.DataObject,
) -> None:
    raw = json.loads(VERSION_3.read_text())
    field = data.draw(st.sampled_from(sorted(raw.keys() - {"schema_version"})))
    scalars = st.none() | st.booleans() | st.integers() | st.text(max_size=3)
    values = st.recursive(scalars, lambda v: st.lists(v) | st.dictionaries(st.text(max_size=3), v))
    raw[field] = data.draw(values)
    with contextlib.suppress(ValidationError):
        Record.model_validate(raw)


def test_what_is_unknown_is_left_out(make_record: Make) -> None:
    record = make_record(status="failed", phases={"import": 1.5}, memory={"peak": 5})
    written = json.loads(record.model_dump_json())
    assert written["phases"] == {"import": 1.5}
    assert written["memory"] == {"peak": 5}
    assert written["digests"] == {}


@pytest.mark.parametrize("missing", ["import", "build", "prepare"])
def test_start_up_is_known_if_all_its_phases_are(missing: str) -> None:
    seconds = {"import": 1.5, "build": 0.25, "prepare": 2.5, "parity": 9.0}
    assert Phases.model_validate(seconds).start_up == 4.25
    del seconds[missing]
    assert Phases.model_validate(seconds).start_up is None


RELATIONS: list[tuple[dict[str, Any], str]] = [
    ({"epochs": {"seconds": [0.1] * 2, "nats": [1.0], "tokens": [5] * 2}}, "expected 2 nats"),
    ({"epochs": {"seconds": [0.1], "nats": [1.0], "tokens": []}}, "expected 1 tokens"),
    (
        {"epochs": {"seconds": [0.1], "nats": [1.0], "tokens": [5], "joules": [1.0] * 2}},
        "expected 1 joules, one for each epoch, got 2",
    ),
    (
        {"epochs": {"seconds": [0.1], "nats": [1.0], "tokens": [5], "host_seconds": [1.0] * 2}},
        "expected 1 host_seconds, one for each epoch, got 2",
    ),
    ({"epochs": {}}, "epochs: expected at least one, as status is ok"),
    (
        {"epochs": {"seconds": [0.1] * 501, "nats": [1.0] * 501, "tokens": [5] * 501}},
        "epochs: expected at most 500, as the protocol says, got 501",
    ),
    ({"phases": {"import": 1.0, "build": 1.0}}, "phases: expected import, build and prepare"),
    ({"overrides": {"epochs": 10**4000}}, "trial.overrides.epochs: expected at most"),
    ({"overrides": {"learning_rate": -1e300}}, "trial.overrides.learning_rate: expected at most"),
]


@pytest.mark.parametrize(("change", "fault"), RELATIONS)
def test_fields_that_contradict_each_other_are_refused(
    make_record: Make, change: dict[str, Any], fault: str
) -> None:
    with pytest.raises(ValidationError, match=fault):
        make_record(**change)
