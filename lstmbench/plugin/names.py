"""Unknown names, and the known ones that are nearest to them."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable

from lstmbench.errors import UserError

#: So many names are listed; of more, the nearest few.
MAX_LISTED = 20
MAX_NEAREST = 5
#: How alike two names are, from 0 to 1, if one is taken for the other.
ALIKE = 0.6
#: What is called otherwise elsewhere.
MEANT = {
    "gpu": ("cuda:0", "mps"),
    "tensorflow": ("keras", "tf-scratch"),
    "tf": ("keras", "tf-scratch"),
    "pytorch": ("torch", "torch-scratch"),
}


def nearest(name: str, names: Collection[str]) -> list[str]:
    """The one that was probably meant, if there is one; those of :data:`MEANT` that there are."""
    meant = [known for known in MEANT.get(name.lower(), ()) if known in names]
    return meant or difflib.get_close_matches(name, names, n=1, cutoff=ALIKE)


def unknown(kind: str, name: str, names: Iterable[str]) -> UserError:
    """The error for a name that is not registered, with the nearest one that is."""
    names = sorted(names)
    if near := nearest(name, names):
        hint = f"did you mean {' or '.join(map(repr, near))}?"
    elif len(names) <= MAX_LISTED:
        hint = f"there are: {', '.join(names) or 'none'}"
    else:
        few = difflib.get_close_matches(name, names, n=MAX_NEAREST, cutoff=0.0)
        hint = f"there are {len(names):,}, such as {', '.join(few)}"
    return UserError(f"unknown {kind} {name!r}: {hint}")
