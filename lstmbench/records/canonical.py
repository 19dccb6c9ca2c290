"""The form in which records are published: one file, one name, one sequence of bytes.

A published record keeps the JSON that the trial left, in the schema version of its time. It is
never migrated on disk, so that its digest stays what it is, whichever lstmbench merges it later.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

from lstmbench.records.trial import readable_name

#: ``NAME-DIGEST.json``; nothing else is ever a published record's name.
FILE = re.compile(r"[A-Za-z0-9_.-]+-(?P<digest>[0-9a-f]{12})\.json", re.ASCII)
#: Characters of a trial's name that a file's name keeps.
MAX_NAME_LENGTH = 200


def content(raw: Mapping[str, Any]) -> bytes:
    """The JSON of a record, keys sorted, one field of the record a line, ASCII only."""
    lines = (
        f"{json.dumps(key)}: {json.dumps(raw[key], sort_keys=True, allow_nan=False)}"
        for key in sorted(raw)
    )
    return ("{\n" + ",\n".join(lines) + "\n}\n").encode("ascii")


def digest(data: bytes) -> str:
    """SHA-256, in hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def trial_name(raw: Mapping[str, Any]) -> str:
    """What :attr:`lstmbench.records.trial.Trial.name` was when the record was written.

    From the JSON itself, so that fields which a later version adds to trials change no name.
    """
    return readable_name(raw["trial"])


def file_name(raw: Mapping[str, Any], data: bytes) -> str:
    """The name of the record whose :func:`content` is ``data``.

    A name begins with the trial's; what is not ASCII in it becomes ``_``, for archives and web
    servers disagree about such letters.
    """
    readable = re.sub(r"[^A-Za-z0-9_.-]+", "_", trial_name(raw))[:MAX_NAME_LENGTH]
    return f"{readable}-{digest(data)[:12]}.json"


def is_named_by(name: str, data: bytes) -> bool:
    """Whether a file's name holds the digest of its bytes."""
    found = FILE.fullmatch(name)
    return found is not None and digest(data).startswith(found["digest"])


def is_canonical(raw: Mapping[str, Any], data: bytes, name: str) -> bool:
    """Whether a published file's name and bytes are those of the record that it holds."""
    try:
        return data == content(raw) and name == file_name(raw, data)
    except ValueError:  # an integer too long to be written
        return False
