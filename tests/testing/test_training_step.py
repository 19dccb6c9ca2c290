"""The fixture ``training_step``, as an author of a plugin uses it."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.conftest import Cli

TEST = """
def test_step(training_step):
    training_step()
    training_step()
"""
PLUGIN = """
from lstmbench import BackendSpec, hookimpl

@hookimpl
def lstmbench_backends():
    return [
        BackendSpec(name, "", f"faulty_backends:{factory}", {"cpu": ("eager",)})
        for name, factory in (("absent", "NoSuchDevice"), ("broken", "RaisesInPrepare"))
    ]
"""


def test_every_installed_backend_is_stepped_in_a_worker_of_its_own(cli: Cli) -> None:
    cli.plugin("odd", PLUGIN)
    (cli.folder / "test_steps.py").write_text(TEST)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-v", "-p", "no:cacheprovider", "test_steps.py"],
        cwd=cli.folder,
        env=cli.environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    outcomes = {
        name: next(word for word in ("PASSED", "SKIPPED", "ERROR", "FAILED") if word in line)
        for line in done.stdout.splitlines()
        for name in ("numpy", "absent", "broken")
        if f"test_step[{name}:eager-cpu] " in line
    }
    assert outcomes == {"numpy": "PASSED", "absent": "SKIPPED", "broken": "ERROR"}, done.stdout
    assert "cannot be prepared" in done.stdout
