"""The plugin that ``lstmbench new`` writes: the example under other names and in its own words."""

from __future__ import annotations

import keyword
import re
import shutil
import tempfile
from collections.abc import Mapping
from importlib import metadata, resources
from pathlib import Path
from string import Template

from lstmbench import __version__
from lstmbench.errors import UserError
from lstmbench.plugin import catalogue, manager
from lstmbench.records.files import exists

EXAMPLE = "lstmbench_numpy"

PYPROJECT = Template("""\
[build-system]
requires = ["hatchling>=1.26"]
build-backend = "hatchling.build"

[project]
name = "lstmbench-$name"
version = "0.1.0"
description = "LSTM training with $name, as an lstmbench backend"
readme = "README.md"
requires-python = ">=3.11"
# add your framework
dependencies = ["lstmbench>=$version", "numpy>=1.26"]

[project.optional-dependencies]
test = ["pytest>=8"]

[project.entry-points.lstmbench]
$name = "$package"

[tool.hatch.build.targets.wheel]
packages = ["$package"]
""")

README = Template("""\
# lstmbench-$name

A backend for [lstmbench](https://pypi.org/project/lstmbench/).

    pip install --editable .
    lstmbench check $name
    lstmbench run --backends $name

`$package/__init__.py` tells lstmbench what there is, without importing a framework;
`$package/backend.py` computes. It passes every check as it is, since it calls the reference.
Replace the calls of `reference` one method at a time; `lstmbench check $name` says which part is
not right yet, `lstmbench debug $name` by how much. Every line to change is marked with TODO.
""")

TEST = Template("""\
from lstmbench.testing import Conformance


class Test$title(Conformance):
    backend = "$name"
""")


def check_name(name: str) -> None:
    """Raise :class:`UserError` for what cannot name a backend, a package and a distribution."""
    if keyword.iskeyword(name):
        raise UserError(f"{name!r} cannot name a plugin: it is a keyword of Python")
    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", name):
        raise UserError(
            f"{name!r} cannot name a plugin: use lower-case letters and digits, parts joined by "
            "single hyphens, a letter first"
        )
    if name == "all" or name in manager.load().backends() or name in catalogue.backends():
        raise UserError(f"there is a backend {name!r} already: choose another name")
    try:
        metadata.distribution(f"lstmbench-{name}")
    except metadata.PackageNotFoundError:
        return
    raise UserError(f"the distribution lstmbench-{name} is installed already: choose another name")


#: What the example's modules say, and what the new plugin's say instead.
WORDING = {
    "__init__.py": {
        '"""The NumPy reference as a backend: the worked example for plugin authors."""': (
            '"""What lstmbench is told of $name; read at every start, so without a framework."""'
        ),
        'name="numpy",': 'name="$name",',
        'summary="the reference equations in NumPy",': (
            'summary="LSTM training with $name",  # TODO: with which layer or kernel'
        ),
        "lstmbench_numpy.backend:NumpyBackend": "$package.backend:${title}Backend",
        'imports=("numpy",),': "imports=(),  # TODO: your framework's top-level module",
        "pip install ./plugins/numpy": "pip install lstmbench-$name",
        'modes={"cpu": ("eager",)},': (
            'modes={"cpu": ("eager",)},  # TODO: for each device, the default first'
        ),
    },
    "backend.py": {
        '"""The reference of ``lstmbench.reference`` behind the backend interface."""': (
            '"""LSTM training with $name. TODO: your framework for each call of ``reference``."""'
        ),
        "class NumpyBackend(Backend):": "class ${title}Backend(Backend):",
        '"""Every method is one call: the equations are in ``lstmbench.reference``."""': (
            '"""The docstrings of :class:`lstmbench.Backend` say what each method returns."""'
        ),
        "NumPy computes on the cpu": "$name computes on the cpu",
        '"numpy": np.__version__,': '"$name": "0.1.0",  # TODO: your framework\'s version',
        '"kernel": "NumPy\'s BLAS, one matmul per time step",': (
            '"kernel": "the reference",  # TODO: the path really taken'
        ),
    },
}


def _adapted(module: str, source: str, names: Mapping[str, str]) -> str:
    """The example's module in the new plugin's words."""
    for old, new in WORDING[module].items():
        assert source.count(old) == 1, f"the example's {module} does not say {old!r}"
        source = source.replace(old, Template(new).substitute(names))
    return source


def write_plugin(name: str, into: Path) -> Path:
    """Write ``into/lstmbench-NAME`` in one step, or raise :class:`UserError` and write nothing."""
    check_name(name)
    folder = into / f"lstmbench-{name}"
    if exists(folder):
        raise UserError(f"{folder} exists already: move it away or choose another name")
    try:
        example = resources.files(EXAMPLE)
    except ModuleNotFoundError:
        advice = catalogue.backends()["numpy"].advice
        raise UserError(f"the example to start from is not installed: {advice}") from None
    package = "lstmbench_" + name.replace("-", "_")
    title = "".join(part.capitalize() for part in name.split("-"))
    names = {"name": name, "package": package, "title": title, "version": __version__}
    files = {
        "pyproject.toml": PYPROJECT.substitute(names),
        "README.md": README.substitute(names),
        "tests/test_conformance.py": TEST.substitute(names),
        ".gitignore": "__pycache__/\n*.egg-info/\ndist/\nlstmbench-runs/\n",
        f"{package}/py.typed": "",
    }
    for module in ("__init__.py", "backend.py"):
        source = example.joinpath(module).read_text("utf-8")
        files[f"{package}/{module}"] = _adapted(module, source, names)
    try:
        # made aside and moved, so that a full disk leaves nothing half-written
        into.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=into) as aside:
            made = Path(aside) / folder.name
            for path, content in files.items():
                (made / path).parent.mkdir(parents=True, exist_ok=True)
                (made / path).write_text(content, encoding="utf-8")
            shutil.move(made, folder)
    except OSError as error:
        raise UserError(f"{folder} cannot be written: {error.strerror or error}") from error
    return folder
