"""Rows that differ by stack: one table, one group, and a comparison of the stacks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from pydantic import ValidationError

from lstmbench.analysis import conditions
from lstmbench.analysis.matching import between, within
from lstmbench.analysis.tables import tables_from
from lstmbench.errors import UserError
from lstmbench.records.record import PluginCode, Record, Stack, digest_of_stack
from lstmbench.report.text import render

Make = Callable[..., Any]


def stack(label: str, **packages: str) -> Stack:
    return Stack(
        label=label,
        request=f"numpy {label}",
        python="3.11.0",
        packages=packages,
        digest=digest_of_stack("3.11.0", packages),
    )


OLD, NEW = stack("old", numpy="1.26.4"), stack("new", numpy="2.4.6")


def runs(make_row: Make) -> list[Record]:
    found = []
    for number in range(3):
        found += make_row([0.2, 0.21, 0.22], run=f"run-{number}", stack=OLD)
        found += make_row([0.1, 0.11, 0.12], run=f"run-{number}", stack=NEW)
    return found


def test_stacks_stand_in_one_table_each_with_its_label(make_row: Make) -> None:
    (table,) = tables_from(runs(make_row))
    assert [row.label for row in table.rows] == ["numpy:eager@new", "numpy:eager@old"]
    shown = render([table], "github")
    assert "| mode   | stack   | device" in shown
    assert "numpy:eager@old" in shown


def test_without_stacks_no_table_has_a_column_for_them(make_row: Make) -> None:
    tables = tables_from(make_row([0.1]))
    assert all("stack" not in render(tables, form) for form in ("github", "csv", "json"))


def test_a_csv_table_names_the_stack_of_those_rows_that_have_one(make_row: Make) -> None:
    both = tables_from([*make_row([0.1], backend="torch"), *make_row([0.2], stack=OLD)])
    lines = render(both, "csv").splitlines()
    at = lines[0].split(",").index('"stack"')
    rows = {line.split(",")[lines[0].split(",").index('"backend"')]: line for line in lines[1:]}
    assert rows['"numpy"'].split(",")[at] == '"old"'
    assert rows['"torch"'].split(",")[at] == '""'


def test_stacks_of_one_label_that_hold_something_else_are_no_row(make_row: Make) -> None:
    later = stack("old", numpy="1.27.0")
    records = [*make_row([0.1], stack=OLD), *make_row([0.2], stack=later, run="later")]
    assert [len(row.records) for table in tables_from(records) for row in table.rows] == [1, 1]


def test_stacks_of_one_run_are_compared_and_what_differs_is_told(make_row: Make) -> None:
    pairing = within(runs(make_row), "stack", "old")
    ((pair,), base) = pairing.pairs, pairing.base
    assert (pair.a.first.trial.stack, pair.b.first.trial.stack, base) == ("new", "old", "old")
    assert pair.comparisons[0].ratio.value > 1.5
    assert "version of numpy" in pairing.differing
    assert "request" in pairing.differing
    known = [conditions.of(records) for records in pairing.sides.values()]
    assert [own["version of numpy"] for own in known] == [{"1.26.4"}, {"2.4.6"}]


def test_backends_are_compared_within_their_stack(make_row: Make) -> None:
    records = [
        *make_row([0.1], "jax", stack=OLD),
        *make_row([0.2], "torch", stack=OLD),
        *make_row([0.1], "jax", stack=NEW),
        *make_row([0.2], "torch", stack=NEW),
    ]
    pairing = within(records, "backend", "torch")
    found = [(p.a.first.trial.stack, p.b.first.trial.stack) for p in pairing.pairs]
    assert sorted(found) == [("new", "new"), ("old", "old")]


def test_two_runs_pair_the_rows_of_equal_labels(make_row: Make) -> None:
    a = [*make_row([0.1], run="a", stack=OLD), *make_row([0.1], run="a", stack=NEW)]
    b = [*make_row([0.2], run="b", stack=OLD), *make_row([0.2], run="b")]
    pairing = between(a, b)
    assert [pairing.name(pair.a, pair.b) for pair in pairing.pairs] == ["numpy:eager@old"]
    assert {pairing.name(row) for _, row in pairing.alone} == {"numpy:eager@new", "numpy:eager"}


def test_one_stack_is_compared_with_another_of_the_same_run(make_row: Make) -> None:
    pairing = between(make_row([0.1], stack=NEW), make_row([0.2], stack=OLD))
    assert [pairing.name(p.a, p.b) for p in pairing.pairs] == ["numpy:eager@new / numpy:eager@old"]


def test_speeds_are_relative_to_the_row_of_the_same_stack(make_row: Make) -> None:
    records = runs(make_row)
    for number in range(3):
        records += make_row([0.4, 0.4, 0.4], mode="slow", run=f"run-{number}", stack=OLD)
    (table,) = tables_from(records, ":slow")
    ratios = {row.label: table.relative(row) for row in table.rows}
    assert ratios["numpy:eager@old"] is not None
    (table,) = tables_from(records, "numpy:slow@old")
    assert table.relative(table.rows[0]) is not None
    with pytest.raises(UserError, match="no row is that"):
        tables_from(records, "numpy:slow@new")


def test_a_record_is_of_the_stack_that_its_trial_names(make_record: Make) -> None:
    record = make_record(stack=OLD)
    with pytest.raises(ValidationError, match="expected that of the trial, 'old'"):
        Record.model_validate({**record.model_dump(), "stack": NEW.model_dump()})
    with pytest.raises(ValidationError, match="expected that of the trial, ''"):
        Record.model_validate({**make_record().model_dump(), "stack": NEW.model_dump()})


def test_only_a_trial_that_was_not_trained_may_lack_what_its_stack_holds(
    make_record: Make,
) -> None:
    unknown = Stack(label="old", request="numpy==99")
    with pytest.raises(ValidationError, match="expected one, as status is ok"):
        make_record(stack=unknown)
    assert make_record(stack=unknown, status="unavailable", message="no such version")


def test_changed_code_of_a_stack_is_not_for_publication(make_record: Make) -> None:
    code = PluginCode(
        distribution="lstmbench-numpy", version="0.1.0", digest="d" * 64, commit=None, dirty=True
    )
    changed = OLD.model_copy(update={"plugins": [code]})
    assert "lstmbench-numpy 0.1.0 of the stack old" in str(make_record(stack=changed).unclean)
    assert make_record(stack=OLD).unclean is None


def test_a_trial_without_a_stack_keeps_the_name_that_it_had(make_record: Make) -> None:
    trial = make_record().trial
    assert trial.name == "numpy-eager-cpu-float32-shared-r0-" + trial.name.rpartition("-")[2]
    assert make_record(stack=OLD).trial.name.startswith("numpy-eager-old-cpu-float32-shared-r0-")
    assert make_record(stack=OLD).trial.group_key() == make_record(stack=NEW).trial.group_key()
    assert make_record(stack=OLD).trial.row_key() != make_record(stack=NEW).trial.row_key()
