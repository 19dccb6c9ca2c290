"""Records of earlier schema versions, brought to the present one, a version at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

#: The schema version that :mod:`lstmbench.records.record` defines.
CURRENT = 6


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


def _from_3(record: dict[str, Any]) -> dict[str, Any]:
    """Version 4 renames fields, two flags and a reason; it drops and adds nothing."""
    record = _rename(record, surroundings="system_load", companions="interleaved_with")
    record = _inside(record, "source", lambda source: _rename(source, aim="stopping_rule"))
    record = _inside(record, "peak", lambda peak: _rename(peak, product="matmul"))
    record = _inside(record, "flags", _flag_of_3)
    record = _inside(record, "evaluations", lambda one: _rename(one, floor="source_nats"))
    return _inside(record, "reason", lambda reason: "interface" if reason == "protocol" else reason)


def _from_4(record: dict[str, Any]) -> dict[str, Any]:
    """Version 4 held no audit, and no second clock: nothing in it vouches for its losses."""
    return record


def _from_5(record: dict[str, Any]) -> dict[str, Any]:
    """Version 5 knew texts only that are prepared as The Time Machine is: the default."""
    return record


def _flag_of_3(flag: Any) -> Any:
    names = {"disturbed": "interference", "unsettled": "drifting"}
    return names.get(flag, flag) if isinstance(flag, str) else flag


def _rename(part: Any, **names: str) -> Any:
    """A part whose fields have their new names.

    A field that is there under both names keeps the old one, for validation to refuse it.
    """
    if not isinstance(part, dict):
        return part
    new = {old: name for old, name in names.items() if name not in part}
    return {new.get(name, name): value for name, value in part.items()}


def _inside(record: dict[str, Any], name: str, change: Callable[[Any], Any]) -> dict[str, Any]:
    """The record with a change made to one of its fields, or to each item of a list."""
    if name not in record:
        return record
    value = record[name]
    changed = [change(item) for item in value] if isinstance(value, list) else change(value)
    return {**record, name: changed}


_STEPS: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {
    1: _from_1,
    2: _from_2,
    3: _from_3,
    4: _from_4,
    5: _from_5,
}


def upgrade(record: Any) -> Any:
    """The JSON of a record in the present version.

    Raises ``ValueError`` naming the version if there is no way from there. What is no record at
    all is returned unchanged, for validation to say so.
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
