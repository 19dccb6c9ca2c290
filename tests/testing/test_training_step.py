"""The fixture ``lstmbench_training_step``, as plugin authors use it, beside other projects."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.conftest import Cli

TEST = """
def test_step({fixture}):
    {fixture}()
    {fixture}()
"""
PLUGIN = """
from lstmbench import BackendSpec, hookimpl

@hookimpl
def lstmbench_backends():
    return [
        BackendSpec(name, "", f"faulty_backends:{factory}", {"cpu": ("eager", "other")}, **more)
        for name, factory, more in (
            ("absent", "NoSuchDevice", {}),
            ("broken", "RaisesInPrepare", {}),
            ("apart", "RaisesInPrepare", {"out_of_all": "for this test"}),
        )
    ]
"""


STEPS = TEST.format(fixture="lstmbench_training_step")


def run_pytest(cli: Cli, *options: str, **files: str) -> subprocess.CompletedProcess[str]:
    for name, content in files.items():
        (cli.folder / f"{name}.py").write_text(content)
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-v", "-p", "no:cacheprovider", *options],
        cwd=cli.folder,
        env=cli.environment(),
        capture_output=True,
        text=True,
        check=False,
    )


def outcomes(done: subprocess.CompletedProcess[str]) -> dict[str, str]:
    found = re.findall(r"test_step\[([^\]]+)\] (PASSED|SKIPPED|ERROR|FAILED)", done.stdout)
    assert found, done.stdout
    return dict(found)


def test_every_installed_backend_is_stepped_in_a_worker_of_its_own(cli: Cli) -> None:
    cli.plugin("odd", PLUGIN)
    done = run_pytest(cli, test_steps=STEPS)
    assert outcomes(done) == {
        "numpy:eager-cpu": "PASSED",
        "absent:eager-cpu": "SKIPPED",
        "broken:eager-cpu": "ERROR",
    }
    assert "cannot be prepared" in done.stdout


def test_backends_and_modes_can_be_chosen(cli: Cli) -> None:
    cli.plugin("odd", PLUGIN)
    some = run_pytest(
        cli, "--collect-only", "-q", "--lstmbench-backends", "apart,absent:other", test_steps=STEPS
    )
    assert re.findall(r"test_step\[(.+)\]", some.stdout) == ["apart:eager-cpu", "absent:other-cpu"]
    every = run_pytest(
        cli, "--collect-only", "-q", "--lstmbench-all-modes", "--lstmbench-devices", "cpu"
    )
    assert "test_step[broken:other-cpu]" in every.stdout
    wrong = run_pytest(cli, "--lstmbench-backends", "nosuch")
    assert wrong.returncode != 0
    assert "unknown backend 'nosuch'" in wrong.stdout + wrong.stderr


OPTIONS = """
def pytest_addoption(parser):
    parser.addoption("--all-modes", action="store_true")
    parser.addoption("--backends")
"""
FIXTURE = """
import pytest

@pytest.fixture
def training_step():
    return 7

def test_own(training_step):
    assert training_step == 7
"""
PARAMETERS = """
import pytest

@pytest.mark.parametrize("training_step", [1, 2])
def test_own(training_step, request):
    assert training_step in (1, 2)
    assert request.config.getoption("--all-modes") is True
"""


def test_other_projects_are_left_alone(cli: Cli) -> None:
    own = run_pytest(cli, "-W", "error", test_own=FIXTURE)
    assert own.returncode == 0, own.stdout + own.stderr
    assert "1 passed" in own.stdout
    options = ("-W", "error", "--all-modes", "--backends", "x")
    theirs = run_pytest(cli, *options, conftest=OPTIONS, test_own=PARAMETERS)
    assert theirs.returncode == 0, theirs.stdout + theirs.stderr
    assert "2 passed" in theirs.stdout
