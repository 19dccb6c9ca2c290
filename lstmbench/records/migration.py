"""Records of earlier schema versions, brought to the present one, a version at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

#: The schema version that :mod:`lstmbench.records.record` defines.
CURRENT = 3


def _from_1(record: dict[str, Any]) -> dict[str, Any]:
    """Version 1 knew the largest resident size of the whole process only, parity included."""
    memory = record.get("memory")
    if not isinstance(memory, dict) or "peak" not in memory:
        return record
    rest = {name: size for name, size in memory.items() if name != "peak"}
    return {**record, "memory": {**rest, "peak_with_parity": memory["peak"]}}


def _from_2(record: dict[str, Any]) -> dict[str, Any]:
    """Version 2 did not look at what else the machine was doing."""
    return record


_STEPS: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {1: _from_1, 2: _from_2}


def upgrade(record: Any) -> Any:
    """The JSON of a record in the present version.

    Raises ``ValueError`` naming the version if there is no way from there. What is no record at
    all is returned as it came, for validation to say so.
    """
    if not isinstance(record, dict) or "schema_version" not in record:
        return record
    version = record["schema_version"]
    while version != CURRENT:
        step = _STEPS.get(version) if type(version) is int else None
        if step is None:
            raise ValueError(
                f"schema version {version!r}, this lstmbench reads 1 to {CURRENT}: "
                "use the lstmbench that wrote it, or a newer one"
            )
        version += 1
        record = {**step(record), "schema_version": version}
    return record
