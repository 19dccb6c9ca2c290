"""Data as JavaScript files: pages opened from disk may load scripts, but may not fetch JSON."""

from __future__ import annotations

import json
from math import isfinite
from typing import Any


def _finite(value: Any) -> Any:
    """JSON knows no infinity: ``None``."""
    if isinstance(value, dict):
        return {key: _finite(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(part) for part in value]
    return None if isinstance(value, float) and not isfinite(value) else value


def deliver(key: str, data: Any) -> str:
    """A script that hands ``data`` to the page under ``key``.

    A string that is parsed: a key named ``__proto__`` stays a key, and large data loads faster
    than as a literal. ASCII without ``<``, so that neither a line separator nor a closing tag in
    a record can end anything.
    """
    try:
        text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    except ValueError:  # rare: to look at every number beforehand would take as long as writing it
        text = json.dumps(_finite(data), separators=(",", ":"), allow_nan=False)
    quoted = text.replace("<", "\\u003c").replace("\\", "\\\\").replace("'", "\\'")
    return f"lstmbench.deliver({json.dumps(key)}, JSON.parse('{quoted}'));\n"
