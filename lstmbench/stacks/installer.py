"""uv, or venv and pip where there is no uv: makes environments and installs into them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from lstmbench.messages import one_line

#: Characters of what an installer says last.
MAX_SAID = 400
#: What leads an installer to another environment than the one that it is told.
ELSEWHERE = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "CONDA_PREFIX", "PIP_TARGET", "PIP_USER")
#: What uv marks the reason with, in new versions and in old ones.
_CAUSE = re.compile(r"\s*(cause:|╰─▶)\s*")


class CannotInstall(Exception):
    """The installer failed; the message is what it says last."""


def interpreter(environment: Path) -> Path:
    """The Python of a virtual environment."""
    return environment / "bin" / "python"


def create(environment: Path) -> None:
    """A new environment with the Python that runs here. Raises :class:`CannotInstall`."""
    if uv := shutil.which("uv"):
        _run([uv, "venv", "--no-project", "--python", sys.executable, str(environment)])
    else:
        _run([sys.executable, "-I", "-m", "venv", str(environment)])


def install(environment: Path, *arguments: str) -> None:
    """Install what the arguments of ``pip install`` say. Raises :class:`CannotInstall`."""
    python = str(interpreter(environment))
    if uv := shutil.which("uv"):
        own = [uv, "pip", "install", "--compile-bytecode", "--python", python]
    else:
        own = [python, "-I", "-m", "pip", "install", "--no-input", "--disable-pip-version-check"]
    _run([*own, *arguments], environment.parent)


def _run(command: list[str], folder: Path | None = None) -> None:
    environment = {name: value for name, value in os.environ.items() if name not in ELSEWHERE}
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
        )
    except OSError as error:
        raise CannotInstall(f"{command[0]}: {error.strerror or error}") from error
    if done.returncode:
        name = "uv" if Path(command[0]).name == "uv" else command[3]
        raise CannotInstall(f"{name} says: {verdict(done.stdout) or done.returncode}")


def verdict(output: str) -> str:
    """The reason in what an installer printed: uv's cause, pip's last error, or the last line."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    causes = [number for number, line in enumerate(lines) if _CAUSE.match(line)]
    errors = [line for line in lines if line.startswith("ERROR: ") and "Impossible:" not in line]
    if causes:
        # wrapped over several lines
        end = next((n for n, s in enumerate(lines) if n > causes[-1] and s[:5] == "hint:"), None)
        said = _CAUSE.sub("", " ".join(lines[causes[-1] : end]))
    elif errors:
        said = errors[-1].removeprefix("ERROR: ")
    else:
        said = lines[-1].removeprefix("error: ") if lines else ""
    return one_line(said if len(said) <= MAX_SAID else f"{said[:MAX_SAID]}...")
