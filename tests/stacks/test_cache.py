"""Environments are made once, whole or not at all, and removed only if nothing uses them."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lstmbench.stacks import cache
from lstmbench.stacks.cache import Asked
from lstmbench.stacks.installer import CannotInstall


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(cache, "root", lambda: tmp_path / "stacks")
    return tmp_path / "stacks"


class Maker:
    """Makes folders that hold one file."""

    def __init__(self, content: str = "one", seconds: float = 0.0) -> None:
        self.content, self.seconds, self.times = content, seconds, 0
        self.said: list[str] = []

    def make(self, folder: Path) -> None:
        self.times += 1
        time.sleep(self.seconds)
        (folder / "content").write_text(self.content)

    def describe(self, folder: Path) -> str:
        return cache.digest((folder / "content").read_text())

    @contextmanager
    def obtain(self, text: str = "asked") -> Iterator[Path]:
        asked = Asked(text, {"text": text})
        with cache.obtained(asked, self.make, self.describe, self.said.append) as folder:
            yield folder


def test_the_same_question_is_answered_once(home: Path) -> None:
    maker = Maker()
    with maker.obtain() as first, maker.obtain() as again:
        assert first == again
        assert (first / "content").read_text() == "one"
    assert maker.times == 1
    assert maker.said == ["being made"]
    assert not list((home / "making").iterdir())


def test_two_questions_with_one_answer_share_it() -> None:
    maker = Maker()
    with maker.obtain("jax==0.9.*") as first, maker.obtain("jax==0.9.2") as second:
        assert first == second
    assert maker.times == 2
    (kept,) = cache.kept()
    assert kept.asked == ["jax==0.9.*", "jax==0.9.2"]


@pytest.mark.parametrize("error", [OSError("no space"), KeyboardInterrupt(), ValueError("no")])
def test_what_is_not_finished_is_not_there(home: Path, error: BaseException) -> None:
    maker = Maker()

    def fail(folder: Path) -> None:
        (folder / "half").write_text("")
        raise error

    asked = Asked("asked", {"text": "asked"})
    expected = CannotInstall if isinstance(error, OSError) else type(error)
    with pytest.raises(expected), cache.obtained(asked, fail, maker.describe, print):
        pass
    assert not list((home / "making").iterdir())
    assert not cache.kept()
    with maker.obtain():
        pass
    assert maker.times == 1


def test_what_a_killed_run_left_is_never_taken_for_finished(home: Path) -> None:
    maker = Maker()
    for name in ("asked", "environments", "locks", "making"):
        (home / name).mkdir(parents=True)
    left = home / "making" / f"{Asked('asked', {'text': 'asked'}).digest}-0000"
    left.mkdir()
    (left / "content").write_text("half")
    (home / "environments" / cache.digest("one")).mkdir()  # without a note
    with maker.obtain() as folder:
        assert (folder / "content").read_text() == "one"
    assert not left.exists()


@pytest.mark.parametrize("damage", ["changed", "removed", "no note", "no pointer"])
def test_an_environment_that_is_damaged_is_made_again(home: Path, damage: str) -> None:
    maker = Maker()
    with maker.obtain() as folder:
        pass
    if damage == "changed":
        (folder / "content").write_text("other")
    elif damage == "removed":
        shutil.rmtree(folder)
    elif damage == "no note":
        (folder / cache.NOTE).unlink()
    else:
        next((home / "asked").iterdir()).write_text("{")
    with maker.obtain() as again:
        assert (again / "content").read_text() == "one"
    assert maker.times == 2


def _obtain_slowly(home: Path, made: Path) -> None:
    cache.root = lambda: home
    maker = Maker(seconds=1.0)
    with maker.obtain() as folder:
        assert (folder / "content").read_text() == "one"
    (made / str(os.getpid())).write_text(str(maker.times))


def test_two_runs_that_make_the_same_make_it_once(home: Path, tmp_path: Path) -> None:
    made = tmp_path / "made"
    made.mkdir()
    fork = multiprocessing.get_context("fork")
    children = [fork.Process(target=_obtain_slowly, args=(home, made)) for _ in range(3)]
    for child in children:
        child.start()
    for child in children:
        child.join(60)
    assert [child.exitcode for child in children] == [0, 0, 0]
    assert sorted(path.read_text() for path in made.iterdir()) == ["0", "0", "1"]


def test_only_what_no_run_uses_is_removed(home: Path) -> None:
    used, unused = Maker("used"), Maker("unused")
    with unused.obtain("unused"):
        pass
    with used.obtain("used") as folder:
        assert {(kept.asked[0], kept.used_now) for kept in cache.kept()} == {
            ("used", True),
            ("unused", False),
        }
        assert [kept.asked for kept in cache.prune()] == [["unused"]]
        assert folder.is_dir()
        assert len(list((home / "asked").iterdir())) == 1
    assert len(cache.prune()) == 1
    assert not cache.kept()
    assert not cache.prune()


def test_what_was_used_of_late_is_kept() -> None:
    with Maker().obtain() as folder:
        pass
    day = 86_400
    assert not cache.prune(day)
    os.utime(folder / cache.NOTE, (time.time() - 2 * day,) * 2)
    assert len(cache.prune(day)) == 1


def test_pruning_removes_what_a_killed_run_left(home: Path) -> None:
    with Maker().obtain():
        left = home / "making" / "0123-4567"
        left.mkdir()
        cache.prune()
        assert not left.exists()


def test_sizes_are_those_of_the_files() -> None:
    with Maker("x" * 5000).obtain():
        assert 5000 <= cache.kept()[0].size < 6000
