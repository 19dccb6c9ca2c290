"""A record from a file's bytes, with the field that is wrong where it is none."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pydantic_core
from pydantic import ValidationError

from lstmbench.errors import UserError
from lstmbench.records import validation
from lstmbench.records.record import Record


def read_record(path: Path) -> Record:
    """One record file. Raises :class:`UserError` naming the first field that is wrong."""
    return read_stored(path).record


@dataclass(frozen=True)
class Stored:
    """A record with its file's bytes and their JSON, in the schema version of its time.

    ``place`` names the file.
    """

    place: str
    content: bytes
    raw: dict[str, Any]
    record: Record


def parse(place: str, content: bytes) -> Stored:
    """A record from a file's bytes. Raises :class:`UserError` naming the field that is wrong."""
    try:
        raw = pydantic_core.from_json(content, allow_inf_nan=False)
        record = Record.model_validate(raw)
    except ValidationError as error:
        fault = error.errors()[0]
        where = ".".join(str(part) for part in fault["loc"])
        raise UserError(f"{place} is not a record: {where or 'JSON'}: {fault['msg']}") from error
    except ValueError as error:
        raise UserError(f"{place} is not a record: JSON: {error}") from error
    unsound = validation.fault(record)
    if unsound:
        raise UserError(f"{place} is not a record: {unsound}")
    return Stored(place, content, raw, record)


def unreadable(record: Record) -> str | None:
    """Why a record could not be read again once it is written, or ``None`` if it can."""
    try:
        parse("it", record.model_dump_json().encode())
    except (UserError, ValueError) as error:
        return " ".join(str(error).split()).removeprefix("it is not a record: ")
    return None


def read_stored(path: Path) -> Stored:
    """One record file with its JSON. Raises :class:`UserError` as :func:`read_record` does."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} is not a record: {error.strerror or error}") from error
    return parse(str(path), content)
