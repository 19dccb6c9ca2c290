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
    (temporary / "lstmbench-without-lock" / "file").write_text("")
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


@pytest.mark.parametrize("left", [["file", LOCK], [LOCK], []])
def test_what_is_left_goes_whenever_its_owner_was_killed(temporary: Path, left: list[str]) -> None:
    """Begun to be made, in use, or begun to be removed."""
    folder = temporary / "lstmbench-abandoned"
    folder.mkdir()
    for name in left:
        (folder / name).write_text("")
    reclaim()
    assert not folder.exists()


def test_the_lock_is_removed_last(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scratch = ScratchFolder()
    (scratch.path / "folder").mkdir()
    (scratch.path / "folder" / "file").write_text("")
    seen = []
    rmdir = Path.rmdir

    def remove(folder: Path) -> None:
        seen.append(sorted(path.name for path in folder.iterdir()))
        late = folder / "late"
        late.write_text("")
        rmdir(folder)

    monkeypatch.setattr(Path, "rmdir", remove)
    scratch.close()
    assert seen == [[]]
    assert {path.name for path in scratch.path.iterdir()} == {"late", LOCK}
    monkeypatch.undo()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    reclaim()
    assert list(temporary.iterdir()) == []


def test_a_new_folder_that_another_start_took_for_left_over_is_made_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = []
    mkdtemp = tempfile.mkdtemp

    def make(prefix: str) -> str:
        made.append(mkdtemp(prefix=prefix))
        if len(made) == 1:
            Path(made[0]).rmdir()
            Path(made[0]).write_text("")  # nothing can be made in its place
        return made[-1]

    monkeypatch.setattr(tempfile, "mkdtemp", make)
    with ScratchFolder() as folder:
        assert str(folder) == made[1]


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
