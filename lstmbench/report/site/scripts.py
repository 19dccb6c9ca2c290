"""Data as JavaScript files: pages opened from disk may load scripts, but may not fetch JSON."""

from __future__ import annotations

import json
from typing import Any

from lstmbench.report.numbers import rounded_tree


def deliver(key: str, data: Any) -> str:
    """A script that hands ``data`` to the page under ``key``.

    A string that is parsed: a key named ``__proto__`` stays a key, and large data loads faster
    than as a literal. ASCII without ``<``, so that neither a line separator nor a closing tag in
    a record can end anything.
    """
    text = json.dumps(rounded_tree(data), separators=(",", ":"), allow_nan=False)
    quoted = text.replace("<", "\\u003c").replace("\\", "\\\\").replace("'", "\\'")
    return f"lstmbench.deliver({json.dumps(key)}, JSON.parse('{quoted}'));\n"
