"""What is imported where: the host no framework, a worker only NumPy, a spec not even that."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

import lstmbench.audit
import lstmbench.worker

FRAMEWORKS = ("tensorflow", "torch", "jax", "jaxlib", "keras", "cupy", "mxnet")
#: Of dependencies that are imported under another name.
IMPORT_NAMES = {"nvidia-ml-py": "pynvml"}
ROOT = Path(__file__).parents[1]
#: Needs the standard library and NumPy only.
LEAN = (
    *("", ".backend", ".batches", ".protocol", ".reference", ".errors"),
    *(
        f".{folder.__name__.rpartition('.')[2]}.{path.stem}"
        for folder in (lstmbench.worker, lstmbench.audit)
        for path in sorted(Path(folder.__path__[0]).glob("*.py"))
        if path.stem != "__init__"
    ),
)


def test_the_contracts_forbid_every_dependency_to_a_worker() -> None:
    """``lint-imports`` takes a list of what is forbidden; NumPy alone is not on it."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    contracts = {c["id"]: c for c in settings["tool"]["importlinter"]["contracts"]}
    wanted = list(settings["project"]["dependencies"])
    for extra in settings["project"]["optional-dependencies"].values():
        wanted += extra
    named = {re.split(r"[^\w-]", line)[0] for line in wanted}
    imported = {IMPORT_NAMES.get(name, name) for name in named} - {"numpy"}
    assert set(contracts["worker"]["forbidden_modules"]) == imported
    assert set(FRAMEWORKS) < set(contracts["frameworks"]["forbidden_modules"])


@pytest.fixture
def trapped(cli: Any) -> Any:
    """Every framework is there, and tells when it is imported."""
    for name in FRAMEWORKS:
        (cli.site / name).mkdir()
        trap = f"open({str(cli.folder / 'imported')!r}, 'a').write({name!r} + '\\n')\n"
        (cli.site / name / "__init__.py").write_text(f"{trap}raise SystemExit('imported {name}')\n")
        cli.distribution(name, "")
    return cli


def test_the_trap_works(trapped: Any) -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import torch"], env=trapped.environment(), check=False
    )
    assert done.returncode != 0
    assert (trapped.folder / "imported").read_text() == "torch\n"


def test_the_host_imports_no_framework(trapped: Any) -> None:
    spec = """
from lstmbench import BackendSpec, hookimpl

@hookimpl
def lstmbench_backends():
    factory = "lstmbench_numpy.backend:NumpyBackend"
    return [BackendSpec("mine", "", factory, {"cpu": ("eager",)}, imports=("torch", "jax"))]
"""
    trapped.plugin("mine", spec)
    run = trapped.run("--backends", "numpy,mine", "--epochs", "2")
    assert run.returncode == 0, run.stderr
    assert trapped.records()["numpy"]["machine"]["versions"]["torch"] == "0.1"
    for command in (("--help",), ("list",), ("report", trapped.store), ("check", "numpy")):
        done = trapped(*command)
        assert done.returncode == 0, done.stderr
    assert not (trapped.folder / "imported").exists()


def loaded(cli: Any, code: str) -> set[str]:
    """Top-level modules beyond the standard library that ``code`` brings in."""
    show = "import json, sys; before = set(sys.modules)\n"
    show += f"{code}\nprint(json.dumps(sorted(set(sys.modules) - before)))"
    done = subprocess.run(
        [sys.executable, "-c", show],
        env=cli.environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    top = {name.partition(".")[0] for name in json.loads(done.stdout)}
    return {name for name in top if name not in sys.stdlib_module_names}


@pytest.mark.parametrize("module", LEAN)
def test_a_worker_s_modules_need_numpy_only(cli: Any, module: str) -> None:
    assert loaded(cli, f"import lstmbench{module}") <= {"lstmbench", "numpy"}


def test_the_worked_example_s_backend_needs_little_more(cli: Any) -> None:
    extra = loaded(cli, "import lstmbench_numpy.backend")
    assert extra <= {"lstmbench", "lstmbench_numpy", "numpy", "pluggy"}


def test_specs_and_protocols_load_without_numpy(cli: Any) -> None:
    (cli.site / "numpy").mkdir()
    (cli.site / "numpy" / "__init__.py").write_text("raise ImportError('no numpy here')")
    assert "numpy" not in loaded(cli, "import lstmbench.backend, lstmbench.protocol")
    assert "numpy" not in loaded(cli, "from lstmbench import BackendSpec, Task, Protocol")
    for command in (("--help",), ("list",)):
        done = cli(*command)
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""


def test_starting_up_stays_lean(cli: Any) -> None:
    """Help and list bring in nothing that takes long to import."""
    heavy = {"numpy", "scipy", "matplotlib", "pydantic", "rich", "pooch", "PIL"}
    for command in ("--help", "list"):
        code = f"sys.argv[1:] = [{command!r}]\nfrom lstmbench.cli import main\n"
        code += "import contextlib, io\nwith contextlib.redirect_stdout(io.StringIO()):\n"
        code += "    with contextlib.suppress(SystemExit): main()"
        assert not loaded(cli, code) & heavy
