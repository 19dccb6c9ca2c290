"""File names of the site: made from those of records, safe whatever a record says."""

from __future__ import annotations

import hashlib
import re

SAFE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,150}")


def slug(name: str) -> str:
    """``name`` itself if it is a harmless file name everywhere, otherwise a digest of it."""
    if SAFE.fullmatch(name):
        return name
    return "x-" + hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()
