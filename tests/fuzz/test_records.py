"""Damaged records: every command names what it cannot read, and goes on or refuses in one line."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

FUZZ = settings.get_profile("fuzz")
ODD: list[Any] = [
    None,
    "",
    "x",
    [],
    {},
    -1,
    0,
    0.5,
    2**70,
    1e308,
    -1e308,
    10**400,
    True,
    "NaN",
    ["a"],
]
ODD += [{"a": 1}, "1" * 5000, "\x1b]0;title\x07", "| a | <b>", "=1+1", "\ud800", float("nan")]
NOISE = st.sampled_from([b"", b"\0", b"\xff", b"}", b"[" * 5000, b'{"a":1}', b"\xef\xbb\xbf"])


def places(value: Any, where: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where a value is, and all that it holds."""
    yield where
    if isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, inner in items:
            yield from places(inner, (*where, key))


@st.composite
def damaged(draw: st.DrawFn, text: str) -> bytes:
    """A record with odd values, fields that are missing or too many, or other bytes."""
    raw = json.loads(text)
    for _ in range(draw(st.integers(0, 3))):
        where = draw(st.sampled_from([p for p in places(raw) if p]))
        inside = raw
        for key in where[:-1]:
            inside = inside[key]
        match draw(st.sampled_from(["odd", "missing", "more"])):
            case "odd":
                inside[where[-1]] = draw(st.sampled_from(ODD))
            case "missing":
                del inside[where[-1]]
            case "more" if isinstance(inside, dict):
                inside[draw(st.text(max_size=8))] = draw(st.sampled_from(ODD))
            case "more":
                inside.append(draw(st.sampled_from(ODD)))
    content = json.dumps(raw).encode("utf-8", "surrogatepass")
    for _ in range(draw(st.integers(0, 2))):
        place = draw(st.integers(0, len(content)))
        cut = draw(st.integers(0, 3))
        content = content[:place] + draw(NOISE) + content[place + cut :]
    return content[: draw(st.just(len(content)) | st.integers(0, len(content)))]


@pytest.fixture(scope="module")
def record_text(run_folder: Path) -> str:
    return next(iter((run_folder / "records").glob("numpy-*.json"))).read_text()


@FUZZ
@given(data=st.data())
def test_a_damaged_record_is_named_or_read(
    data: st.DataObject,
    invoke: Callable[..., Any],
    run_folder: Path,
    record_text: str,
) -> None:
    path = next(iter((run_folder / "records").glob("numpy-*.json")))
    path.write_bytes(data.draw(damaged(record_text)))
    try:
        form = data.draw(st.sampled_from(["plain", "github", "latex", "html", "csv", "json"]))
        invoke("report", "--format", form, run_folder).check(0, 1, 2)
        invoke("verify", run_folder).check(0, 1, 2)
        invoke("compare", f"{run_folder}@numpy", f"{run_folder}@torch", "--anyway").check()
        before = outside()
        invoke("publish", run_folder, "--to", "store", "--allow-dirty").check()
        if Path("store").exists():
            invoke("verify", "store").check(0, 1)
        assert outside() == before
    finally:
        path.write_text(record_text)
        shutil.rmtree("store", ignore_errors=True)


def outside() -> set[str]:
    """What is beside the store."""
    return {path.as_posix() for path in Path().rglob("*") if path.parts[0] != "store"}
