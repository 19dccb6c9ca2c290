"""Stacks that a run may use: made or found, described, and joined with the host's code."""

from __future__ import annotations

import glob
import hashlib
import importlib.metadata
import json
import subprocess
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from importlib.metadata import Distribution
from pathlib import Path
from typing import Any

from packaging.utils import canonicalize_name

from lstmbench.backend import INTERFACES
from lstmbench.machine import provenance
from lstmbench.machine.redact import scrub
from lstmbench.messages import one_line, storable
from lstmbench.records.record import PluginCode, Stack, digest_of_stack
from lstmbench.stacks import cache, installer
from lstmbench.stacks.installer import CannotInstall
from lstmbench.stacks.interpreter import Interpreter
from lstmbench.stacks.needs import Needs, constraints, copy_code, this_python
from lstmbench.stacks.request import Request
from lstmbench.worker import describe as script

#: Seconds after which an interpreter that says nothing is given up.
DESCRIBE_SECONDS = 120.0
#: Folders of a checkout that no code is installed from.
NOT_CODE = {".git", ".hg", ".tox", ".venv", "__pycache__", "build", "dist", "node_modules"}


class Unusable(Exception):
    """A stack that no trial can run in; the message says why."""


@dataclass(frozen=True)
class Ready:
    """A stack as records hold it, its interpreter, and why backends cannot run in it, if so."""

    facts: Stack
    interpreter: Interpreter | None = None
    obstacles: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Description:
    """What an interpreter says of itself; see :mod:`lstmbench.worker.describe`."""

    python: str
    packages: Mapping[str, str]
    backends: Mapping[str, Mapping[str, Any]]
    faults: Mapping[str, str]

    @property
    def digest(self) -> str:
        return digest_of_stack(self.python, self.packages)


@contextmanager
def ready(
    requests: Sequence[Request], needs: Needs, code: Path, tell: Callable[[str], None]
) -> Iterator[dict[str, Ready]]:
    """Each stack by its label, until the end of the block; what cannot be had says why.

    The code of the host, and of plugins that a stack has not its own of, is copied to ``code``.
    """
    with ExitStack() as held:
        host = copy_code(provenance.host(), code, {".py"})
        found = {}
        for request in requests:

            def say(what: str, label: str = request.label) -> None:
                tell(f"stack {label}: {what}")

            try:
                found[request.label] = _ready(request, needs, host, held, say)
            except (Unusable, CannotInstall) as error:
                facts = Stack(label=request.label, request=request.recorded)
                why = f"stack {request.label}: {error}"
                found[request.label] = Ready(facts, obstacles={s.name: why for s in needs.specs})
        yield found


def _ready(
    request: Request, needs: Needs, host: str, held: ExitStack, tell: Callable[[str], None]
) -> Ready:
    if request.form == "python":
        assert request.path is not None
        python = request.path
    else:
        asked = _asked(request, needs)
        folder = held.enter_context(
            cache.obtained(
                asked,
                lambda new: _make(request, needs, cache.environment(new)),
                lambda made: _described(_python(made), host).digest,
                tell,
            )
        )
        python = _python(folder)
    description = _described(python, host)
    obstacles = _obstacles(request, needs, description)
    usable = [spec.name for spec in needs.specs if spec.name not in obstacles]
    theirs = [name for name in usable if name in description.backends]
    ours = {needs.origin(name) for name in usable if name not in theirs}
    paths = [host, *(copy_code(origin, Path(host).parent) for origin in ours)]
    wanted: set[str] = {canonicalize_name(description.backends[n]["distribution"]) for n in theirs}
    facts = Stack(
        label=request.label,
        request=request.recorded,
        python=description.python,
        packages=dict(description.packages),
        digest=description.digest,
        plugins=_plugins(python, host, wanted) if wanted else [],
    )
    return Ready(facts, Interpreter(str(python), paths), obstacles)


def _python(folder: Path) -> Path:
    return installer.interpreter(cache.environment(folder))


def _obstacles(request: Request, needs: Needs, found: Description) -> dict[str, str]:
    """Why backends cannot run in a stack."""
    reasons = {}
    for spec in needs.specs:
        own = found.backends.get(spec.name)
        name = needs.distributions[spec.name].name
        here = canonicalize_name(name) in found.packages
        if "numpy" not in found.packages:
            reason = "NumPy is not installed there"
        elif own is None and (request.form == "python" or here):
            reason = f"no plugin with the backend {spec.name!r} is installed there"
            reason += "".join(f"; {entry}: {why}" for entry, why in sorted(found.faults.items()))
        elif own is not None and own["interface"] not in INTERFACES:
            newer = isinstance(own["interface"], int) and own["interface"] > INTERFACES[-1]
            reason = (
                f"its {own['distribution']} is for interface {own['interface']}, the lstmbench "
                f"that is running has {INTERFACES[0]} to {INTERFACES[-1]}: upgrade "
                + ("the lstmbench that is running" if newer else f"{own['distribution']} there")
            )
        else:
            continue
        reasons[spec.name] = f"stack {request.label}: {storable(scrub(one_line(reason)))}"
    return reasons


