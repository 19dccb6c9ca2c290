"""The plugin manager: built-ins and entry points, each guarded, so that none kills the rest."""

from __future__ import annotations

import difflib
import importlib.metadata
import os
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, TypeVar

import pluggy

from lstmbench.backend import INTERFACE, BackendSpec
from lstmbench.errors import UserError
from lstmbench.plugin import hookspecs
from lstmbench.plugin.extensions import Format, Target

#: Set to anything: every hook call is printed on stderr.
TRACE = "LSTMBENCH_TRACE_HOOKS"
BUILTINS = (
    "lstmbench.plugin.builtins",
    "lstmbench.commands.run",
    "lstmbench.commands.report",
    "lstmbench.commands.list",
    "lstmbench.commands.check",
    "lstmbench.commands.debug",
    "lstmbench.commands.compare",
    "lstmbench.commands.new",
    "lstmbench.commands.noise",
    "lstmbench.commands.publish",
    "lstmbench.commands.schema",
    "lstmbench.commands.verify",
)
#: Plugins of this project, so that one that is not installed is still listed, with the way there.
KNOWN = {
    "numpy": "pip install ./plugins/numpy",
    "tf-scratch": "pip install ./plugins/tf-scratch",
    "keras": "pip install ./plugins/keras",
    "keras-jax": "pip install './plugins/keras[jax]'",
    "keras-torch": "pip install './plugins/keras[torch]'",
    "torch": "pip install ./plugins/torch",
    "torch-scratch": "pip install ./plugins/torch",
    "jax": "pip install ./plugins/jax",
}

T = TypeVar("T")


@dataclass
class Host:
    """The loaded plugins, and one line for each that could not be used."""

    manager: pluggy.PluginManager
    problems: dict[str, str] = field(default_factory=dict)
    _collected: dict[str, dict[str, Any]] = field(default_factory=dict)

    def backends(self) -> dict[str, BackendSpec]:
        """Specs by name, in order of registration."""
        return self._collect("lstmbench_backends", BackendSpec)

    def corpora(self) -> dict[str, Any]:
        """:class:`lstmbench.corpora.corpus.CorpusSpec` by name."""
        from lstmbench.corpora.corpus import CorpusSpec

        return self._collect("lstmbench_corpora", CorpusSpec)

    def protocols(self) -> dict[str, Any]:
        """:class:`lstmbench.protocol.Protocol` by name."""
        from lstmbench.protocol import Protocol

        return self._collect("lstmbench_protocols", Protocol)

    def commands(self) -> dict[str, Any]:
        """:class:`click.Command` by name."""
        import click

        return self._collect("lstmbench_commands", click.Command)

    def formats(self) -> dict[str, Format]:
        """Ways to write tables, by name; the host's own first."""
        return self._collect("lstmbench_formats", Format)

    def targets(self) -> dict[str, Target]:
        """Places to publish to, by name."""
        return self._collect("lstmbench_targets", Target)

    def _collect(self, hook: str, kind: type[T]) -> dict[str, T]:
        """Ask every plugin by itself; keep what is sound, note what is not."""
        if hook in self._collected:
            return self._collected[hook]
        found: dict[str, T] = {}
        plugins = [i.plugin for i in getattr(self.manager.hook, hook).get_hookimpls()]
        for plugin in plugins:
            name = str(self.manager.get_name(plugin))
            others = [other for other in plugins if other is not plugin]
            caller = self.manager.subset_hook_caller(hook, remove_plugins=others)
            try:
                answers: Any = caller() or [None]
                offers = list(answers[0])
            except (Exception, SystemExit) as error:
                self._note(name, f"{hook} failed: {_line(error)}")
                continue
            for offer in offers:
                fault = _fault(offer, kind, found)
                if fault:
                    self._note(name, f"{hook} {fault}")
                else:
                    found[offer.name] = offer
        self._collected[hook] = found
        return found

    def _note(self, plugin: str, what: str) -> None:
        self.problems.setdefault(plugin, f"plugin {plugin!r}: {what}")

    def check_problems(self) -> None:
        """Raise the first problem as a :class:`UserError`: ``all`` cannot mean all."""
        for collect in (self.backends, self.corpora, self.protocols, self.commands):
            collect()
        for problem in self.problems.values():
            raise UserError(
                f"{problem} (repair or uninstall it, or name the backends that you want)"
            )


