"""A record from a file's bytes, with the field that is wrong where it is none."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pydantic_core
from pydantic import ValidationError

from lstmbench.errors import UserError
from lstmbench.records.files import read_regular
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
        if "schema_version" not in raw:  # a record has one when it is made, and so must its file
            raise UserError(f"{place} is not a record: schema_version: missing")
    except ValidationError as error:
        raise UserError(f"{place} is not a record: {first_fault(error)}") from error
    except ValueError as error:
        raise UserError(f"{place} is not a record: JSON: {error}") from error
    return Stored(place, content, raw, record)


#: Faults of which a list is made to name the first one: a file may have millions.
MAX_FAULTS = 1000


def first_fault(error: ValidationError) -> str:
    """The first field that is wrong, what was expected there, and what was found."""
    if error.error_count() > MAX_FAULTS:
        return f"{error.error_count()} fields are wrong"
    fault = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in fault["loc"])
    what = fault["msg"].removeprefix("Value error, ").replace("Input should be", "expected", 1)
    found = fault["input"]
    if isinstance(found, str | int | float) and fault["type"] != "extra_forbidden":
        what += f", got {found!r:.60}"
    return f"{where}: {what}" if where else what


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
        content = read_regular(path)
    except OSError as error:
        raise UserError(f"{path} is not a record: {error.strerror or error}") from error
    return parse(str(path), content)
