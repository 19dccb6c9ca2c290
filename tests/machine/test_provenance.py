"""Which commit made a record, and what must never be in one."""

from __future__ import annotations

import getpass
import json
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lstmbench.machine import provenance, redact

needs_git = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")


@pytest.fixture
def scrub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Callable[[str], str]]:
    """``scrub`` for the user ``marie`` on ``workhorse``, at home in ``/people/marie``."""
    monkeypatch.setattr(socket, "gethostname", lambda: "workhorse")
    monkeypatch.setattr(getpass, "getuser", lambda: "marie")
    monkeypatch.setattr(Path, "home", lambda: Path("/people/marie"))
    redact._secrets.cache_clear()
    yield redact.scrub
    redact._secrets.cache_clear()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/people/marie/x.py", "~/x.py"),
        ('File "/srv/work/deep/model.py", line 3', 'File ".../model.py", line 3'),
        ("marie@workhorse: killed", "<user>@<host>: killed"),
        ("workhorses of mariela", "workhorses of mariela"),
        ("loss 1.5/2.5 at 3 tokens/s", "loss 1.5/2.5 at 3 tokens/s"),
        ("--store=/data/runs/today", "--store=.../today"),
        ("see https://example.org/a/b.html", "see https://example.org/a/b.html"),
    ],
)
def test_scrubbing(scrub: Callable[[str], str], text: str, expected: str) -> None:
    assert scrub(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "/srv/secret/model.py",
        "'/srv/secret/model.py'",
        "(/srv/secret/model.py)",
        "open:/srv/secret/model.py",
        "PYTHONPATH=/usr/lib/x:/srv/secret/lib/y",
        "file:///srv/secret/model.py",
        "[/srv/secret/a/b.so, /srv/secret/c/d.so]",
        "/srv/secret/",
    ],
)
def test_folders_never_survive(scrub: Callable[[str], str], text: str) -> None:
    assert "secret" not in scrub(text)


def test_the_interpreter_s_folder_is_not_told(scrub: Callable[[str], str]) -> None:
    assert sys.prefix not in scrub(f"{sys.prefix}/lib/python/site-packages/torch/nn.py")


def test_scrubbing_twice_changes_nothing(scrub: Callable[[str], str]) -> None:
    text = "marie in /people/marie/a/b.py and /srv/deep/c.py on workhorse"
    assert scrub(scrub(text)) == scrub(text)


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A git checkout that lstmbench seems to be installed from."""
    folder = tmp_path / "checkout"
    (folder / "results").mkdir(parents=True)
    (folder / "code.py").write_text("pass\n")
    (folder / "results" / "table.md").write_text("\n")
    git(folder, "init", "-q")
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", "first")
    site = tmp_path / "site"
    info = site / "lstmbench-0.1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: lstmbench\nVersion: 0.1.0\n")
    (info / "RECORD").write_text("")
    (info / "direct_url.json").write_text(
        json.dumps({"url": folder.as_uri(), "dir_info": {"editable": True}})
    )
    monkeypatch.syspath_prepend(str(site))
    provenance._checkout.cache_clear()
    yield folder
    provenance._checkout.cache_clear()


def git(folder: Path, *arguments: str) -> str:
    who = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
    done = subprocess.run(
        ["git", *who, "-C", str(folder), *arguments], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


@needs_git
def test_a_clean_checkout_is_named(checkout: Path) -> None:
    assert provenance.commit() == (git(checkout, "rev-parse", "HEAD"), False)


@needs_git
@pytest.mark.parametrize(
    ("path", "dirty"),
    [
        *(("code.py", True), ("lstmbench/new.py", True), ("plugins/new.py", False)),
        *(("results/table.md", False), ("results/new.json", False), ("mine.zip", False)),
    ],
)
def test_changes_count_where_they_can_matter(checkout: Path, path: str, dirty: bool) -> None:
    (checkout / path).parent.mkdir(exist_ok=True)
    (checkout / path).write_text("changed\n")
    assert provenance.commit() == (git(checkout, "rev-parse", "HEAD"), dirty)
    assert (
        any(f"changed since the commit: {path};" in line for line in provenance.dirty_warnings())
        is dirty
    )


@needs_git
def test_a_new_file_of_an_installed_plugin_counts(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plugin = checkout / "plugins" / "mine"
    plugin.mkdir(parents=True)
    (plugin / "new.py").write_text("pass\n")
    found = provenance._sources()
    monkeypatch.setattr(provenance, "_sources", lambda: [*found, (plugin, found[0][1])])
    assert provenance.commit()[1] is True


@needs_git
def test_an_installed_copy_that_differs_is_dirty(checkout: Path, tmp_path: Path) -> None:
    (tmp_path / "site" / "code.py").write_text("something = 'else'\n")
    info = tmp_path / "site" / "lstmbench-0.1.0.dist-info"
    (info / "RECORD").write_text("code.py,,\n")
    assert provenance.commit()[1] is True
    (line,) = provenance.dirty_warnings()
    assert "lstmbench as installed" in line


@needs_git
def test_many_changes_are_counted(checkout: Path) -> None:
    (checkout / "lstmbench").mkdir()
    for number in range(5):
        (checkout / "lstmbench" / f"new{number}.py").write_text("")
    (line,) = provenance.dirty_warnings()
    assert "new2.py and 2 more; commit" in line


@needs_git
def test_without_git_there_is_no_commit(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert provenance.commit() == (None, None)


def test_an_installation_from_no_checkout_has_no_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    nowhere: list[Any] = []
    monkeypatch.setattr(provenance, "_sources", lambda: nowhere)
    provenance._checkout.cache_clear()
    assert provenance.commit() == (None, None)
    provenance._checkout.cache_clear()
