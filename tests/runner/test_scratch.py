"""Scratch folders: gone with their owner, or at the next start if the owner was killed."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from lstmbench.runner.scratch import LOCK, ScratchFolder, locked, reclaim

OWNER = """
import sys
from lstmbench.runner.scratch import ScratchFolder
folder = ScratchFolder()
print(folder.path, flush=True)
sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    return tmp_path


def test_a_folder_is_gone_when_it_is_closed(temporary: Path) -> None:
    with ScratchFolder() as folder:
        (folder / "file").write_text("")
    assert list(temporary.iterdir()) == []
    again = ScratchFolder()
    again.close()
    again.close()


def test_one_whose_owner_runs_stays_and_one_whose_owner_was_killed_goes(temporary: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", OWNER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as owner:
        assert owner.stdout
        folder = Path(owner.stdout.readline().strip())
        (folder / "file").write_text("")
        reclaim()
        assert folder.exists()
        owner.kill()
        owner.wait()
    reclaim()
    assert not folder.exists()


def test_the_own_folder_is_not_reclaimed() -> None:
    with ScratchFolder() as folder:
        reclaim()
        assert folder.exists()


def test_what_is_not_ours_stays(temporary: Path) -> None:
    for name in ("other", "lstmbench-without-lock"):
        (temporary / name).mkdir()
    elsewhere = temporary / "other" / "folder"
    elsewhere.mkdir()
    (elsewhere / LOCK).write_text("")
    (temporary / "lstmbench-link").symlink_to(elsewhere)
    (temporary / "lstmbench-file").write_text("")
    reclaim()
    assert elsewhere.exists()
    assert {path.name for path in temporary.iterdir()} == {
        *("other", "lstmbench-without-lock", "lstmbench-link", "lstmbench-file"),
    }


def test_a_folder_of_another_user_stays(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    abandoned = temporary / "lstmbench-abandoned"
    abandoned.mkdir()
    (abandoned / LOCK).write_text("")
    monkeypatch.setattr(os, "getuid", lambda: abandoned.stat().st_uid + 1)
    reclaim()
    assert abandoned.exists()


def test_a_lock_is_had_once(tmp_path: Path) -> None:
    with locked(tmp_path / "lock") as first:
        assert not first  # there is none yet
    with locked(tmp_path / "lock", create=True) as first, locked(tmp_path / "lock") as second:
        assert first
        assert not second
    with locked(tmp_path / "lock") as third:
        assert third
    (tmp_path / "link").symlink_to(tmp_path / "lock")
    with locked(tmp_path / "link") as followed:
        assert not followed


def test_no_descriptor_is_left() -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    with ScratchFolder():
        pass
    reclaim()
    assert len(list(Path("/proc/self/fd").iterdir())) == before
