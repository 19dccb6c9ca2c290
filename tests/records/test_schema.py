"""The JSON Schema of records: current, and true of the records that there are."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from lstmbench.records.record import (
    Activity,
    Audit,
    AuditPart,
    Challenge,
    Evaluation,
    Parity,
)
from lstmbench.records.schema import schema_text

Make = Callable[..., Any]
FILE = Path(__file__).parents[2] / "docs" / "record.schema.json"


@pytest.fixture(scope="module")
def validator() -> Any:
    schema = json.loads(schema_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def test_the_published_schema_is_current() -> None:
    """`lstmbench schema > docs/record.schema.json` makes it so."""
    assert FILE.read_text() == schema_text()


def test_the_command_prints_it(call: Any) -> None:
    assert call("schema").stdout == schema_text()


def test_records_are_what_the_schema_says(make_record: Make, validator: Any) -> None:
    infinite = Parity(
        worst=float("inf"),
        tolerance=1e-4,
        errors={"text: loss": float("inf")},
        shape=(8, 32, 35),
        cut=False,
    )
    errors = {"parameters": float("inf"), "loss 1": 1e-6}
    part = AuditPart(what="segment", first=1, last=2, errors=errors, allowed={"loss 1": 1e-5})
    record = make_record(
        parity=infinite,
        evaluations=[Evaluation(split="test", epoch=5, nats=1.5, tokens=3)],
        activity=Activity(seconds=1.5, processor_seconds=0.0, remarks=["stopped a:eager"]),
        challenge=Challenge(seconds=[0.5], processor_seconds=[0.25]),
        audit=Audit(nonce="0f" * 16, parts=[part], left_out=["epoch 3: too long"]),
    )
    validator.validate(json.loads(record.model_dump_json()))


@pytest.mark.parametrize(
    ("field", "value"),
    [("status", "splendid"), ("vocabulary_size", "28"), ("unheard_of", 1), ("epochs", [])],
)
def test_what_is_no_record_is_not(
    make_record: Make, validator: Any, field: str, value: Any
) -> None:
    raw = {**json.loads(make_record().model_dump_json()), field: value}
    with pytest.raises(jsonschema.ValidationError):
        validator.validate(raw)
