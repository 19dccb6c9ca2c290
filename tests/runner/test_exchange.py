"""Files in a worker's folder, whatever the worker has put there."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from lstmbench.runner.channel import WorkerLost
from lstmbench.runner.evidence import MAX_BYTES_IN_MEMORY, Snapshot
from lstmbench.runner.exchange import place, take


def test_what_is_placed_is_what_is_there(tmp_path: Path) -> None:
    path = tmp_path / "a"
    for content in (b"one", b"another"):
        assert place(path, lambda file, content=content: file.write(content)) == str(path)  # type: ignore[misc]
        assert take(path, 100).getvalue() == content


def test_a_link_is_replaced_and_not_followed(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("precious")
    path = tmp_path / "a"
    path.symlink_to(precious)
    place(path, lambda file: file.write(b"new"))
    assert precious.read_text() == "precious"
    assert take(path, 100).getvalue() == b"new"


def _empty(path: Path) -> Path:
    path.touch()
    return path


ODD: dict[str, tuple[Callable[[Path], object], str]] = {
    "nothing": (lambda path: None, "cannot be read"),
    "a link": (lambda path: path.symlink_to("/dev/zero"), "cannot be read"),
    "a pipe": (os.mkfifo, "no file"),
    "a folder": (Path.mkdir, "a"),
    "a terabyte": (lambda path: os.truncate(_empty(path), 2**40), "1,099,511,627,776"),
}


@pytest.mark.parametrize("what", ODD)
def test_the_host_neither_waits_nor_reads_without_end(tmp_path: Path, what: str) -> None:
    make, words = ODD[what]
    make(tmp_path / "a")
    with pytest.raises(WorkerLost, match=words) as lost:
        take(tmp_path / "a", 100)
    assert lost.value.reason == "interface"


def test_a_folder_in_the_way_is_the_worker_s_fault(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with pytest.raises(WorkerLost, match="cannot be handed over"):
        place(tmp_path / "a", lambda file: file.write(b""))
    with pytest.raises(WorkerLost, match="cannot be handed over"):
        place(tmp_path / "gone" / "a", lambda file: file.write(b""))


@pytest.mark.parametrize("size", [10, MAX_BYTES_IN_MEMORY + 1])
def test_a_snapshot_has_no_name_until_it_is_written(tmp_path: Path, size: int) -> None:
    snapshot = Snapshot.of(b"x" * size)
    for name in ("one", "two"):
        file = snapshot.written(tmp_path / name)
        assert Path(file.path).read_bytes() == b"x" * size
        assert file.sha256 == hashlib.sha256(b"x" * size).hexdigest()
