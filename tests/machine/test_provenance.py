"""Which commit made a record, and what must never be in one."""

from __future__ import annotations

import base64
import getpass
import hashlib
import importlib.metadata
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from lstmbench.machine import git as git_of
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


@pytest.fixture(autouse=True)
def _nothing_kept() -> Iterator[None]:
    kept = (provenance.host, provenance.plugins, git_of.checkout)
    for function in kept:
        function.cache_clear()
    yield
    for function in kept:
        function.cache_clear()


@dataclass(frozen=True)
class Site:
    """Installed distributions; ``loaded`` is where Python finds their modules."""

    folder: Path
    loaded: dict[str, Path]

    def install(self, name: str, noted: dict[str, Any], entry_points: str = "") -> Path:
        info = self.folder / f"{name.replace('-', '_')}-0.1.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 0.1.0\n")
        (info / "RECORD").write_text("")
        (info / "direct_url.json").write_text(json.dumps(noted))
        (info / "entry_points.txt").write_text(entry_points)
        return info

    def package(self, name: str, folder: Path) -> None:
        """Make the package ``name`` in ``folder``, where it is loaded from."""
        (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / name / "__init__.py").write_text("pass\n")
        self.loaded[name] = folder / name


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    """Nothing but what a test installs."""
    made = Site(tmp_path / "site", {})
    made.folder.mkdir()
    monkeypatch.syspath_prepend(str(made.folder))
    monkeypatch.setattr(
        importlib.metadata,
        "entry_points",
        lambda group: [
            entry
            for found in importlib.metadata.distributions(path=[str(made.folder)])
            for entry in found.entry_points
            if entry.group == group
        ],
    )
    monkeypatch.setattr(provenance, "_place", made.loaded.get)
    return made


def editable(folder: Path) -> dict[str, Any]:
    """What pip notes of it."""
    return {"url": folder.as_uri(), "dir_info": {"editable": True}}


def repository(folder: Path) -> Path:
    """A git repository of all that is there."""
    git(folder, "init", "-q")
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "--allow-empty", "-m", "first")
    return folder


@pytest.fixture
def checkout(tmp_path: Path, site: Site) -> Path:
    """A git checkout that lstmbench seems to be installed from."""
    folder = tmp_path / "checkout"
    (folder / "results").mkdir(parents=True)
    (folder / "code.py").write_text("pass\n")
    (folder / "results" / "table.md").write_text("\n")
    site.package("lstmbench", folder)
    site.install("lstmbench", editable(folder))
    return repository(folder)


def install_plugin(site: Site, folder: Path, noted: dict[str, Any] | None = None) -> Path:
    """The plugin ``lstmbench-mine``, loaded from ``folder``, installed from there."""
    site.package("lstmbench_mine", folder)
    entries = "[lstmbench]\nmine = lstmbench_mine\n"
    return site.install("lstmbench-mine", noted or editable(folder), entries)


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
        any(f"changed since the commit: {path};" in line for line in provenance.warnings()) is dirty
    )


@needs_git
def test_a_new_file_of_an_installed_plugin_counts(checkout: Path, site: Site) -> None:
    plugin = checkout / "plugins" / "mine"
    install_plugin(site, plugin)
    git(checkout, "add", "-A")
    git(checkout, "commit", "-q", "-m", "a plugin")
    assert provenance.commit()[1] is False
    (plugin / "new.py").write_text("pass\n")
    provenance.plugins.cache_clear()
    assert provenance.commit()[1] is True


@needs_git
def test_an_installed_copy_that_differs_is_dirty(checkout: Path, tmp_path: Path) -> None:
    (tmp_path / "site" / "code.py").write_text("something = 'else'\n")
    info = tmp_path / "site" / "lstmbench-0.1.0.dist-info"
    (info / "RECORD").write_text("code.py,,\n")
    assert provenance.commit()[1] is True
    (line,) = provenance.warnings()
    assert "lstmbench as installed" in line


