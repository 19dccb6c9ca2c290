"""Hostile bundles: the whole is refused in one line, and nothing is written outside the store."""

from __future__ import annotations

import io
import shutil
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

FUZZ = settings.get_profile("fuzz")
ODD = (
    "../x.json /x.json records/../../x.json records/ records/a.json bundle.json RECORDS/x.json "
    "records/x.json/y C:\\x.json \\\\host\\x con.json .git/config records/\x00.json x"
)
NAMES = st.sampled_from(ODD.split(" ")) | st.text(
    st.characters(codec="utf-8"), min_size=1, max_size=20
)
MODES = (0, stat.S_IFREG | 0o644, stat.S_IFLNK | 0o777, stat.S_IFIFO | 0o644, stat.S_IFDIR | 0o755)


@pytest.fixture(scope="module")
def whole(invoke: Callable[..., Any], run_folder: Path) -> bytes:
    invoke("publish", run_folder, "--bundle", "whole.zip", "--allow-dirty").check(0)
    return Path("whole.zip").read_bytes()


@st.composite
def hostile(draw: st.DrawFn, whole: bytes) -> bytes:
    """The bundle packed anew with members changed, added twice or left out; then its bytes."""
    packed = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(whole)) as source, zipfile.ZipFile(packed, "w") as target:
        members = [(info.filename, source.read(info)) for info in source.infolist()]
        for _ in range(draw(st.integers(0, 3))):
            what = draw(st.sampled_from(["more", "twice", "missing", "renamed", "changed"]))
            if what == "more" or not members:
                members.append((draw(NAMES), draw(st.binary(max_size=50))))
                continue
            place = draw(st.integers(0, len(members) - 1))
            name, content = members[place]
            match what:
                case "twice":
                    members.append((name, content))
                case "missing":
                    del members[place]
                case "renamed":
                    members[place] = (draw(NAMES), content)
                case "changed":
                    cut = draw(st.integers(0, len(content)))
                    members[place] = (name, content[:cut] + draw(st.binary(max_size=9)))
        for name, content in members:
            info = zipfile.ZipInfo(name)
            info.external_attr = draw(st.sampled_from(MODES)) << 16
            info.compress_type = draw(st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED]))
            target.writestr(info, content)
    changed = bytearray(packed.getvalue())
    for place in draw(st.lists(st.integers(0, len(changed) - 1), max_size=3)):
        changed[place] = draw(st.integers(0, 255))
    return bytes(changed[: draw(st.just(len(changed)) | st.integers(0, len(changed)))])


@pytest.mark.filterwarnings("ignore:Duplicate name")
@FUZZ
@given(data=st.data())
def test_a_hostile_bundle_is_refused_or_as_it_was(
    data: st.DataObject, invoke: Callable[..., Any], whole: bytes
) -> None:
    place = Path("hostile.zip")
    place.write_bytes(data.draw(hostile(whole)))
    try:
        before = outside()
        invoke("report", place).check()
        invoke("verify", place).check()
        invoke("compare", f"{place}@numpy", f"{place}@torch", "--anyway").check()
        invoke("publish", place, "--to", "store", "--allow-dirty").check()
        assert outside() == before
    finally:
        place.unlink()
        shutil.rmtree("store", ignore_errors=True)


def outside() -> set[str]:
    """What is beside the store."""
    return {path.as_posix() for path in Path().rglob("*") if path.parts[0] != "store"}
