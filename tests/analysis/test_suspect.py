"""A row in which something cannot be true: last, without a rank, and every reader learns why."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lstmbench.analysis.tables import Table, tables_from
from lstmbench.publish.tables import best, make
from lstmbench.records.record import Epochs, Flag, Record
from lstmbench.records.store import Run
from lstmbench.report import site
from lstmbench.report.text import render

WHY = "an epoch took 1e-07 s, less than a call takes"


@pytest.fixture
def records(make_record: Callable[..., Record]) -> list[Record]:
    """Three processes each of a row that is honest and of one that says nothing of its flag."""

    def epochs(seconds: list[float]) -> Epochs:
        count = len(seconds)
        return Epochs(seconds=seconds, nats=[9000.0] * count, tokens=[8960] * count)

    lengths = {"honest": 0.1, "miracle": 1e-7}
    return [
        make_record(
            backend=backend,
            repeat=repeat,
            epochs=epochs([length * (1 + 0.01 * (i + repeat)) for i in range(4)]),
        )
        for backend, length in lengths.items()
        for repeat in range(3)
    ]


@pytest.fixture
def table(records: list[Record]) -> Table:
    (found,) = tables_from(records)
    return found


def test_it_stands_last_and_has_no_rank(table: Table) -> None:
    assert [row.label for row in table.rows] == ["honest:eager", "miracle:eager"]
    assert table.ranks == [1, None]
    assert Flag.SUSPECT in table.rows[1].flags


def test_it_is_behind_what_has_no_speed(make_record: Any, records: list[Record]) -> None:
    failed = make_record(backend="a", status="failed", reason="exception", message="it broke")
    (table,) = tables_from([failed, *records])
    assert [row.first.trial.backend for row in table.rows] == ["honest", "a", "miracle"]


def test_it_is_not_the_best(records: list[Record]) -> None:
    (group,) = best(make(records))
    assert [row.label for row in group.rows] == ["honest:eager"]


@pytest.mark.parametrize("form", ["plain", "github", "html", "latex", "json", "csv"])
def test_every_format_says_why(table: Table, form: str) -> None:
    assert WHY in render([table], form)


def test_the_notes_say_of_how_many_processes(table: Table) -> None:
    (line,) = [n for n in json.loads(render([table], "json"))[0]["notes"] if "suspect" in n]
    assert line == (
        f"miracle:eager on cpu is suspect (3 of 3 processes): {WHY}. That cannot be true, so it is "
        "not ranked."
    )


def test_the_site_says_why(records: list[Record]) -> None:
    pages = site.build({f"r{i}": record for i, record in enumerate(records)})
    trials = [path for path, page in pages.items() if "trials/" in path and WHY in str(page)]
    assert {Path(path).suffix for path in trials} == {".html", ".js"}
    assert WHY in str(pages["data/rows.js"])


def test_a_comparison_says_why_and_a_gate_does_not_let_it_through(
    call: Any, records: list[Record], tmp_path: Path
) -> None:
    run = Run(tmp_path / "run")
    (run.folder / "records").mkdir(parents=True)
    run.write_plan({})
    for record in records:
        run.write_record(record)
    sides = [f"{run.folder}@{name}" for name in ("miracle", "honest")]
    done = call("compare", *sides)
    assert f"A: {WHY}. That cannot be true, so it is not compared." in done.stdout
    assert done.returncode == 1
    assert call("compare", *sides, "--fail-below", "0.1").returncode == 4
