"""Where a file differs from what the records give: by field, by cell or by line."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from itertools import islice, zip_longest
from pathlib import PurePosixPath
from typing import Any

#: Differences named for each file; the rest is counted.
MAX_DIFFERENCES = 20
_SHORT = 60


def differences(path: str, actual: bytes, expected: bytes) -> list[str]:
    """Lines saying where and how ``actual`` differs; empty if it does not."""
    if actual == expected:
        return []
    found = list(_named(PurePosixPath(path).suffix, actual, expected))
    named = found[:MAX_DIFFERENCES]
    if len(found) > MAX_DIFFERENCES:
        named.append(f"and {len(found) - MAX_DIFFERENCES} more differences")
    return [f"{path}: {line}" for line in named]


def _named(suffix: str, actual: bytes, expected: bytes) -> Iterator[str]:
    try:
        ours, theirs = expected.decode(), actual.decode()
    except UnicodeDecodeError:
        yield "is not the file that the records give"
        return
    by_kind = list(_by_kind(suffix, theirs, ours))
    yield from by_kind or _lines(theirs, ours)


def _by_kind(suffix: str, actual: str, expected: str) -> Iterator[str]:
    """Fields of JSON, cells of CSV; nothing for other files, or if there is no telling."""
    try:
        if suffix == ".json":
            yield from _fields("", json.loads(actual), json.loads(expected))
        elif suffix == ".csv":
            yield from _cells(actual, expected)
    except (ValueError, RecursionError, csv.Error):
        return


def _fields(place: str, actual: Any, expected: Any) -> Iterator[str]:
    if isinstance(actual, dict) and isinstance(expected, dict):
        for key in {**expected, **actual}:
            where = f"{place}.{key}".lstrip(".")
            if key not in actual or key not in expected:
                gone = key in expected
                yield f"{where}: {'missing' if gone else 'the records give no such field'}"
            else:
                yield from _fields(where, actual[key], expected[key])
    elif isinstance(actual, list) and isinstance(expected, list):
        if len(actual) != len(expected):
            yield f"{place}: {len(actual)} values, the records give {len(expected)}"
        for index, (one, other) in enumerate(zip(actual, expected, strict=False)):
            yield from _fields(f"{place}[{index}]", one, other)
    elif json.dumps(actual) != json.dumps(expected):
        yield f"{place}: {_short(actual)}, the records give {_short(expected)}"


def _cells(actual: str, expected: str) -> Iterator[str]:
    ours, theirs = (list(csv.reader(io.StringIO(text))) for text in (expected, actual))
    header = ours[0] if ours else []
    for number, (row, other) in enumerate(zip_longest(theirs, ours), start=1):
        if row is None or other is None:
            yield f"row {number}: {'missing' if row is None else 'the records give no such row'}"
            continue
        for index, (cell, goal) in enumerate(zip_longest(row, other)):
            if cell != goal:
                name = header[index] if index < len(header) else str(index + 1)
                yield f"row {number}, {name}: {_short(cell)}, the records give {_short(goal)}"


def _lines(actual: str, expected: str) -> Iterator[str]:
    pairs = zip_longest(actual.splitlines(), expected.splitlines())
    unlike = ((n, a, e) for n, (a, e) in enumerate(pairs, start=1) if a != e)
    found = False
    for number, line, goal in islice(unlike, 10 * MAX_DIFFERENCES):
        found = True
        yield f"line {number}: {_around(line, goal)}, the records give {_around(goal, line)}"
    if not found:
        yield "differs in how its lines end"


def _around(line: str | None, other: str | None) -> str:
    """The part of ``line`` where it begins to differ from ``other``."""
    if line is None:
        return "nothing"
    pairs = enumerate(zip(line, other or "", strict=False))
    first = next((i for i, (a, b) in pairs if a != b), min(len(line), len(other or "")))
    return repr(line[max(0, first - _SHORT // 3) : first + _SHORT])


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= _SHORT else f"{text[:_SHORT]}..."
