"""Files of strangers: what is no regular file of a bounded size is never read."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lstmbench.errors import UserError
from lstmbench.records import files
from lstmbench.records.parse import read_record
from lstmbench.records.store import Run, load, open_runs, plans

Make = Callable[..., Any]
LONG = Path("a" * 300)


def zero(path: Path) -> None:
    path.symlink_to("/dev/zero")


def pipe(path: Path) -> None:
    os.mkfifo(path)


def linked_pipe(path: Path) -> None:
    os.mkfifo(path.with_suffix(".fifo"))
    path.symlink_to(path.with_suffix(".fifo"))


def folder(path: Path) -> None:
    path.mkdir()


def loop(path: Path) -> None:
    path.symlink_to(path)


def dangling(path: Path) -> None:
    path.symlink_to("nowhere")


def sparse(path: Path) -> None:
    """A terabyte that takes no room on the disk."""
    with path.open("wb") as file:
        file.truncate(2**40)


ODD: list[tuple[Callable[[Path], None], str]] = [
    (zero, "Not a regular file"),
    (pipe, "Not a regular file"),
    (linked_pipe, "Not a regular file"),
    (folder, "Is a directory"),
    (loop, "symbolic links"),
    (dangling, "No such file"),
    (sparse, "Larger than 16 MiB"),
]
odd = pytest.mark.parametrize(("make", "reason"), ODD, ids=[make.__name__ for make, _ in ODD])


@pytest.fixture
def run(tmp_path: Path, make_record: Make) -> Run:
    made = Run.create(tmp_path / "store", "d2l")
    made.write_plan({"groups": []})
    made.write_record(make_record())
    return made


@odd
def test_what_is_no_regular_file_of_bounded_size_is_named(
    run: Run, make: Callable[[Path], None], reason: str
) -> None:
    path = run.folder / "records" / "zzz.json"
    make(path)
    loaded = load([run.folder])
    assert len(loaded.records) == 1
    (line,) = loaded.damaged
    assert line.startswith(f"{path} is not a record: ")
    assert reason in line
    with pytest.raises(UserError, match=reason):
        read_record(path)


def test_a_link_to_a_record_is_read(run: Run, tmp_path: Path) -> None:
    (record,) = run.files()
    (tmp_path / "elsewhere.json").symlink_to(record)
    assert read_record(tmp_path / "elsewhere.json") == read_record(record)


def test_a_file_that_grows_while_it_is_read_is_too_large(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * 11)
    monkeypatch.setattr(files, "_check_regular", lambda *_: None)
    with pytest.raises(OSError, match="Larger than"):
        files.read_regular(path, limit=10)
    assert files.read_regular(path, limit=11) == b"x" * 11


def refuse(*_: Any) -> Any:
    raise PermissionError(13, "Permission denied")


def test_a_folder_of_records_that_may_not_be_read_is_an_error(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(UserError, match="records: Permission denied"):
        run.files()


def test_other_runs_are_read_beside_one_that_may_not(
    run: Run, make_record: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Run.create(run.folder.parent, "d2l")
    other.write_plan({"groups": []})
    other.write_record(make_record(backend="other"))
    scandir, closed = os.scandir, run.folder / "records"
    monkeypatch.setattr(os, "scandir", lambda p: refuse() if Path(p) == closed else scandir(p))
    loaded = load([run.folder, other.folder])
    assert [record.trial.backend for record in loaded.records] == ["other"]
    assert loaded.damaged == [f"{closed}: Permission denied"]


def as_anybody(folder: Path) -> str:
    """What reading a folder gives to a user without rights: damaged files, or the error."""
    program = f"""
import os
from pathlib import Path
import lstmbench.records.store as store
if os.geteuid() == 0:
    os.setegid(65534), os.seteuid(65534)
try:
    print(store.load([Path({str(folder)!r})]).damaged)
except store.UserError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture
def anybody(run: Run) -> None:
    """Every folder on the way may be entered."""
    for path in (run.folder, *run.folder.parents):
        if path.is_relative_to(tempfile.gettempdir()) and path != Path(tempfile.gettempdir()):
            path.chmod(0o755)


@pytest.mark.usefixtures("anybody")
def test_records_without_permissions_are_an_error(run: Run) -> None:
    records = run.folder / "records"
    records.chmod(0)
    for folder in (run.folder, run.folder.parent):
        assert as_anybody(folder) == f"['{records}: Permission denied']"
    records.chmod(0o700)


@pytest.mark.usefixtures("anybody")
def test_a_run_without_permissions_is_an_error(run: Run) -> None:
    run.folder.chmod(0)
    for folder in (run.folder, run.folder.parent):
        assert re.fullmatch(rf"{run.folder}/\w+\.json: Permission denied", as_anybody(folder))
    run.folder.chmod(0o700)


def test_a_missing_folder_holds_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert files.list_folder(tmp_path / "none") == []
    assert files.list_folder(tmp_path / "file") == []
    assert plans(tmp_path / "none") == []


@pytest.mark.parametrize("ask", [files.look_at, files.exists, files.is_file, files.list_folder])
def test_a_path_that_cannot_be_asked_for_is_the_user_s_error(ask: Callable[[Path], Any]) -> None:
    with pytest.raises(UserError, match=r"^a{200}\.\.\.: File name too long$"):
        ask(LONG)


@pytest.mark.parametrize("path", [LONG, LONG / "b", Path("b") / LONG, Path("a/" * 3000)])
def test_a_long_path_is_no_run(path: Path) -> None:
    with pytest.raises(UserError, match=r"File name too long|is missing"):
        open_runs([path])
    with pytest.raises(UserError, match=r"File name too long|is missing"):
        load([path])


def test_no_run_is_made_where_none_can_be(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="File name too long"):
        Run.create(tmp_path / LONG, "d2l")