@needs_git
def test_many_changes_are_counted(checkout: Path) -> None:
    for number in range(5):
        (checkout / "lstmbench" / f"new{number}.py").write_text("")
    (line,) = provenance.warnings()
    assert "new2.py and 2 more; commit" in line


@needs_git
def test_without_git_there_is_no_commit(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert provenance.commit() == (None, None)
    (line,) = provenance.warnings()
    assert "will not be for publication: git is not installed" in line


@needs_git
def test_git_s_own_words_are_told(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A checkout of another user, as containers and CI have it, is refused by git."""
    program = tmp_path / "bin" / "git"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\necho fatal: detected dubious ownership >&2\nexit 128\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    assert provenance.commit() == (None, None)
    (line,) = provenance.warnings()
    assert "git says: fatal: detected dubious ownership" in line


@needs_git
@pytest.mark.parametrize("more", [(), ("GIT_WORK_TREE",), ("GIT_WORK_TREE", "GIT_INDEX_FILE")])
def test_variables_of_another_repository_are_not_heeded(
    checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: tuple[str, ...]
) -> None:
    """git sets them in hooks and under ``git rebase --exec``."""
    other = tmp_path / "other"
    other.mkdir()
    repository(other)
    git(other, "commit", "-q", "--allow-empty", "-m", "another")
    head = git(checkout, "rev-parse", "HEAD")
    places = {"GIT_WORK_TREE": other, "GIT_INDEX_FILE": other / ".git" / "index"}
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    for name in more:
        monkeypatch.setenv(name, str(places[name]))
    assert provenance.commit() == (head, False)


def test_the_commit_that_pip_fetched_is_known(site: Site) -> None:
    site.package("lstmbench", site.folder)
    info = site.install(
        "lstmbench", {"url": "https://x.org/y", "vcs_info": {"commit_id": "c0ffee"}}
    )
    (info / "RECORD").write_text(recorded("lstmbench/__init__.py", b"pass\n"))
    assert provenance.commit() == ("c0ffee", False)
    assert provenance.warnings() == []


def test_an_installation_that_was_changed_is_dirty(site: Site) -> None:
    site.package("lstmbench", site.folder)
    info = site.install(
        "lstmbench", {"url": "https://x.org/y", "vcs_info": {"commit_id": "c0ffee"}}
    )
    (info / "RECORD").write_text(recorded("lstmbench/__init__.py", b"half()\n"))
    assert provenance.commit() == ("c0ffee", True)
    (line,) = provenance.warnings()
    assert "lstmbench as installed" in line


def recorded(path: str, content: bytes) -> str:
    """The line of pip's list for a file."""
    digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=")
    return f"{path},sha256={digest.decode()},{len(content)}\n"


@needs_git
def test_code_from_elsewhere_has_no_commit(checkout: Path, site: Site, tmp_path: Path) -> None:
    """``PYTHONPATH``, or ``python -m`` in another checkout, comes before what is installed."""
    site.package("lstmbench", tmp_path / "another")
    assert provenance.commit() == (None, None)
    (line,) = provenance.warnings()
    assert (
        f"lstmbench is loaded from {tmp_path / 'another'}, not from where it is installed" in line
    )


@needs_git
def test_a_plugin_from_elsewhere_is_dirty(checkout: Path, site: Site, tmp_path: Path) -> None:
    install_plugin(site, tmp_path / "mine")
    site.package("lstmbench_mine", tmp_path / "another")
    assert provenance.commit()[1] is True
    (line,) = provenance.warnings()
    assert "lstmbench-mine is loaded from" in line


@needs_git
def test_a_plugin_has_a_commit_of_its_own(checkout: Path, site: Site, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    install_plugin(site, mine)
    repository(mine)
    (plugin,) = provenance.plugins()
    assert (plugin.distribution, plugin.version) == ("lstmbench-mine", "0.1.0")
    assert plugin.commit == git(mine, "rev-parse", "HEAD") != provenance.host().commit
    assert provenance.commit() == (git(checkout, "rev-parse", "HEAD"), False)
    (mine / "lstmbench_mine" / "__init__.py").write_text("faster = True\n")
    provenance.plugins.cache_clear()
    git_of.checkout.cache_clear()
    assert provenance.plugins()[0].dirty
    assert provenance.commit()[1] is True


@needs_git
def test_what_python_compiles_is_no_change(checkout: Path, site: Site, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    install_plugin(site, mine)
    compiled = mine / "lstmbench_mine" / "__pycache__" / "__init__.cpython-311.pyc"
    compiled.parent.mkdir()
    compiled.write_text("1")
    repository(mine)  # committed by mistake
    compiled.write_text("2")
    (compiled.parent / "new.cpython-311.pyc").write_text("3")
    assert not provenance.plugins()[0].dirty


@needs_git
def test_a_plugin_in_no_commit_is_told(checkout: Path, site: Site, tmp_path: Path) -> None:
    install_plugin(site, tmp_path / "mine")
    (plugin,) = provenance.plugins()
    assert plugin.commit is None
    assert plugin.digest
    assert not plugin.dirty
    (line,) = provenance.warnings()
    assert line.startswith("lstmbench-mine is in no commit (git says: ")
    assert str(tmp_path / "mine") in line


def test_a_plugin_s_digest_is_of_what_is_loaded(site: Site, tmp_path: Path) -> None:
    install_plugin(site, tmp_path / "mine")
    first = provenance.plugins()[0].digest
    (tmp_path / "mine" / "lstmbench_mine" / "__pycache__").mkdir()
    (tmp_path / "mine" / "lstmbench_mine" / "__pycache__" / "x.pyc").write_bytes(b"compiled")
    provenance.plugins.cache_clear()
    assert provenance.plugins()[0].digest == first
    (tmp_path / "mine" / "lstmbench_mine" / "kernel.c").write_text("int x;")
    provenance.plugins.cache_clear()
    assert provenance.plugins()[0].digest != first


def test_a_plugin_s_digest_is_of_what_pip_installed_beside_it(site: Site) -> None:
    """A compiled module, for one."""
    info = install_plugin(site, site.folder, {"url": "https://x.org/mine-0.1.0.whl"})
    compiled = site.folder / "_mine.so"
    compiled.write_bytes(b"fast")
    lines = [recorded("_mine.so", b"fast"), recorded("lstmbench_mine/__init__.py", b"pass\n")]
    (info / "RECORD").write_text("".join([*lines, "../../bin/mine,,\n"]))
    first = provenance.plugins()[0]
    assert (first.commit, first.dirty) == (None, False)
    digest = first.digest
    compiled.write_bytes(b"faster")
    provenance.plugins.cache_clear()
    second = provenance.plugins()[0]
    assert second.digest != digest
    assert second.dirty


def test_a_plugin_that_is_not_found_has_no_digest(site: Site, tmp_path: Path) -> None:
    install_plugin(site, tmp_path / "mine")
    site.loaded.clear()
    assert provenance.plugins()[0].digest is None


@pytest.mark.parametrize("noted", ["not json", "[]", '{"url": 5}', '{"vcs_info": []}'])
def test_notes_that_pip_did_not_write(site: Site, noted: str) -> None:
    site.package("lstmbench", site.folder)
    info = site.install("lstmbench", {})
    (info / "direct_url.json").write_text(noted)
    assert provenance.commit() == (None, None)


def test_an_installation_from_no_checkout_has_no_commit(site: Site) -> None:
    site.package("lstmbench", site.folder)
    site.install("lstmbench", {})
    assert provenance.commit() == (None, None)
    (line,) = provenance.warnings()
    assert "will not be for publication: lstmbench was not installed from a checkout" in line
