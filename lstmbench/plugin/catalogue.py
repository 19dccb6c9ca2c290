"""The backends of this project by name, so that one that is not installed can still be found."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib import resources


@dataclass(frozen=True)
class Entry:
    """Where a backend comes from: ``lstmbench-keras[jax]``, ``./plugins/keras[jax]``."""

    requirement: str
    checkout: str

    @property
    def distribution(self) -> str:
        """The name of the distribution, without extras."""
        return self.requirement.partition("[")[0]

    @property
    def module(self) -> str:
        """The module that the distribution's entry point names."""
        return self.distribution.replace("-", "_")

    @property
    def advice(self) -> str:
        """How to get it.

        The distributions are on no index: by its name alone, pip would find nothing there, or
        another project.
        """
        path = f"'{self.checkout}'" if "[" in self.checkout else self.checkout
        return f"it comes with {self.requirement} (from a checkout: pip install {path})"


@cache
def backends() -> dict[str, Entry]:
    """Every backend of this project by name, installed or not."""
    text = resources.files("lstmbench").joinpath("data/backends.txt").read_text("ascii")
    rows = (line.split() for line in text.splitlines() if not line.startswith("#"))
    return {name: Entry(requirement, checkout) for name, requirement, checkout in rows}
