"""Bundles: the same records give the same bytes, and a fault refuses the whole."""

from __future__ import annotations

import io
import json
import stat
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lstmbench.errors import UserError
from lstmbench.publish.gather import gather
from lstmbench.publish.merge import publish
from lstmbench.records import bundle as bundles
from lstmbench.records.bundle import make_bundle, manifest, read_bundle
from lstmbench.records.canonical import digest
from lstmbench.records.record import Record
from lstmbench.verify.stores import verify

pytestmark = pytest.mark.usefixtures("no_plots")
RESULTS = Path(__file__).parents[2] / "results" / "records"
PROPERTY = settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.fixture(scope="module")
def records(
    tmp_path_factory: pytest.TempPathFactory, pool: list[Record], runs: Any
) -> dict[str, bytes]:
    run = runs(tmp_path_factory.mktemp("bundle") / "run", pool)
    return {name: entry.content for name, entry in gather([run], []).items()}


@pytest.fixture(scope="module")
def ok_bundle(records: dict[str, bytes]) -> bytes:
    return make_bundle(records)


@pytest.fixture
def path(tmp_path: Path, ok_bundle: bytes) -> Path:
    place = tmp_path / "bundle.zip"
    place.write_bytes(ok_bundle)
    return place


def test_a_bundle_comes_back(path: Path, records: dict[str, bytes]) -> None:
    assert {name: e.content for name, e in gather([path], []).items()} == records
    report = verify(path)
    assert report.mismatches == []
    assert report.records == len(records)


def test_the_same_records_give_the_same_bytes(records: dict[str, bytes], ok_bundle: bytes) -> None:
    assert make_bundle(dict(reversed(records.items()))) == ok_bundle
    with zipfile.ZipFile(io.BytesIO(ok_bundle)) as archive:
        assert archive.namelist() == ["bundle.json", *(f"records/{n}" for n in sorted(records))]
        for member in archive.infolist():
            assert member.date_time == (1980, 1, 1, 0, 0, 0)
            assert member.compress_type == zipfile.ZIP_STORED


def test_publishing_a_bundle_is_publishing_its_runs(
    tmp_path: Path, path: Path, pool: list[Record], runs: Any, files: Any
) -> None:
    publish([path], tmp_path / "one")
    publish([runs(tmp_path / "run", pool)], tmp_path / "two")
    assert files(tmp_path / "one") == files(tmp_path / "two")


def test_a_bundle_that_was_packed_again_is_accepted(tmp_path: Path, ok_bundle: bytes) -> None:
    """By any zip program: compressed, in another order."""
    place = tmp_path / "again.zip"
    with (
        zipfile.ZipFile(io.BytesIO(ok_bundle)) as old,
        zipfile.ZipFile(place, "w", zipfile.ZIP_DEFLATED) as new,
    ):
        for name in reversed(old.namelist()):
            new.writestr(name, old.read(name))
    assert len(list(read_bundle(place))) == 7


Edit = Callable[[list[tuple[zipfile.ZipInfo, bytes]]], None]


def packed(records: dict[str, bytes], edit: Edit, method: int = zipfile.ZIP_STORED) -> bytes:
    """A bundle with its members edited."""
    contents = {"bundle.json": manifest({n: digest(d) for n, d in records.items()})}
    contents |= {f"records/{name}": data for name, data in records.items()}
    members = [(zipfile.ZipInfo(name), data) for name, data in contents.items()]
    edit(members)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for member, data in members:
            archive.writestr(member, data, method or None)
    return out.getvalue()


def add(name: str, data: bytes = b"x", **attributes: Any) -> Edit:
    def edit(members: list[tuple[zipfile.ZipInfo, bytes]]) -> None:
        member = zipfile.ZipInfo(name)
        for key, value in attributes.items():
            setattr(member, key, value)
        members.append((member, data))

    return edit


def alter(**attributes: Any) -> Edit:
    """Of the first record."""

    def edit(members: list[tuple[zipfile.ZipInfo, bytes]]) -> None:
        for key, value in attributes.items():
            setattr(members[1][0], key, value)

    return edit


def twice(members: list[tuple[zipfile.ZipInfo, bytes]]) -> None:
    members.append(members[1])


def without_manifest(members: list[tuple[zipfile.ZipInfo, bytes]]) -> None:
    del members[0]


def without_a_record(members: list[tuple[zipfile.ZipInfo, bytes]]) -> None:
    del members[2]


def another_digit(members: list[tuple[zipfile.ZipInfo, bytes]]) -> None:
    member, data = members[1]
    members[1] = (member, data.replace(b"5e-06", b"4e-06", 1))


def written_otherwise(members: list[tuple[zipfile.ZipInfo, bytes]]) -> None:
    member, data = members[1]
    data = json.dumps(json.loads(data)).encode()
    name = member.filename.rpartition("-")[0]
    members[1] = (zipfile.ZipInfo(f"{name}-{digest(data)[:12]}.json"), data)


