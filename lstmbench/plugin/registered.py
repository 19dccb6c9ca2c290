"""One plugin: found, loaded unless it is disabled, and asked. Whatever it does is one line."""

from __future__ import annotations

import importlib
import inspect
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from importlib.metadata import Distribution, EntryPoint, distributions
from itertools import chain, islice
from typing import Any, TypeVar

import pluggy

from lstmbench import __version__
from lstmbench.messages import one_line
from lstmbench.plugin import hookspecs
from lstmbench.plugin.guard import MAX_SECONDS, PluginFailed, TookTooLong, guarded
from lstmbench.plugin.names import nearest, unknown
from lstmbench.plugin.offers import Check, fault

#: Set to anything: every hook call is printed on stderr.
TRACE = "LSTMBENCH_TRACE_HOOKS"
PREFIX = "lstmbench_"
HOOKS = tuple(name for name in vars(hookspecs) if name.startswith(PREFIX))
#: What offers more in one hook is taken to have no end.
MAX_OFFERS = 20_000
#: Characters of the line that says what is wrong.
MAX_PROBLEM = 600

T = TypeVar("T")


@dataclass(eq=False)
class Plugin:
    """A module that implements hooks: one of the host's own, or what an entry point names.

    ``problem`` is a line that says what is wrong with it, the first of several; what is right can
    be used. ``offers`` holds the usable names of each hook that was asked.
    """

    name: str
    entry: EntryPoint | None = None
    disabled: bool = False
    problem: str | None = None
    module: object = None
    offers: dict[str, list[str]] = field(default_factory=dict)
    #: One for each plugin, so that none can reach the hooks of another.
    _manager: pluggy.PluginManager | None = None

    @property
    def built_in(self) -> bool:
        return self.entry is None

    @cached_property
    def distribution(self) -> str:
        """``lstmbench-torch``; empty where the distribution does not tell."""
        return _metadata(self.entry.dist, "name") if self.entry else "lstmbench"

    @cached_property
    def version(self) -> str:
        """``0.1.0``; empty where the distribution does not tell."""
        return _metadata(self.entry.dist, "version") if self.entry else __version__

    @property
    def title(self) -> str:
        """``plugin 'torch' (lstmbench-torch 0.1.0)``: there may be two of a name."""
        source = f"{self.distribution} {self.version}".strip()
        return f"plugin {self.name!r}" + (f" ({source})" if source else "")

    @property
    def hooks(self) -> list[str]:
        """Hooks that it implements, in the order of their documentation."""
        callers = self._manager.get_hookcallers(self.module) if self._manager else None
        found = {caller.name for caller in callers or () if caller.has_spec()}
        return [hook for hook in HOOKS if hook in found]

    def load(self) -> None:
        """Import it and register its hooks."""
        module: object = None
        try:
            with self._guard():
                module = self.entry.load() if self.entry else importlib.import_module(self.name)
                manager = pluggy.PluginManager(hookspecs.NAME)
                manager.add_hookspecs(hookspecs)
                if os.environ.get(TRACE):
                    manager.trace.root.setwriter(sys.stderr.write)
                    manager.enable_tracing()
                manager.register(module, self.name)
                self.module, self._manager = module, manager
                if not self.built_in:
                    self._find_mistakes(manager)
        except PluginFailed as failed:
            self._manager = None
            surplus = isinstance(failed.__cause__, pluggy.PluginValidationError) and _surplus(
                module
            )
            self.note(surplus or f"cannot be loaded: {failed}")

    def _find_mistakes(self, manager: pluggy.PluginManager) -> None:
        """Hooks that would never be called, which otherwise nothing would report."""
        for caller in manager.get_hookcallers(self.module) or ():
            name = caller.name
            optional = all(implementation.optionalhook for implementation in caller.get_hookimpls())
            meant = name.startswith(PREFIX) or nearest(name, HOOKS)
            if meant and not optional and not caller.has_spec():
                self.note(str(unknown("hook", name, HOOKS)))
        for hook in HOOKS:
            if inspect.isfunction(getattr(self.module, hook, None)) and hook not in self.hooks:
                self.note(f"{hook} lacks the decorator @hookimpl")

    def ask(
        self,
        hook: str,
        kind: type[T],
        check: Check[T],
        taken: Mapping[str, Plugin],
        subclasses: bool = False,
    ) -> dict[str, T]:
        """The usable offers of a hook by name; names that are ``taken`` are not.

        Of a call that fails, nothing is used; of a plugin that takes too long, nothing any more.
        """
        found: dict[str, T] = {}
        if hook not in self.hooks:
            return found
        try:
            with self._guard():
                for offer in self._answers(hook):
                    name: Any = getattr(offer, "name", None)
                    wrong = fault(offer, kind, check, subclasses)
                    if wrong is None and name in found:
                        wrong = f"offers {name!r} twice"
                    if wrong is None and name in taken:
                        wrong = f"offers {name!r}, which {taken[name].title} has already"
                    if wrong is None:
                        found[name] = offer
                    else:
                        self.note(f"{hook} {wrong}")
        except PluginFailed as failed:
            self.note(f"{hook} failed: {failed}")
            found.clear()
            if isinstance(failed, TookTooLong):
                self._manager = None
        self.offers[hook] = list(found)
        return found

    def _answers(self, hook: str) -> Iterator[Any]:
        assert self._manager is not None
        answers = getattr(self._manager.hook, hook)()
        if not answers:
            raise TypeError("it returned None where a list is expected")
        offers = chain.from_iterable(answers)
        yield from islice(offers, MAX_OFFERS)
        if next(offers, None) is not None:
            raise ValueError(f"it offers more than {MAX_OFFERS:,}")

    def note(self, what: str) -> None:
        """Keep the first thing that is wrong."""
        if self.problem is None:
            self.problem = one_line(f"{self.title}: {what}"[:MAX_PROBLEM])

    def hidden(self) -> list[str]:
        """Other installations of its distribution, behind this one on the path: version, place."""
        places: dict[str, str] = {}
        if not self.built_in and self.distribution:
            for found in distributions(name=self.distribution):
                place = os.path.realpath(str(found.locate_file("")))
                places.setdefault(place, f"{_metadata(found, 'version')} in {place}".strip())
        return list(places.values())[1:]

    def _guard(self) -> AbstractContextManager[None]:
        return nullcontext() if self.built_in else guarded(MAX_SECONDS)


def _metadata(distribution: Distribution | None, key: str) -> str:
    try:
        return str(getattr(distribution, key) or "")
    except Exception:  # damaged, or gone
        return ""


def _surplus(module: object) -> str | None:
    """The first hook that has an argument which the host does not give."""
    for hook in HOOKS:
        function = getattr(module, hook, None)
        if inspect.isfunction(function):
            given = inspect.signature(getattr(hookspecs, hook)).parameters
            parameters = inspect.signature(function).parameters.values()
            for parameter in parameters:
                if parameter.default is parameter.empty and parameter.name not in given:
                    return (
                        f"{hook} has the argument {parameter.name!r}, which that hook does not get"
                    )
    return None
