"""Publishing that was cut off, or that git merged: publishing again makes it whole."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lstmbench.errors import UserError
from lstmbench.publish import folder
from lstmbench.publish.merge import publish
from lstmbench.records.record import Record
from lstmbench.records.store import write_atomically
from lstmbench.verify.stores import verify

pytestmark = pytest.mark.usefixtures("no_plots")
Git = Callable[..., str]


@pytest.fixture
def two_runs(tmp_path: Path, pool: list[Record], runs: Any) -> list[Path]:
    return [runs(tmp_path / "a", pool[:4]), runs(tmp_path / "b", pool[4:])]


@pytest.mark.parametrize("writes", [0, 1, 2, 5, 12, 20])
@pytest.mark.parametrize("start", ["nothing", "a store"])
def test_publishing_again_ends_what_was_interrupted(
    tmp_path: Path,
    two_runs: list[Path],
    writes: int,
    start: str,
    files: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With other records too, from which other files are made."""
    store, whole = tmp_path / "store", tmp_path / "whole"
    if start == "a store":
        publish(two_runs[:1], store)
    before = files(store)
    write, count = write_atomically, 0

    def full(place: Path, content: bytes) -> None:
        nonlocal count
        count += 1
        if count > writes:
            raise OSError(28, "No space left on device")
        write(place, content)

    with monkeypatch.context() as patched:
        patched.setattr(folder, "write_atomically", full)
        with pytest.raises(UserError, match="cannot be written: No space left"):
            publish(two_runs, store)
    assert start == "nothing" or before.keys() <= files(store).keys()
    publish(two_runs[:1], store)
    assert verify(store).mismatches == []
    publish(two_runs, store)
    publish(two_runs, whole)
    assert files(store) == files(whole)


def test_halves_of_files_are_removed(tmp_path: Path, two_runs: list[Path], files: Any) -> None:
    store = tmp_path / "store"
    publish(two_runs, store)
    expected = files(store)
    for name in (".README.md.7", "tables/.all.csv.7", "records/.x.json.7", "site/data/.rows.js.7"):
        (store / name).write_text("half")
    mine = {".mine.7": b"mine", "tables/.mine": b"mine"}
    for name, content in mine.items():
        (store / name).write_bytes(content)
    publish([], store)
    assert files(store) == expected | mine


@pytest.fixture
def git(tmp_path: Path) -> Git:
    """What git says in a folder below; its exit status must be ``expected``."""
    names = {
        f"GIT_{who}_{what}": "x@y" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")
    }
    alone = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1", "HOME": str(tmp_path)}
    environment = {"PATH": os.environ["PATH"], **names, **alone}

    def run(where: str, *arguments: str, expected: int = 0) -> str:
        command = ["git", "-C", str(tmp_path / where), *arguments]
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert done.returncode == expected, done.stdout + done.stderr
        return done.stdout

    return run


@pytest.fixture
def merged(tmp_path: Path, make_true: Any, runs: Any, git: Git) -> Path:
    """A store of one run, cloned; each clone published another; a merge that git gave up."""
    paths = {
        name: runs(tmp_path / "runs" / name, [make_true(**change)])
        for name, change in {
            "first": {},
            "here": {"backend": "fast", "run": "20220520-120000-d2l-0001"},
            "there": {"init": "native", "run": "20220521-120000-d2l-0002"},
        }.items()
    }
    (tmp_path / "here").mkdir()
    git("here", "init", "--initial-branch", "main")
    publish([paths["first"]], tmp_path / "here" / "results")
    git("here", "add", "--all")
    git("here", "commit", "-m", "first")
    git(".", "clone", "here", "there")
    for where in ("here", "there"):
        publish([paths[where]], tmp_path / where / "results")
        git(where, "add", "--all")
        git(where, "commit", "-m", where)
    git("here", "pull", "--no-rebase", "../there", "main", expected=1)
    publish(list(paths.values()), tmp_path / "expected")
    return tmp_path / "here" / "results"


def test_a_conflict_of_git_ends_by_publishing(
    tmp_path: Path, merged: Path, git: Git, files: Any
) -> None:
    unmerged = git("here", "diff", "--name-only", "--diff-filter=U").splitlines()
    assert {"results/store.json", "results/README.md", "results/tables/all.csv"} <= set(unmerged)
    assert any("holds a conflict" in line for line in verify(merged).mismatches)
    publish([merged], merged)
    assert verify(merged).mismatches == []
    assert files(merged) == files(tmp_path / "expected")
    git("here", "add", "--all")
    git("here", "commit", "-m", "merged")


def test_what_a_merge_leaves_over_goes_and_what_is_mine_stays(
    tmp_path: Path, merged: Path, files: Any
) -> None:
    over = "tables/d2l-shared-bundled-s0-0123abcd.tex"
    (merged / over).write_text("of a table that is no more")
    (merged / "tables" / "mine.tex").write_text("mine")
    publish([], merged)
    assert files(merged) == files(tmp_path / "expected") | {"tables/mine.tex": b"mine"}


def test_without_a_conflict_such_a_file_is_another_s(tmp_path: Path, two_runs: list[Path]) -> None:
    publish(two_runs, tmp_path / "store")
    mine = tmp_path / "store" / "tables" / "d2l-shared-bundled-s0-0123abcd.tex"
    mine.write_text("mine")
    publish([], tmp_path / "store")
    assert mine.read_text() == "mine"


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (f'  "../notes.txt": "{"0" * 64}",', "it lists '../notes.txt'"),
        ('\n "format": 2,', "format 2 of published stores"),
    ],
)
def test_a_conflict_may_list_no_more_than_a_manifest(merged: Path, line: str, words: str) -> None:
    path = merged / "store.json"
    path.write_text(f"{path.read_text()}{line}\n")
    with pytest.raises(UserError, match=words):
        publish([], merged)


def test_only_git_s_own_marks_are_a_conflict(tmp_path: Path, two_runs: list[Path]) -> None:
    publish(two_runs, tmp_path / "store")
    path = tmp_path / "store" / "store.json"
    holds = json.loads(path.read_text())
    holds["libraries"]["<<<<<<< HEAD"] = "1"
    path.write_text(json.dumps(holds, indent=1))
    publish([], tmp_path / "store")
    assert verify(tmp_path / "store").mismatches == []
