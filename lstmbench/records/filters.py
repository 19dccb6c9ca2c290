"""Which records are meant, where a store holds many: ``--only FIELD=VALUE``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from lstmbench.errors import UserError
from lstmbench.records.record import Record


def parse(texts: Sequence[str]) -> dict[str, str]:
    """``FIELD=VALUE`` each."""
    found = {}
    for text in texts:
        field, equals, value = text.partition("=")
        if not equals or not field.isidentifier():
            raise UserError(f"--only {text!r}: expected FIELD=VALUE, such as protocol=d2l")
        found[field] = value
    return found


def only(records: Iterable[Record], conditions: Mapping[str, str]) -> list[Record]:
    """Records whose trial has these values, such as ``{"protocol": "d2l", "hidden_size": "256"}``.

    Raises :class:`UserError` for a name that neither trials nor protocols have.
    """
    return [record for record in records if all(_has(record, *c) for c in conditions.items())]


def _has(record: Record, field: str, value: str) -> bool:
    trial = record.trial
    if field == "protocol":
        return trial.protocol.name == value
    if field in ("run", "commit"):
        return str(getattr(record.source, field)).startswith(value)
    for holder in (trial, trial.protocol):
        if isinstance(getattr(holder, field, None), (str, int, float)):
            return str(getattr(holder, field)) == value
    raise UserError(f"--only {field}={value}: trials have no {field!r}")
