"""Sweeps: from the command line to the scaling table and plot."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lstmbench.analysis.metrics import SHARE_OF_PEAK
from lstmbench.analysis.tables import tables_from
from lstmbench.protocol import D2L
from lstmbench.records.record import Matmul, Peak
from lstmbench.report import images
from lstmbench.report.sweeps import sweep_section, sweeps
from lstmbench.report.text import render

Make = Callable[..., Any]
PEAK = Peak(matmul=Matmul(library="blas", side=1000, dtype="float32", seconds=[0.01]))


@pytest.fixture(scope="module")
def swept(module_cli: Any) -> tuple[Any, Path]:
    done = module_cli.run("--backends", "numpy", "--hidden-size", "4,8,4", "--batch-size", "2,4")
    (folder,) = module_cli.runs()
    return done, folder


def test_lists_on_the_command_line_cross_into_trials(swept: Any) -> None:
    done, folder = swept
    assert done.returncode == 0, done.stderr
    protocols = [
        json.loads(path.read_text())["trial"]["protocol"] for path in (folder / "records").iterdir()
    ]
    sizes = sorted((p["hidden_size"], p["batch_size"]) for p in protocols)
    assert sizes == [(4, 2), (4, 4), (8, 2), (8, 4)]


def test_the_report_scales_each_size_with_the_others_fixed(swept: Any) -> None:
    done, folder = swept
    assert done.stdout.count("Scaling with hidden-size (4, 8)") == 2
    assert done.stdout.count("Scaling with batch-size (2, 4)") == 2
    assert "hidden-size 8" in done.stdout
    assert "% of peak)" in done.stdout
    assert len(list(folder.glob("scaling-*.svg"))) == 4


def records(make_record: Make, sizes: list[int], backend: str = "a", **changes: Any) -> list[Any]:
    return [
        make_record(backend=backend, protocol=replace(D2L, hidden_size=n), peak=PEAK, **changes)
        for n in sizes
    ]


def test_rows_meet_by_backend_and_device_and_what_failed_says_so(make_record: Make) -> None:
    failed = records(make_record, [512], "b", status="failed", reason="memory")
    tables = tables_from(
        [*records(make_record, [512, 128, 256]), *records(make_record, [128], "b"), *failed]
    )
    (sweep,) = sweeps(tables)
    assert list(sweep.tables) == [128, 256, 512]
    (shown,) = sweep_section(sweep).tables
    assert [column.key for column in shown.columns] == ["label", "device", "128", "256", "512"]
    by_label = {row[0]: row[2:] for row in shown.rows}
    assert all("tokens/s" in cell for cell in by_label["a:eager"])
    assert by_label["b:eager"][1:] == ("", "failed: memory")


def test_it_says_of_how_many_processes_a_point_is(make_record: Make) -> None:
    once = records(make_record, [128, 256])
    again = records(make_record, [128], repeat=1)
    assert (
        sweeps(tables_from(once))[0].note == "Each point is one process, which gives no interval."
    )
    (mixed,) = sweeps(tables_from([*once, *again]))
    assert mixed.note == "Each point is of 1 to 2 processes."
    assert mixed.note in render(tables_from([*once, *again]), "plain")


def test_the_share_of_the_peak_follows_the_size(make_record: Make) -> None:
    (sweep,) = sweeps(tables_from(records(make_record, [128, 256])))
    (row,) = sweep.rows().values()
    # the same tokens/s of a model with about four times the operations
    small, large = (row[size].value(SHARE_OF_PEAK) for size in (128, 256))
    assert small
    assert large
    assert 3.5 < large / small < 4


@pytest.mark.parametrize("change", [{"init": "native"}, {"threads": 1}])
def test_what_differs_in_something_else_is_no_sweep(
    make_record: Make, change: dict[str, Any]
) -> None:
    found = sweeps(
        tables_from([*records(make_record, [128]), *records(make_record, [256], **change)])
    )
    assert found == []


def test_threads_are_a_size_too(make_record: Make) -> None:
    (sweep,) = sweeps(tables_from([make_record(threads=n) for n in (2, 1)]))
    assert (sweep.size, list(sweep.tables)) == ("threads", [1, 2])
    assert "threads 1" in render(list(sweep.tables.values()), "plain")


def test_plots_are_made_where_the_records_are_enough(make_record: Make) -> None:
    assert set(images.images(tables_from([make_record()]))) == {"perplexity.svg"}
    tables = tables_from(records(make_record, [128, 256]))
    problems: list[str] = []
    found = images.draw(images.images(tables), problems)
    assert set(found) == {"perplexity.svg", "roofline.svg", "scaling-hidden-size.svg"}
    assert found == images.draw(images.images(tables), problems)
    assert problems == []
    assert all(svg.startswith("<?xml") for svg in found.values())