MODE = {
    "link": stat.S_IFLNK | 0o777,
    "pipe": stat.S_IFIFO | 0o644,
    "device": stat.S_IFBLK | 0o644,
    "folder": stat.S_IFDIR | 0o755,
    "program": stat.S_IFREG | 0o755,
    "setuid": stat.S_IFREG | 0o4644,
}
BAD: dict[str, Edit] = {
    "leaves the folder": add("../evil.json"),
    "leaves by way of records": add("records/../../evil-0123456789ab.json"),
    "absolute": add("/etc/cron.d/evil-0123456789ab.json"),
    "a drive": add("C:/evil-0123456789ab.json"),
    "backslashes": add("records\\..\\evil-0123456789ab.json"),
    "a zero byte": add("records/evil-0123456789ab.json\0.sh"),
    "a line break": add("records/evil-0123456789ab.json\n"),
    "deeper": add("records/more/evil-0123456789ab.json"),
    "a folder": add("records/", b""),
    "nested": add("records/inner.zip", b"PK\x03\x04"),
    "a script": add("run.sh", b"#!/bin/sh\n"),
    "a page": add("site/index.html"),
    "in capitals": add("RECORDS/evil-0123456789ab.json"),
    "twice": twice,
    "twice but for case": add("Bundle.json"),
    "no manifest": without_manifest,
    "a record is missing": without_a_record,
    "a changed digit": another_digit,
    "not canonical": written_otherwise,
    "no record": add("records/evil-2d711642b726.json"),
    **{name: alter(external_attr=mode << 16) for name, mode in MODE.items()},
    "a folder of DOS": alter(external_attr=0x10),
}


@pytest.mark.parametrize("name", BAD)
def test_a_fault_refuses_the_whole(
    tmp_path: Path, records: dict[str, bytes], name: str, call: Any, one_line: Any
) -> None:
    place = tmp_path / "bad.zip"
    place.write_bytes(packed(records, BAD[name]))
    for command in (
        ("publish", place, "--to", tmp_path / "store"),
        ("publish", place, "--bundle", tmp_path / "again.zip"),
        ("verify", place),
        ("report", place),
    ):
        one_line(call(*command), "bad.zip")
    assert not (tmp_path / "store").exists()
    assert not (tmp_path / "again.zip").exists()
    assert not list(tmp_path.rglob("*evil*"))


def patched(ok_bundle: bytes, offset: int, code: str, value: int) -> bytes:
    """A field of the first record's entry in the directory, changed."""
    first = ok_bundle.index(b"PK\x01\x02")
    entry = ok_bundle.index(b"PK\x01\x02", first + 4)
    data = bytearray(ok_bundle)
    struct.pack_into(code, data, entry + offset, value)
    return bytes(data)


@pytest.mark.parametrize(
    ("offset", "code", "value", "words"),
    [
        (8, "<H", 1, "encrypted"),
        (8, "<H", 0x40, "encrypted"),
        (10, "<H", 12, "unusual method"),
        (10, "<H", 99, "unusual method"),
        (24, "<I", 2**31, "compressed to less than"),
        (24, "<I", 10**7, "compressed to less than"),
        (24, "<I", 10, "refused"),
        (20, "<I", 10, "refused"),
        (42, "<I", 2**31, "refused"),
        (42, "<I", 0, "refused"),
        (16, "<I", 7, "refused"),
    ],
)
def test_an_entry_that_lies_refuses_the_whole(
    tmp_path: Path, ok_bundle: bytes, offset: int, code: str, value: int, words: str
) -> None:
    place = tmp_path / "bad.zip"
    place.write_bytes(patched(ok_bundle, offset, code, value))
    with pytest.raises(UserError, match=words):
        list(read_bundle(place))


def test_a_bomb_is_refused_before_it_is_read(
    tmp_path: Path, records: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: Any, **__: Any) -> None:
        raise AssertionError("read")

    bomb = packed(
        records,
        add("records/bomb-0123456789ab.json", bytes(2**24), compress_type=zipfile.ZIP_DEFLATED),
    )
    place = tmp_path / "bomb.zip"
    place.write_bytes(bomb)
    monkeypatch.setattr(zipfile.ZipFile, "open", never)
    with pytest.raises(UserError, match="compressed to less than"):
        list(read_bundle(place))


@pytest.mark.parametrize(
    ("limit", "value", "words"),
    [
        ("MAX_MEMBERS", 3, "8 files, more than 3"),
        ("MAX_RECORD_BYTES", 100, "bytes, more than 100"),
        ("MAX_EPOCHS", 12, "more than 12 epochs"),
        ("MAX_IN_ALL", 600, "more than 600|larger than 600"),
    ],
)
def test_limits_hold_for_who_reads_and_for_who_writes(
    path: Path,
    records: dict[str, bytes],
    monkeypatch: pytest.MonkeyPatch,
    limit: str,
    value: int,
    words: str,
) -> None:
    monkeypatch.setattr(bundles, limit, value)
    with pytest.raises(UserError, match=words):
        list(read_bundle(path))
    with pytest.raises(UserError, match=f"too much for a bundle.*({words})"):
        make_bundle(records)


