"""``lstmbench new``: complete or not at all."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import tomllib
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.conftest import Cli


def test_a_new_plugin_is_complete(cli: Cli) -> None:
    done = cli("new", "my-own")
    assert done.returncode == 0, done.stderr
    folder = cli.folder / "lstmbench-my-own"
    project = tomllib.loads((folder / "pyproject.toml").read_text())
    assert project["project"]["entry-points"]["lstmbench"] == {"my-own": "lstmbench_my_own"}
    for module in ("__init__.py", "backend.py"):
        source = (folder / "lstmbench_my_own" / module).read_text()
        ast.parse(source)
        assert "TODO" in source
        # the library is still used where the reference needs arrays
        said = source.replace("import numpy as np", "")
        assert "numpy" not in said.lower(), module
    assert 'backend = "my-own"' in (folder / "tests" / "test_conformance.py").read_text()
    assert "lstmbench check my-own" in done.stdout


@pytest.mark.types
def test_a_new_plugin_passes_strict_type_checks_against_the_installed_host(cli: Cli) -> None:
    assert cli("new", "mine").returncode == 0
    folder = cli.folder / "lstmbench-mine"
    wrong = "from lstmbench import Task\n\nlayers: str = Task.device_kind\n"
    for source, status in (("", 0), (wrong, 1)):
        (folder / "lstmbench_mine" / "extra.py").write_text(source)
        # away from the checkout, whose settings would count
        done = subprocess.run(
            [sys.executable, "-m", "mypy", "--strict", "--cache-dir", cli.scratch, "."],
            cwd=folder,
            env={key: os.environ[key] for key in ("PATH", "HOME") if key in os.environ},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == status, done.stdout + done.stderr


def test_a_new_plugin_passes_as_it_is(cli: Cli) -> None:
    assert cli("new", "my-own").returncode == 0
    project = cli.folder / "lstmbench-my-own"
    for module in project.glob("lstmbench_*"):
        module.rename(cli.site / module.name)
    cli.distribution("lstmbench-my-own", "[lstmbench]\nmy-own = lstmbench_my_own\n")
    checked = cli("check", "my-own")
    assert checked.returncode == 0, checked.stdout
    assert "failed" not in checked.stdout


@pytest.mark.parametrize("name", ["My", "1st", "a_b", "a--b", "-a", "class", "all", "ü", "a/b", ""])
def test_unusable_names(cli: Cli, name: str) -> None:
    before = sorted(cli.folder.iterdir())
    done = cli("new", "--", name)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert sorted(cli.folder.iterdir()) == before


def test_a_keyword_is_refused_as_one(cli: Cli) -> None:
    assert "'class' cannot name a plugin: it is a keyword" in cli("new", "class").stderr


def test_taken_names(cli: Cli) -> None:
    for name in ("numpy", "torch"):
        done = cli("new", name)
        assert done.returncode == 2
        assert "already" in done.stderr


def test_a_folder_that_exists_is_left_alone(cli: Cli) -> None:
    (cli.folder / "lstmbench-mine").mkdir()
    done = cli("new", "mine")
    assert done.returncode == 2
    assert list((cli.folder / "lstmbench-mine").iterdir()) == []


def test_an_unwritable_place(cli: Cli) -> None:
    (cli.folder / "file").write_text("")
    done = cli("new", "mine", "--into", cli.folder / "file")
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
