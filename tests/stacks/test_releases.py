"""Two releases of NumPy for real, from the index that is set up; then without a network."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow

TOOLS = [
    "pip",
    pytest.param("uv", marks=pytest.mark.skipif(not shutil.which("uv"), reason="no uv")),
]


def path_without_uv(folder: Path) -> str:
    """The PATH, less the folders that hold uv."""
    parts = os.environ["PATH"].split(os.pathsep)
    return os.pathsep.join(part for part in parts if not (Path(part) / "uv").exists())


@pytest.mark.parametrize("tool", TOOLS)
def test_two_releases_of_numpy_train_in_one_run(cli: Any, tool: str) -> None:
    index = {
        name: value
        for name, value in os.environ.items()
        if name.startswith(("PIP_", "UV_", "SSL_", "REQUESTS_")) or name.endswith("_proxy")
    }
    path = os.environ["PATH"] if tool == "uv" else path_without_uv(cli.folder)
    network = {"http_proxy": "", "https_proxy": "", **index, "PATH": path}
    asked = ("--stack", "old=numpy==1.26.*", "--stack", "new=numpy==2.*")
    run = cli.run("--backends", "numpy", *asked, **network)
    assert run.returncode == 0, run.stderr
    found = {
        record["trial"]["stack"]: record
        for file in cli.store.glob("*/records/*.json")
        if (record := json.loads(file.read_text()))
    }
    assert {label: record["status"] for label, record in found.items()} == {
        "old": "ok",
        "new": "ok",
    }
    assert found["old"]["stack"]["packages"]["numpy"].startswith("1.26.")
    assert found["new"]["stack"]["packages"]["numpy"].startswith("2.")
    assert all(record["parity"]["worst"] < 1e-4 for record in found.values())
    assert len(found["old"]["interleaved_with"]) == 1

    # nothing listens where the index would be looked for
    offline = {"PATH": path, "UV_OFFLINE": "1", "PIP_NO_INDEX": "1"}
    again = cli.run("--backends", "numpy", *asked, **offline)
    assert again.returncode == 0, again.stderr
    assert "being made" not in again.stderr
    assert len(list(cli.store.glob("*/records/*.json"))) == 4