def _described(python: Path, host: str) -> Description:
    """Raises :class:`Unusable` where that is no Python that a worker could run in."""
    found = _ask(python, host)
    if not isinstance(found, dict) or "python" not in found:
        raise Unusable(f"{python.name} is no Python interpreter")
    if "packages" not in found:
        oldest = ".".join(map(str, script.OLDEST))
        raise Unusable(f"Python {found['python']} is too old: workers need {oldest} or later")
    return Description(
        found["python"], found["packages"], found["backends"], found.get("faults", {})
    )


def _ask(python: Path, *arguments: str) -> Any:
    command = [str(python), "-I", script.__file__, *arguments]
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=DESCRIBE_SECONDS,
            check=False,
        )
        return json.loads(done.stdout) if not done.returncode else _complain(python, done.stderr)
    except subprocess.TimeoutExpired:
        raise Unusable(f"{python.name} says nothing within {DESCRIBE_SECONDS:g} s") from None
    except (OSError, ValueError) as error:
        what = getattr(error, "strerror", None) or "what it prints is no description"
        raise Unusable(f"{python.name} cannot be asked what it holds: {what}") from None


def _complain(python: Path, said: str) -> Any:
    last = next((line for line in reversed(said.splitlines()) if line.strip()), "nothing")
    raise Unusable(f"{python.name} cannot be asked what it holds: it says {one_line(last)!r:.300}")


def _plugins(python: Path, host: str, names: set[str]) -> list[PluginCode]:
    """Of the stack's own plugins that are wanted."""
    return [
        PluginCode.model_validate(origin)
        for origin in _ask(python, host, "origins")
        if canonicalize_name(origin["distribution"]) in names
    ]


def _asked(request: Request, needs: Needs) -> cache.Asked:
    """All that decides what will be installed, as far as it is known before."""
    requirements = needs.requirements()
    facts: dict[str, Any] = {
        "form": request.form,
        "text": request.content or request.text,
        "needs": requirements,
        "python": this_python(),
    }
    if request.form in ("git", "folder"):
        facts["constraints"] = constraints(requirements)
    if request.form == "folder":
        facts["files"] = {str(p): _files_digest(p) for p in _sources(request, needs)}
    return cache.Asked(request.recorded, facts)


def _make(request: Request, needs: Needs, new: Path) -> None:
    """Install into a new environment what was asked for, and what the plugins need."""
    installer.create(new)
    if request.form == "git":
        installer.install(new, "--no-deps", request.text)
    elif request.form == "folder":
        installer.install(new, "--no-deps", *map(str, _sources(request, needs)))
    own = [one for one in _installed(new) if one.name not in ("pip", provenance.HOST)]
    arguments = needs.requirements(own)
    if request.form == "requirement":
        arguments = [*arguments, request.text]
    elif request.form == "list" and "--hash" in request.content:
        installer.install(new, "-r", _file(new, "asked.txt", request.content))
        own = _installed(new)
    elif request.form == "list":
        arguments = [*arguments, "-r", _file(new, "asked.txt", request.content)]
    if request.form in ("git", "folder"):
        limits = constraints(arguments, {canonicalize_name(one.name) for one in own})
    else:  # what stands in a file with hashes stays what it is
        limits = [f"{one.name}=={one.version}" for one in own]
    installer.install(new, *arguments, "-c", _file(new, "constraints.txt", "\n".join(limits)))


def _file(new: Path, name: str, content: str) -> str:
    path = new.parent / name
    path.write_text(content, encoding="utf-8")
    return str(path)


def _installed(environment: Path) -> list[Distribution]:
    places = glob.glob(str(environment / "lib" / "python*" / "site-packages"))  # noqa: PTH207
    return [one for one in importlib.metadata.distributions(path=places) if one.name]


def _sources(request: Request, needs: Needs) -> list[Path]:
    """The folders of a checkout that the plugins are built from.

    Raises :class:`Unusable` if there is none.
    """
    assert request.path is not None
    wanted: set[str] = needs.names()
    found: dict[str, Path] = {}
    for pattern in ("", "*/", "*/*/"):
        for file in sorted(request.path.glob(f"{pattern}pyproject.toml")):
            try:
                name = tomllib.loads(file.read_text(encoding="utf-8"))["project"]["name"]
            except (OSError, ValueError, KeyError, TypeError):
                continue
            if canonicalize_name(str(name)) in wanted:
                found.setdefault(canonicalize_name(str(name)), file.parent)
    if not found:
        raise Unusable(f"no source of {' or '.join(sorted(wanted))} is in {request.recorded}")
    return [found[name] for name in sorted(found)]


def _files_digest(folder: Path) -> str:
    total = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        parts = path.relative_to(folder).parts
        if path.is_file() and not NOT_CODE.intersection(parts) and ".egg-info" not in str(path):
            total.update(f"{hashlib.sha256(path.read_bytes()).hexdigest()} {parts}\n".encode())
    return total.hexdigest()
