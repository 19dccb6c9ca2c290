"""Formats of plugins: used where they are offered, guarded where they fail."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

FORMAT = """
from lstmbench import Format, hookimpl

def render(tables):
    {body}

@hookimpl
def lstmbench_formats():
    return [Format(name="{name}", suffix="{suffix}", render=render)]
"""
GOOD = 'return f"{len(tables)} tables"'


def a_format(body: str = GOOD, name: str = "count", suffix: str = ".count.txt") -> str:
    return FORMAT.format(body=body, name=name, suffix=suffix)


@pytest.fixture
def run(tmp_path: Path, make_record: Callable[..., Any]) -> Path:
    from lstmbench.records.store import Run

    made = Run.create(tmp_path / "runs", "d2l")
    made.write_plan({})
    made.write_record(make_record())
    return made.folder


def test_a_format_of_a_plugin_is_reported_and_published(here: Any, call: Any, run: Path) -> None:
    here.plugin("mine", a_format())
    assert call("report", run, "--format", "count").stdout == "1 tables\n"
    assert call("publish", run, "--to", "store").returncode == 0
    assert (here.folder / "store/tables/all.count.txt").read_text() == "1 tables"
    done = call("verify", "store")
    assert "all.count.txt" not in done.stdout
    assert "count" in call("list").stdout


def test_where_the_plugin_is_missing_its_file_is_compared_by_digest(
    here: Any, call: Any, run: Path
) -> None:
    here.plugin("mine", a_format())
    call("publish", run, "--to", "store")
    here.distribution("lstmbench-mine", "")
    told = call("verify", "store").stdout
    assert (
        "cannot be made again: tables/all.count.txt: in the format of a plugin that is not here"
    ) in told
    (here.folder / "store/tables/all.count.txt").write_text("2 tables")
    told = call("verify", "store").stdout
    assert "tables/all.count.txt: store.json lists another digest" in told


def test_a_plugin_s_format_changes_no_verdict_on_a_store_made_without_it(
    here: Any, call: Any, run: Path
) -> None:
    call("publish", run, "--to", "store")
    here.plugin("mine", a_format())
    assert "count" not in call("verify", "store").stdout


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("raise ValueError('no such colour')", "failed: ValueError: no such colour"),
        ("raise SystemExit(5)", "failed: SystemExit: 5"),
        ("import os; os._exit(0)", "failed: SystemExit: os._exit(0)"),
        ("return 5", "returned int"),
        ("return '\\ud800'", "returned half a character"),
    ],
)
def test_a_format_that_fails_spoils_nothing_else(
    here: Any, call: Any, one_line: Any, run: Path, body: str, words: str
) -> None:
    here.plugin("mine", a_format(body))
    one_line(call("report", run, "--format", "count"), "format 'count' of a plugin", words)
    done = call("publish", run, "--to", "store")
    assert done.returncode == 1
    assert words in done.stderr
    assert (here.folder / "store/README.md").exists()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"suffix": "/../../evil"}, "suffix='/../../evil', expected a dot and letters"),
        ({"suffix": "txt"}, "suffix='txt', expected a dot and letters"),
        ({"name": "csv"}, "'csv', which plugin 'lstmbench.report.formats'"),
        ({"name": "a b"}, "unusable name"),
    ],
)
def test_an_unusable_format_is_named(
    here: Any, call: Any, change: dict[str, str], words: str
) -> None:
    here.plugin("mine", a_format(**change))
    assert words in call("list").stderr


def test_a_format_never_replaces_the_host_s_own_files(here: Any, call: Any, run: Path) -> None:
    here.plugin("mine", a_format(suffix=".csv"))
    done = call("publish", run, "--to", "store")
    assert done.returncode == 1
    assert "tables/all.csv is a name of the host's own" in done.stderr
    assert "numpy" in (here.folder / "store/tables/all.csv").read_text()


def test_what_a_format_prints_is_no_part_of_the_table(here: Any, call: Any, run: Path) -> None:
    here.plugin("mine", a_format("print('by the way'); return 'the table'"))
    done = call("report", run, "--format", "count")
    assert (done.stdout, done.stderr) == ("the table\n", "by the way\n")
