"""Which plugins are installed, and which of them the user leaves out."""

from __future__ import annotations

import importlib.metadata
import re
from collections.abc import Collection, Sequence
from importlib.metadata import EntryPoint

from lstmbench.messages import describe
from lstmbench.plugin import catalogue, hookspecs
from lstmbench.plugin.names import unknown
from lstmbench.plugin.registered import Plugin

#: Plugins to leave out: names of entry points or of distributions, comma-separated.
DISABLE = "LSTMBENCH_DISABLE_PLUGINS"


def find_plugins(damaged: list[str]) -> list[Plugin]:
    """One for each entry point; distributions that cannot be read get a line in ``damaged``.

    This project's own come first, so that no other's can take their names; then by name, so that
    which of two equal names wins does not depend on the file system. What stands there twice, as
    an interrupted pip leaves it, is found once.
    """
    own = {entry.module for entry in catalogue.backends().values()}
    entries = {(entry.name, entry.value): entry for entry in reversed(_entry_points(damaged))}
    order = sorted(entries, key=lambda key: (key[1] not in own, *key))
    return [Plugin(name, entries[name, value]) for name, value in order]


def _entry_points(damaged: list[str]) -> list[EntryPoint]:
    try:
        return list(importlib.metadata.entry_points(group=hookspecs.NAME))
    except Exception:  # one damaged distribution, of whatever project, spoils the list of all
        found: list[EntryPoint] = []
    for distribution in importlib.metadata.distributions():
        try:
            found += distribution.entry_points.select(group=hookspecs.NAME)
        except Exception as error:
            place = getattr(distribution, "_path", "at an unknown place")
            damaged.append(f"the distribution {place} is damaged: {describe(error)}")
    return found


def disable(plugins: Sequence[Plugin], names: str, own: Collection[str]) -> list[str]:
    """Mark the plugins that ``names`` means; ``own`` are names of the host itself.

    Returns a line for each name that leaves nothing out.
    """
    lines = []
    for name in filter(None, map(str.strip, names.split(","))):
        meant = [p for p in plugins if name == p.name or _same(name, p.distribution)]
        for plugin in meant:
            plugin.disabled = True
        if name in own:
            lines.append(f"{DISABLE}: {name!r} is the host's own and cannot be left out")
        elif not meant:
            known = {name for p in plugins for name in (p.name, p.distribution) if name}
            lines.append(f"{DISABLE}: {unknown('plugin', name, known)}")
    return lines


def _same(one: str, other: str) -> bool:
    """Whether two names are those of one distribution (PEP 503)."""
    return re.sub(r"[-_.]+", "-", one).lower() == re.sub(r"[-_.]+", "-", other).lower()
