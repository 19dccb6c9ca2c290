"""Virtual environments without pip, whose NumPy is that of the environment that runs the tests."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
from pathlib import Path


def site(environment: Path) -> Path:
    (found,) = environment.glob("lib/python*/site-packages")
    return found


def create(environment: Path, numpy: bool = True) -> None:
    subprocess.run([sys.executable, "-I", "-m", "venv", "--without-pip", environment], check=True)
    distribution = importlib.metadata.distribution("numpy")
    tops = {Path(str(file)).parts[0] for file in distribution.files or ()} - {".."}
    for top in tops if numpy else ():
        (site(environment) / top).symlink_to(Path(str(distribution.locate_file(top))).resolve())


def add(
    environment: Path,
    name: str,
    version: str = "1.0",
    entry_points: str = "",
    modules: dict[str, str] | None = None,
) -> None:
    """A distribution of single modules."""
    folder = site(environment)
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    if entry_points:
        (info / "entry_points.txt").write_text(f"[lstmbench]\n{entry_points}\n")
    for module, source in (modules or {}).items():
        (folder / f"{module}.py").write_text(source)
