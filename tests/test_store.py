"""Runs on disk."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lstmbench.errors import UserError
from lstmbench.store import Run, open_runs, write_atomically

Make = Callable[..., Any]


@pytest.fixture
def run(tmp_path: Path, make_record: Make) -> Run:
    made = Run.create(tmp_path / "store", "d2l")
    made.write_plan({"groups": []})
    made.write_record(make_record())
    made.write_record(make_record(backend="other"))
    return made


def test_each_run_gets_its_own_folder(tmp_path: Path) -> None:
    names = {Run.create(tmp_path, "quick").name for _ in range(20)}
    assert len(names) == 20
    assert all("quick" in name for name in names)


def test_records_come_back_in_order(run: Run) -> None:
    assert [r.trial.backend for r in run.records()] == ["numpy", "other"]


def test_writing_a_trial_s_record_again_replaces_it(run: Run, make_record: Make) -> None:
    run.write_record(make_record(status="interrupted"))
    assert [r.status for r in run.records()] == ["interrupted", "ok"]


def test_nothing_temporary_is_left(run: Run) -> None:
    assert {p.suffix for p in (run.folder / "records").iterdir()} == {".json"}


def test_a_write_that_fails_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    write_atomically(path, "old")

    def full(*_: Any) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="no space"):
        write_atomically(path, "new")
    assert path.read_text() == "old"


@pytest.mark.parametrize("place", ["file", "file/below"])
def test_a_store_that_cannot_be_written(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UserError, match="--store"):
        Run.create(tmp_path / place, "d2l")
    assert (tmp_path / "file").read_text() == "mine"
    assert list(tmp_path.iterdir()) == [tmp_path / "file"]


def test_a_run_or_a_store_of_runs_can_be_opened(run: Run, tmp_path: Path) -> None:
    other = Run.create(tmp_path / "store", "quick")
    other.write_plan({})
    (tmp_path / "store" / "notes").mkdir()
    assert [r.folder for r in open_runs([run.folder])] == [run.folder]
    assert {r.folder for r in open_runs([tmp_path / "store"])} == {run.folder, other.folder}


@pytest.mark.parametrize("what", ["missing", "empty", "file"])
def test_what_is_no_run_is_refused(tmp_path: Path, what: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="no run and no store"):
        open_runs([tmp_path / what])


@pytest.mark.parametrize("content", ["", "{", "[]", '{"schema_version": 1}', "\x00", "null"])
def test_a_broken_record_is_named(run: Run, content: str) -> None:
    path = run.folder / "records" / "aaa.json"
    path.write_text(content)
    with pytest.raises(UserError, match="is not a record") as refused:
        run.records()
    assert str(path) in str(refused.value)


def test_a_folder_among_the_records_is_named(run: Run) -> None:
    (run.folder / "records" / "aaa.json").mkdir()
    with pytest.raises(UserError, match=r"aaa\.json"):
        run.records()
