"""Every command of the plugin guide, in its order, in a fresh environment."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


def commands() -> list[str]:
    text = (ROOT / "docs" / "plugin-guide.md").read_text()
    blocks = re.findall(r"^```sh\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)
    return [line for block in blocks for line in block.splitlines() if line.strip()]


def test_the_guide_leads_to_a_published_row(tmp_path: Path) -> None:
    environment = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", environment], check=True)
    pip: list[str | Path] = [
        environment / "bin" / "pip",
        "install",
        "-q",
        "-c",
        ROOT / "constraints.txt",
    ]
    subprocess.run([*pip, ROOT, ROOT / "plugins" / "numpy", "pytest"], check=True)
    work = tmp_path / "work"
    work.mkdir()
    path = f"{environment / 'bin'}{os.pathsep}{os.environ['PATH']}"
    found = commands()
    assert len(found) >= 8, "the guide's commands were not recognised"
    for command in found:
        done = subprocess.run(
            ["bash", "-euc", command],
            cwd=work,
            env={**os.environ, "PATH": path},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    assert "| mine" in (work / "RESULTS.md").read_text()
