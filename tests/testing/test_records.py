"""The factory of records that plugins test with."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from lstmbench.analysis.tables import tables_from
from lstmbench.records.parse import parse
from lstmbench.records.record import Record, Source
from lstmbench.records.trial import Trial
from lstmbench.testing import make_record


def test_a_made_record_is_valid_and_makes_a_row() -> None:
    record = make_record()
    assert parse("place", record.model_dump_json().encode()).record == record
    (table,) = tables_from([record])
    assert len(table.rows) == 1


def test_no_field_of_one_part_has_the_name_of_a_field_of_another() -> None:
    of_record = set(Record.model_fields) - {"stack"}  # the factory says the trial's own, too
    parts = [of_record, set(Source.model_fields), {f.name for f in fields(Trial)}]
    assert sum(map(len, parts)) == len(set[str]().union(*parts))


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"backend": "mine"}, "trial"),
        ({"environment": {"X": "1"}}, "trial"),
        ({"dirty": True}, "source"),
        ({"run": "another"}, "source"),
        ({"message": "it broke"}, None),
    ],
)
def test_a_keyword_replaces_the_field_of_that_name(
    change: dict[str, Any], place: str | None
) -> None:
    record = make_record(**change)
    ((name, value),) = change.items()
    assert getattr(getattr(record, place) if place else record, name) == value


def test_wrong_keywords_and_values_are_errors() -> None:
    with pytest.raises(TypeError, match="has a field 'nobackend'"):
        make_record(nobackend="mine")
    with pytest.raises(ValidationError):
        make_record(status="fine")


def test_the_example_of_the_guide_works() -> None:
    guide = (Path(__file__).parents[2] / "docs" / "plugin-guide.md").read_text(encoding="utf-8")
    (example,) = (b for b in re.findall(r"```python\n(.*?)```", guide, re.S) if "make_record" in b)
    space: dict[str, Any] = {}
    exec(example, space)
    space["test_my_format"]()
