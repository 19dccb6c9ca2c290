"""Environments that hold NumPy only, made in a moment, and a uv that makes such ones."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

#: Stands for uv: notes what it is told, and knows the versions of ``thing`` below 99.
UV = """#!{python}
import sys
from pathlib import Path

sys.path.insert(0, {here!r})
from small_environments import add, create

folder = Path(__file__).parent
arguments = sys.argv[1:]
with open(folder / "uv.log", "a") as log:
    log.write(" ".join(arguments) + "\\n")
if (folder / "fails").exists():
    sys.exit("error: " + (folder / "fails").read_text())
if arguments[0] == "venv":
    create(Path(arguments[-1]))
    sys.exit()
environment = Path(arguments[arguments.index("--python") + 1]).parents[1]
for requirement in arguments[arguments.index("--python") + 2 :]:
    name, _, version = requirement.partition("==")
    if name == "thing" and version == "99":
        sys.exit(
            "Using Python 3.11\\nerror: No solution found\\n  cause: Because there is no version "
            "of thing==99 and you\\n    require thing==99, no.\\nhint: ask for less"
        )
    if name == "thing":
        add(environment, name, version)
"""


@pytest.fixture
def uv(tmp_path: Path) -> Path:
    """The folder with the stand-in, to be the first on the PATH."""
    folder = tmp_path / "uv"
    folder.mkdir()
    script = folder / "uv"
    script.write_text(UV.format(python=sys.executable, here=str(Path(__file__).parent)))
    script.chmod(0o755)
    return folder


def told(uv: Path) -> list[str]:
    """What the stand-in was told, the first word of each command."""
    log = uv / "uv.log"
    return [line.split()[0] for line in log.read_text().splitlines()] if log.exists() else []


@pytest.fixture
def environment(tmp_path: Path) -> Callable[..., Path]:
    """Makes an environment with some distributions (name, version, entry points, modules)."""
    from tests.stacks.small_environments import add, create

    def make(name: str = "other", **distributions: Any) -> Path:
        folder = tmp_path / name
        create(folder)
        for own, facts in distributions.items():
            add(folder, own.replace("_", "-"), **facts)
        return folder / "bin" / "python"

    return make


def numpy_version() -> str:
    return importlib.metadata.version("numpy")


def run_in(python: Path, code: str) -> str:
    return subprocess.run(
        [python, "-I", "-c", code], capture_output=True, text=True, check=True
    ).stdout
