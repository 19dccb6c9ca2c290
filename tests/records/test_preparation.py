"""How a text was prepared decides what is compared, and is shown where it is not the course's."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from typing import Any

import pytest

from lstmbench.analysis import conditions
from lstmbench.analysis.tables import tables_from
from lstmbench.preparation import Preparation
from lstmbench.records.record import Record
from lstmbench.report.site import command
from lstmbench.report.text import render

Make = Callable[..., Record]
WORDS = Preparation("word", "none", 10_000, 3)
OTHERS = [
    Preparation("word"),
    Preparation("byte"),
    Preparation(normalise="none"),
    Preparation(vocabulary_size=20),
    Preparation(min_count=2),
]


def test_records_that_do_not_say_are_of_texts_as_the_course_prepares_them(
    make_record: Make,
) -> None:
    record = make_record()
    written = json.loads(record.model_dump_json())
    assert written["trial"].pop("preparation") == {
        "tokens": "char",
        "normalise": "letters",
        "vocabulary_size": None,
        "min_count": 1,
    }
    assert Record.model_validate({**written, "schema_version": 5}) == record


@pytest.mark.parametrize("other", OTHERS, ids=str)
def test_texts_that_are_prepared_otherwise_are_never_compared(
    make_record: Make, other: Preparation
) -> None:
    usual, changed = make_record(), make_record(preparation=other)
    for key in ("group_key", "row_key"):
        assert getattr(usual.trial, key)() != getattr(changed.trial, key)()
    assert len(tables_from([usual, changed])) == 2
    assert "corpus" in conditions.differences([usual], [changed])


def test_what_is_usual_is_not_mentioned(make_record: Make) -> None:
    trial = make_record().trial
    assert trial.corpus_title == "corpus time-machine (8424dbd9)"
    assert not any("--tokens" in part for part in command.command(trial))
    assert "min_count" not in render(tables_from([make_record()]), "csv")


def test_what_is_not_is(make_record: Make) -> None:
    record = make_record(corpus="mine.txt", preparation=WORDS)
    title = "tokens word normalise none vocabulary-size 10000 min-count 3"
    assert record.trial.corpus_title == f"corpus mine.txt (8424dbd9) {title}"
    (table,) = tables_from([record])
    assert title in table.title
    assert command.command(record.trial)[6:11] == [
        "--corpus mine.txt",
        "--tokens word",
        "--normalise none",
        "--vocabulary-size 10000",
        "--min-count 3",
    ]


def test_columns_of_csv_say_it_for_all_tables_if_one_needs_them(make_record: Make) -> None:
    tables = tables_from([make_record(), make_record(preparation=WORDS)])
    lines = list(csv.DictReader(io.StringIO(render(tables, "csv"))))
    assert {(line["tokens"], line["vocabulary_size"]) for line in lines} == {
        ("char", ""),
        ("word", "10000"),
    }


@pytest.mark.parametrize(
    "wrong", [{"tokens": "chars"}, {"vocabulary_size": 1}, {"min_count": 0}], ids=str
)
def test_what_no_option_can_say_is_no_record(make_record: Make, wrong: dict[str, Any]) -> None:
    written = json.loads(make_record().model_dump_json())
    written["trial"]["preparation"].update(wrong)
    with pytest.raises(ValueError, match=min(wrong)):
        Record.model_validate(written)
