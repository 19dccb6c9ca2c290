"""Several processes publish to one place at once: nothing is lost, nobody is in the way."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lstmbench.publish import lock
from lstmbench.publish.block import Page
from lstmbench.records.record import Record
from lstmbench.verify.stores import verify

TOGETHER = 4
PAGE = "".join(
    f"<!-- lstmbench:begin b{n} -->\n<!-- lstmbench:end b{n} -->\n\n" for n in range(TOGETHER)
)
#: Holds the lock of the folder in its argument until it is killed.
HOLDER = """
import sys, time
from pathlib import Path
from lstmbench.publish.lock import exclusive
with exclusive(Path(sys.argv[1]), ".lstmbench.lock"):
    print("held", flush=True)
    time.sleep(600)
"""


def holder(folder: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(folder)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


@pytest.fixture
def singles(tmp_path: Path, pool: list[Record], runs: Any) -> list[Path]:
    """Runs of one record each."""
    return [runs(tmp_path / f"run{n}", pool[n : n + 1]) for n in range(TOGETHER)]


def all_at_once(cli: Any, commands: list[list[Any]]) -> None:
    """Start them all, then let them go on together."""
    processes = [cli.start(*command) for command in commands]
    for process in processes:
        os.kill(process.pid, signal.SIGSTOP)
    for process in processes:
        os.kill(process.pid, signal.SIGCONT)
    for process in processes:
        _, errors = process.communicate(timeout=500)
        assert process.returncode == 0, errors


@pytest.mark.parametrize("there", [False, True])
def test_one_store(cli: Any, singles: list[Path], tmp_path: Path, there: bool) -> None:
    store = tmp_path / "deep" / "store"
    if there:
        all_at_once(cli, [["publish", singles[0], "--to", store, "--allow-dirty"]])
    all_at_once(cli, [["publish", run, "--to", store, "--allow-dirty"] for run in singles])
    assert len(list((store / "records").iterdir())) == TOGETHER
    assert len(json.loads((store / "store.json").read_text())["records"]) == TOGETHER
    assert verify(store).mismatches == []
    assert not (store / ".lstmbench.lock").exists()


def test_blocks_of_one_page(cli: Any, singles: list[Path], tmp_path: Path) -> None:
    page = tmp_path / "PAGE.md"
    page.write_text(PAGE)
    all_at_once(
        cli,
        [["publish", run, "--into", page, "--block", f"b{n}"] for n, run in enumerate(singles)],
    )
    assert page.read_text().count("\n### ") == TOGETHER
    assert [path.name for path in tmp_path.glob(".*lock")] == []


def test_what_was_written_since_a_page_was_looked_at_stays(tmp_path: Path) -> None:
    file = tmp_path / "PAGE.md"
    file.write_text(PAGE)
    pages = [Page(file, f"b{n}") for n in range(TOGETHER)]
    for n, page in enumerate(pages):
        page.write(f"tables {n}")
    assert [n for n in range(TOGETHER) if f"tables {n}" in file.read_text()] == [0, 1, 2, 3]


def test_one_that_was_killed_is_not_waited_for(tmp_path: Path) -> None:
    process = holder(tmp_path)
    process.kill()
    process.communicate()
    assert (tmp_path / ".lstmbench.lock").exists()
    with lock.exclusive(tmp_path, ".lstmbench.lock"):
        pass
    assert not (tmp_path / ".lstmbench.lock").exists()


def test_a_wait_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(lock, "PATIENCE", 0.1)
    process = holder(tmp_path)
    told = []

    def tell(lines: list[str]) -> None:
        told.extend(lines)
        process.kill()

    monkeypatch.setattr(lock, "tell", tell)
    with lock.exclusive(tmp_path, ".lstmbench.lock"):
        assert told == [f"waiting for another process that publishes to {tmp_path}"]
    process.communicate()


def test_what_is_refused_leaves_no_folder(
    call: Any, one_line: Any, runs: Any, pool: list[Record], tmp_path: Path
) -> None:
    dirty = pool[0].source.model_copy(update={"dirty": True})
    run = runs(tmp_path / "run", [pool[0].model_copy(update={"source": dirty})])
    one_line(call("publish", run, "--to", tmp_path / "a" / "b"), "no clean commit")
    assert not (tmp_path / "a").exists()


def test_a_folder_that_cannot_be_locked_says_what_writing_says(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with lock.exclusive(tmp_path / "file" / "store", ".lstmbench.lock"):
        assert (tmp_path / "file").read_text() == ""
