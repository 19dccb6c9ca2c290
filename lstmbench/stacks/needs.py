"""What the plugins of a run need in an environment, and which of the host's code goes there."""

from __future__ import annotations

import importlib.metadata
import platform
import shutil
import sys
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import Distribution
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from lstmbench.backend import BackendSpec
from lstmbench.errors import UserError
from lstmbench.machine import provenance
from lstmbench.machine.provenance import HOST, Origin
from lstmbench.plugin.manager import Host


@dataclass(frozen=True)
class Needs:
    """The selected backends, each with the distribution of its plugin."""

    specs: Sequence[BackendSpec]
    distributions: dict[str, Distribution]

    @classmethod
    def of(cls, specs: Sequence[BackendSpec], host: Host) -> Needs:
        """Raises :class:`UserError` for a backend that nothing can be copied or asked of."""
        host.backends()
        owners = {
            name: plugin.entry.dist
            for plugin in host.plugins
            for name in plugin.offers.get("lstmbench_backends", ())
            if plugin.entry and plugin.entry.dist and plugin.distribution
        }
        for spec in specs:
            if spec.name not in owners:
                raise UserError(f"--stack: of backend {spec.name!r} no distribution is known")
        return cls(specs, {spec.name: owners[spec.name] for spec in specs})

    def names(self) -> set[str]:
        """The plugins' distributions, by canonical names."""
        return {canonicalize_name(found.name) for found in self.distributions.values()}

    def requirements(self, own: Iterable[Distribution] = ()) -> list[str]:
        """What must be installed: NumPy, and what plugins require but the host itself.

        ``own`` are distributions that are there already, in place of the host's of their names.
        """
        installed = {canonicalize_name(found.name): found for found in own}
        plugins = {canonicalize_name(found.name): found for found in self.distributions.values()}
        modules = {name.partition(".")[0] for spec in self.specs for name in spec.imports}
        host = _requires(importlib.metadata.distribution(HOST))
        found = [text for text in host if _name(text) == "numpy"]
        for distribution in (plugins | installed).values():
            found += _requires(distribution, _providers(modules))
        return sorted({text for text in found if _name(text) != HOST})

    def origin(self, backend: str) -> Origin:
        """Where the code of a backend's plugin is here."""
        name = self.distributions[backend].name
        return next(origin for origin in provenance.plugins() if origin.distribution == name)


def _requires(distribution: Distribution, extras: Collection[str] = ()) -> list[str]:
    """The requirements of a distribution here; of those of its extras the names in ``extras``."""
    found = []
    for text in distribution.requires or ():
        try:
            requirement = Requirement(text)
        except InvalidRequirement:
            continue
        marker, wanted = requirement.marker, canonicalize_name(requirement.name) in extras
        offered = distribution.metadata.get_all("Provides-Extra", []) if wanted else []
        if marker and not any(marker.evaluate({"extra": extra}) for extra in ("", *offered)):
            continue
        requirement.marker = None
        found.append(str(requirement))
    return found


def _providers(modules: Collection[str]) -> set[str]:
    """Canonical names of the distributions that modules are installed from; else their own."""
    known = importlib.metadata.packages_distributions()
    return {canonicalize_name(dist) for name in modules for dist in known.get(name, [name])}


def _name(requirement: str) -> str:
    return canonicalize_name(Requirement(requirement).name)


def constraints(requirements: Iterable[str], without: Collection[str] = ()) -> list[str]:
    """``NAME==VERSION`` of what is installed here of the requirements and of all that they need.

    ``without`` are canonical names that are left out.
    """
    found: dict[str, str] = {}
    queue = [_name(text) for text in requirements]
    while queue:
        name = queue.pop()
        if name in found:
            continue
        try:
            distribution = importlib.metadata.distribution(name)
            # an index has no local versions, such as those of builds for one accelerator
            found[name] = f"{name}=={Version(distribution.version).public}"
        except (importlib.metadata.PackageNotFoundError, InvalidVersion):
            continue
        queue += [_name(text) for text in _requires(distribution)]
    return sorted(line for name, line in found.items() if name not in without)


def copy_code(origin: Origin, to: Path, suffixes: Collection[str] = ()) -> str:
    """Copy what is loaded of a distribution into a folder of ``to``, which is then on the path.

    With ``suffixes``, only such files.
    """
    folder = to / origin.distribution
    for name, file in origin.files.items():
        if not suffixes or file.suffix in suffixes:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, folder / name)
    return str(folder)


def this_python() -> list[str]:
    """What makes an environment another one than the same packages elsewhere."""
    tag = str(sys.implementation.cache_tag)
    return [platform.python_version(), tag, platform.system(), platform.machine()]
