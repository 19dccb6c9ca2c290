"""The plugin manager: built-ins and entry points, each guarded, so that none kills the rest."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

from lstmbench.backend import BackendSpec
from lstmbench.errors import UserError
from lstmbench.messages import tell
from lstmbench.plugin import catalogue, hookspecs, offers
from lstmbench.plugin.discovery import DISABLE, disable, find_plugins
from lstmbench.plugin.extensions import Format
from lstmbench.plugin.names import unknown as unknown
from lstmbench.plugin.registered import Plugin

if TYPE_CHECKING:
    import click

    from lstmbench.corpora.spec import CorpusSpec
    from lstmbench.protocol import Protocol

BUILTINS = (
    "lstmbench.plugin.builtins",
    "lstmbench.report.formats",
    "lstmbench.commands.run",
    "lstmbench.commands.report",
    "lstmbench.commands.list",
    "lstmbench.commands.plugins",
    "lstmbench.commands.check",
    "lstmbench.commands.debug",
    "lstmbench.commands.compare",
    "lstmbench.commands.new",
    "lstmbench.commands.noise",
    "lstmbench.commands.publish",
    "lstmbench.commands.schema",
    "lstmbench.commands.stacks",
    "lstmbench.commands.verify",
)

T = TypeVar("T")


@dataclass
class Host:
    """The loaded plugins, and what they offer.

    ``damaged`` has a line for each distribution whose entry points cannot be read.
    """

    plugins: list[Plugin]
    damaged: list[str] = field(default_factory=list)
    _collected: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def problems(self) -> list[str]:
        """One line for each plugin that could not be used, or not all of it."""
        return [*self.damaged, *(p.problem for p in self.plugins if p.problem)]

    def backends(self) -> dict[str, BackendSpec]:
        """Specs by name, in order of registration."""
        return self._collect("lstmbench_backends", BackendSpec, offers.backend_faults)

    def corpora(self) -> dict[str, CorpusSpec]:
        """Texts by name."""
        from lstmbench.corpora.spec import CorpusSpec

        return self._collect("lstmbench_corpora", CorpusSpec, offers.corpus_faults)

    def protocols(self) -> dict[str, Protocol]:
        """Named hyper-parameters."""
        from lstmbench.protocol import Protocol

        return self._collect("lstmbench_protocols", Protocol, offers.protocol_faults)

    def commands(self) -> dict[str, click.Command]:
        """Commands of the command line by name."""
        import click

        return self._collect("lstmbench_commands", click.Command, offers.command_faults, True)

    def formats(self) -> dict[str, Format]:
        """Ways to write tables, by name; the host's own first."""
        return self._collect("lstmbench_formats", Format, offers.format_faults)

    def collect_all(self) -> None:
        """Ask every hook, so that every offer and every problem is known."""
        for ask in (
            *(self.backends, self.corpora, self.protocols),
            *(self.commands, self.formats),
        ):
            ask()

    def _collect(
        self, hook: str, kind: type[T], check: offers.Check[T], subclasses: bool = False
    ) -> dict[str, T]:
        """What all plugins offer in a hook; the first of a name has it."""
        if hook not in self._collected:
            found: dict[str, T] = {}
            owners: dict[str, Plugin] = {}
            for plugin in self.plugins:
                own = plugin.ask(hook, kind, check, owners, subclasses)
                found |= own
                owners |= dict.fromkeys(own, plugin)
            self._collected[hook] = found
        return self._collected[hook]

    def check_problems(self) -> None:
        """Raise the first problem as a :class:`UserError`: ``all`` cannot mean all."""
        for collect in (self.backends, self.corpora, self.protocols, self.commands):
            collect()
        if self.problems:
            raise UserError(
                f"{self.problems[0]} (repair it, uninstall it or name it in {DISABLE}, or name the "
                "backends that you want)"
            )

    def unknown(self, kind: str, name: str, names: Iterable[str]) -> UserError:
        """The error for a name that no plugin offers; one that is left out might have."""
        return UserError(f"{unknown(kind, name, names)}{self.left_out(name)}")

    def left_out(self, name: str) -> str:
        """In brackets, why ``name`` may be missing; empty if every plugin is here and whole."""
        reasons = sorted(self.problems, key=lambda problem: repr(name) not in problem)
        if len(reasons) > 1:
            reasons[1:] = [f"{len(reasons) - 1} more in 'lstmbench plugins'"]
        disabled = [repr(plugin.name) for plugin in self.plugins if plugin.disabled]
        if disabled:
            reasons.append(f"{DISABLE} leaves out {', '.join(disabled)}")
        return f" (and {'; '.join(reasons)})" if reasons else ""


class OnDemand(Mapping[str, T]):
    """The host's own offers; plugins are loaded when a name is asked for that is none of them.

    ``ask`` is a method of :class:`Host`, such as ``Host.protocols``.
    """

    def __init__(self, ask: Callable[[Host], dict[str, T]]) -> None:
        self._ask = ask

    def __getitem__(self, name: str) -> T:
        own = self._ask(own_host())
        return own[name] if name in own else self._ask(load())[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._ask(load()))

    def __len__(self) -> int:
        return len(self._ask(load()))


@cache
def own_host() -> Host:
    """The host alone, for what needs no plugin: none can be slow or end it then."""
    own = [Plugin(module) for module in BUILTINS]
    for plugin in own:
        plugin.load()
    return Host(own)


@cache
def load() -> Host:
    """Built-ins first, then every entry point of the group ``lstmbench`` that is not disabled."""
    host = Host(list(own_host().plugins))
    found = find_plugins(host.damaged)
    tell(disable(found, os.environ.get(DISABLE, ""), {hookspecs.NAME, *BUILTINS}))
    for plugin in found:
        if not plugin.disabled:
            plugin.load()
        # the same module under another name adds nothing
        if plugin.module is None or all(plugin.module is not p.module for p in host.plugins):
            host.plugins.append(plugin)
    return host


def loaded() -> Host | None:
    """The host with its plugins, if something has needed them."""
    return load() if load.cache_info().currsize else None


def find_backend(host: Host, name: str) -> BackendSpec:
    """The spec of that name; otherwise a :class:`UserError` that says how to get it."""
    specs = host.backends()
    if name in specs:
        return specs[name]
    if reason := absence(host, name):
        raise UserError(f"backend {name!r} is {reason}")
    raise host.unknown("backend", name, {*specs, *catalogue.backends()})


def absence(host: Host, name: str) -> str | None:
    """Why a backend is not here: "not installed: ...", or ``None`` where nothing is known of it."""
    known = catalogue.backends().get(name)
    for plugin in host.plugins:
        source = known and plugin.entry and plugin.entry.value == known.module
        if plugin.disabled and (source or plugin.name == name):
            return f"not loaded: {DISABLE} leaves out {plugin.title}"
        if plugin.problem and (source or plugin.name == name):
            return f"not loaded: {plugin.problem}"
        if source:
            return f"not offered by {plugin.title}"
    return f"not installed: {known.advice}" if known else None
