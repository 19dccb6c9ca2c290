"""Plots, drawn again where the libraries that drew them are here."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from lstmbench.publish.plots import Plot

#: What the bytes of a plot depend on, besides the records.
LIBRARIES = ("matplotlib", "numpy")
#: Of a point: less than a pixel, and more than the last bits in which processors differ.
TOLERANCE = 0.01
#: Names inside a drawing, digests of coordinates in every bit.
_NAME = re.compile(r"\b[mp][0-9a-f]{10}\b")
_NUMBER = re.compile(r"-?[0-9]+(?:\.[0-9]+)?")


def may_be_drawn(made_with: Mapping[str, str], here: Mapping[str, str]) -> bool:
    """Whether drawing here gives what was drawn there."""
    return all(name in made_with and made_with[name] == here.get(name) for name in LIBRARIES)


def unlike(plots: Sequence[Plot], found: Mapping[str, bytes]) -> list[str]:
    """The paths of plots that the records do not give."""
    return [
        plot.path
        for plot in plots
        if plot.path in found and not same(found[plot.path].decode(errors="replace"), plot.draw())
    ]


def same(one: str, other: str) -> bool:
    """Whether two drawings look alike."""
    if one == other:
        return True
    one, other = _renamed(one), _renamed(other)
    if _NUMBER.split(one) != _NUMBER.split(other):
        return False
    pairs = zip(_NUMBER.findall(one), _NUMBER.findall(other), strict=True)
    return all(a == b or abs(float(a) - float(b)) <= TOLERANCE for a, b in pairs)


def _renamed(drawing: str) -> str:
    """Names by where they come first."""
    order: dict[str, str] = {}
    return _NAME.sub(lambda found: order.setdefault(found[0], f"name {len(order)}"), drawing)