def test_what_may_be_written_may_be_read(
    path: Path, records: dict[str, bytes], ok_bundle: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To the byte: the file is longer than what it holds."""
    monkeypatch.setattr(bundles, "MAX_IN_ALL", len(ok_bundle))
    assert make_bundle(records) == ok_bundle
    assert len(list(read_bundle(path))) == len(records)
    monkeypatch.setattr(bundles, "MAX_IN_ALL", len(ok_bundle) - 1)
    with pytest.raises(UserError, match=r"too much for a bundle.*larger than"):
        make_bundle(records)


def test_what_it_holds_is_limited_though_the_file_is_short(
    tmp_path: Path, records: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "short.zip"
    place.write_bytes(packed(records, lambda members: None, zipfile.ZIP_DEFLATED))
    assert len(list(read_bundle(place))) == len(records)
    monkeypatch.setattr(bundles, "MAX_IN_ALL", place.stat().st_size)
    with pytest.raises(UserError, match="it holds more than"):
        list(read_bundle(place))


def test_a_crowd_of_members_is_refused_before_the_archive_is_opened(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: Any, **__: Any) -> None:
        raise AssertionError("opened")

    monkeypatch.setattr(bundles, "MAX_MEMBERS", 7)
    monkeypatch.setattr(zipfile, "ZipFile", never)
    with pytest.raises(UserError, match="8 files, more than 7"):
        list(read_bundle(path))


def test_only_one_member_is_in_memory_at_a_time(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    read = zipfile.ZipFile.open

    def counted(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Any:
        opened.append(member.filename)
        return read(archive, member)

    monkeypatch.setattr(zipfile.ZipFile, "open", counted)
    found = read_bundle(path)
    next(found)
    assert len(opened) == 2  # the list of records is the first
    assert len([*found]) == 6


def test_two_records_of_one_trial_are_no_valid_bundle(
    tmp_path: Path, make_true: Any, runs: Any, call: Any
) -> None:
    records: dict[str, bytes] = {}
    for speed in (1.0, 2.0):
        run = runs(tmp_path / f"run{speed}", [make_true(speed=speed)])
        records |= {name: entry.content for name, entry in gather([run], []).items()}
    place = tmp_path / "bundle.zip"
    place.write_bytes(make_bundle(records))
    (line,) = verify(place).mismatches
    first, second = sorted(records)
    assert line.startswith(f"{place}: records/{second}: contradicts {place}: records/{first}: ")
    assert call("verify", place).returncode == 1


@pytest.mark.skipif(not RESULTS.is_dir(), reason="needs the repository's results")
def test_real_records_stay_well_within_the_limits(tmp_path: Path) -> None:
    records = {path.name: path.read_bytes() for path in RESULTS.iterdir()}
    assert sum(map(len, records.values())) < bundles.MAX_IN_ALL / 100
    place = tmp_path / "bundle.zip"
    place.write_bytes(packed(records, lambda members: None, zipfile.ZIP_DEFLATED))
    with zipfile.ZipFile(place) as archive:
        ratios = [member.file_size / member.compress_size for member in archive.infolist()]
    assert max(ratios) < bundles.MAX_RATIO / 4


def test_a_program_in_front_of_the_archive_is_refused(tmp_path: Path, ok_bundle: bytes) -> None:
    place = tmp_path / "bundle.zip"
    place.write_bytes(b"#!/bin/sh\nexit\n" + ok_bundle)
    with pytest.raises(UserError, match="no bundle either"):
        list(read_bundle(place))


@PROPERTY
@given(data=st.data())
def test_damage_anywhere_is_refused_or_changes_nothing(
    data: st.DataObject, path: Path, ok_bundle: bytes
) -> None:
    """Bytes changed, cut off or added: one clear refusal, or the records as they were."""
    changed = bytearray(ok_bundle)
    tail = st.integers(max(0, len(ok_bundle) - 2500), len(ok_bundle) - 1)
    for place in data.draw(st.lists(st.integers(0, len(ok_bundle) - 1) | tail, max_size=4)):
        changed[place] = data.draw(st.integers(0, 255))
    end = data.draw(st.just(len(ok_bundle)) | st.integers(0, len(ok_bundle)))
    path.write_bytes(bytes(changed[:end]))
    try:
        got = list(read_bundle(path))
    except UserError:
        return
    finally:
        path.write_bytes(ok_bundle)
    assert [stored.content for stored in got] == [s.content for s in read_bundle(path)]


@PROPERTY
@given(
    name=st.text(st.characters(codec="utf-8"), min_size=1, max_size=60)
    | st.from_regex(r"\A(\.\./|/|records/)?[a-z./\\-]{0,20}\.(json|sh|py)\Z"),
    data=st.binary(max_size=50),
    mode=st.sampled_from([0, stat.S_IFREG | 0o644, *MODE.values()]),
)
def test_any_other_member_refuses_the_whole(
    tmp_path: Path, records: dict[str, bytes], name: str, data: bytes, mode: int, files: Any
) -> None:
    place = tmp_path / "bundle.zip"
    place.write_bytes(packed(records, add(name, data, external_attr=mode << 16)))
    before = files(tmp_path).keys()
    with pytest.raises(UserError, match="refused"):
        publish([place], tmp_path / "store")
    assert files(tmp_path).keys() == before