def _fault(offer: Any, kind: type, found: dict[str, Any]) -> str | None:
    """Why an offer cannot be used, or ``None``."""
    if not isinstance(offer, kind):
        return f"returned {type(offer).__name__} where {kind.__name__} is expected"
    name = getattr(offer, "name", None)
    if not isinstance(name, str) or not name or set(name) & set(",: \t\n/\\"):
        return f"offers the unusable name {name!r}"
    if name == "all":
        return "offers the name 'all', which means every backend"
    if name in found:
        return f"registers {name!r} a second time"
    if isinstance(offer, (Format, Target)):
        return offer.fault
    return _spec_fault(offer) if isinstance(offer, BackendSpec) else None


def _spec_fault(spec: BackendSpec) -> str | None:
    """What is wrong with the fields of a spec, by hand: listing must not wait for a validator."""
    if spec.interface != INTERFACE:
        return (
            f"offers {spec.name!r} for interface {spec.interface}, this lstmbench has "
            f"{INTERFACE}: install matching versions"
        )

    def strings(values: Any, kind: type[Any]) -> bool:
        return isinstance(values, kind) and all(isinstance(value, str) for value in values)

    def lists(table: Any) -> bool:
        return strings(table, Mapping) and all(strings(v, tuple) and v for v in table.values())

    sound = {
        "factory 'module:attribute'": isinstance(spec.factory, str) and ":" in spec.factory,
        "modes {device: (mode, ...)}": bool(spec.modes) and lists(spec.modes),
        "dtypes {device: (dtype, ...)}": lists(spec.dtypes),
        "imports (module, ...)": strings(spec.imports, tuple),
        "environment {name: text}": strings(spec.environment, Mapping)
        and all(isinstance(value, str) for value in spec.environment.values()),
        "texts": strings((spec.summary, spec.install, spec.out_of_all or ""), tuple),
    }
    wrong = next((what for what, right in sound.items() if not right), None)
    return f"offers {spec.name!r} without proper {wrong}" if wrong else None


def _line(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())


@cache
def load() -> Host:
    """Built-ins first, then every entry point of the group ``lstmbench``."""
    manager = pluggy.PluginManager(hookspecs.NAME)
    manager.add_hookspecs(hookspecs)
    if os.environ.get(TRACE):
        manager.trace.root.setwriter(sys.stderr.write)
        manager.enable_tracing()
    for module in BUILTINS:
        manager.register(importlib.import_module(module), module)
    host = Host(manager)
    # in order of name, so that which of two equal names wins does not depend on the file system
    for entry in sorted(
        importlib.metadata.entry_points(group=hookspecs.NAME), key=lambda e: (e.name, e.value)
    ):
        try:
            manager.register(entry.load(), entry.name)
        except (Exception, SystemExit) as error:
            host._note(entry.name, f"cannot be loaded: {_line(error)}")
    return host


def unknown(kind: str, name: str, names: Iterable[str]) -> UserError:
    """The error for a name that nobody registered, with the nearest that somebody did."""
    names = sorted(names)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    hint = f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(names) or 'none'}"
    return UserError(f"unknown {kind} {name!r}: {hint}")


def find_backend(host: Host, name: str) -> BackendSpec:
    """The spec of that name; otherwise a :class:`UserError` that says how to get it."""
    specs = host.backends()
    if name in specs:
        return specs[name]
    error = unknown("backend", name, {*specs, *KNOWN})
    if name in KNOWN and not host.problems:
        raise UserError(f"backend {name!r} is not installed: {KNOWN[name]}")
    for problem in host.problems.values():
        raise UserError(f"{error} (and {problem})")
    raise error
