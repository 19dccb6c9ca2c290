"""A bundle: published records in one zip file, to give to others.

Nothing is ever unpacked: members are read one by one into memory, each checked before it is read.
A bundle with a single fault is refused whole, so no record is used before the last one.
"""

from __future__ import annotations

import io
import json
import mmap
import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path

from lstmbench.errors import UserError
from lstmbench.records import canonical
from lstmbench.records.files import MAX_RECORD_BYTES
from lstmbench.records.parse import Stored, parse

MANIFEST = "bundle.json"
#: Version of the layout below.
FORMAT = 1
#: Limits: members, bytes of all and of the file, epochs of all (as many as honest records of so
#: many bytes have, at 17 digits a number), how far one may be compressed (records are to about a
#: third).
MAX_MEMBERS = 100_000
MAX_IN_ALL = 2**28
MAX_EPOCHS = 6_000_000
MAX_RATIO = 20
#: Everything that :mod:`zipfile` may raise about a made-up file.
FAULTS = (
    *(zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, NotImplementedError),
    *(ValueError, IndexError, KeyError, OverflowError, MemoryError, struct.error),
)


def manifest(digests: Mapping[str, str]) -> bytes:
    """What ``bundle.json`` holds: the format's version, and each record's file with its SHA-256."""
    holds = {"format": FORMAT, "records": dict(sorted(digests.items()))}
    return (json.dumps(holds, indent=1) + "\n").encode()


def make_bundle(records: Mapping[str, bytes]) -> bytes:
    """A zip of published records by file name; the same records give the same bytes.

    Members are stored, not compressed, for what a compressor makes depends on its version. Raises
    :class:`UserError` for more than :func:`read_bundle` takes.
    """
    digests = {name: canonical.digest(data) for name, data in records.items()}
    members = {MANIFEST: manifest(digests)}
    members |= {f"records/{name}": data for name, data in sorted(records.items())}
    try:
        _check_sizes({name: len(data) for name, data in members.items()})
        _check_epochs(sum(_epochs(name, data) for name, data in records.items()))
        content = _zipped(members)
        if len(content) > MAX_IN_ALL:
            raise InvalidBundle(f"it is larger than {MAX_IN_ALL} bytes")
    except InvalidBundle as fault:
        raise UserError(f"too much for a bundle, name fewer runs: {fault}") from fault
    return content


def _zipped(members: Mapping[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        for name, data in members.items():
            member = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            member.create_system = 3  # Unix, wherever it is made
            member.external_attr = (stat.S_IFREG | 0o644) << 16
            archive.writestr(member, data)
    return out.getvalue()


def read_bundle(path: Path) -> Iterator[Stored]:
    """The records of a bundle, in order of name. Raises :class:`UserError` for any fault."""
    check_bundle_file(path)
    try:
        _check_member_count(path)
        with zipfile.ZipFile(path) as archive:
            members = _checked(archive.infolist())
            listed = _read(archive, members.pop(MANIFEST))
            digests, epochs = {}, 0
            for name, member in sorted(members.items()):
                stored = _record(path, name, _read(archive, member))
                epochs += len(stored.record.epochs.seconds)
                _check_epochs(epochs)
                digests[name.removeprefix("records/")] = canonical.digest(stored.content)
                yield stored
        if listed != manifest(digests):
            raise InvalidBundle(f"{MANIFEST} does not list its records")
    except InvalidBundle as fault:
        raise UserError(f"bundle {path} is refused: {fault}") from fault
    except FAULTS as error:
        raise UserError(f"bundle {path} is refused: {error or type(error).__name__}") from error


def check_bundle_file(path: Path) -> None:
    """Raise :class:`UserError` for a file that does not even begin as a bundle does."""
    try:
        with path.open("rb") as file:
            begins = file.read(2)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror or error}") from error
    if begins != b"PK":  # neither is an archive with a program in front
        raise UserError(f"{path} is no run and no store, and no bundle either")


class InvalidBundle(Exception):
    """What is wrong with a bundle."""


def _check_member_count(path: Path) -> None:
    """What only opening an archive would take too much memory for: :mod:`zipfile` lists it all."""
    size = path.stat().st_size
    if size > MAX_IN_ALL:
        raise InvalidBundle(f"it is larger than {MAX_IN_ALL} bytes")
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        # each entry of the directory begins like this, and no record holds it
        count = sum(1 for _ in re.finditer(rb"PK\x01\x02", content))
    if count > MAX_MEMBERS:
        raise InvalidBundle(f"it holds {count} files, more than {MAX_MEMBERS}")


def _check_sizes(sizes: Mapping[str, int]) -> None:
    """Raise :class:`InvalidBundle` for members that are too many or too long."""
    if len(sizes) > MAX_MEMBERS:
        raise InvalidBundle(f"it holds {len(sizes)} files, more than {MAX_MEMBERS}")
    for name, size in sizes.items():
        if size > MAX_RECORD_BYTES:
            raise InvalidBundle(f"{name!r}: {size} bytes, more than {MAX_RECORD_BYTES}")
    if sum(sizes.values()) > MAX_IN_ALL:
        raise InvalidBundle(f"it holds more than {MAX_IN_ALL} bytes")


def _check_epochs(count: int) -> None:
    if count > MAX_EPOCHS:
        raise InvalidBundle(f"its records hold more than {MAX_EPOCHS:,} epochs")


def _epochs(name: str, data: bytes) -> int:
    return len(parse(name, data).record.epochs.seconds)


def _checked(members: list[zipfile.ZipInfo]) -> dict[str, zipfile.ZipInfo]:
    """The members by name, if every one may be read."""
    seen: set[str] = set()
    for member in members:
        fault = _fault(member)
        if member.filename.casefold() in seen:
            fault = "its name is there twice"
        if fault:
            raise InvalidBundle(f"{member.orig_filename!r}: {fault}")
        seen.add(member.filename.casefold())
    found = {member.filename: member for member in members}
    _check_sizes({name: member.file_size for name, member in found.items()})
    if MANIFEST not in found:
        raise InvalidBundle(f"it has no {MANIFEST}")
    return found


def _fault(member: zipfile.ZipInfo) -> str | None:
    """Why a member may not be read, or ``None``; decided from the directory alone."""
    folder, _, name = member.orig_filename.rpartition("/")
    record = folder == "records" and canonical.FILE.fullmatch(name)
    if not record and member.orig_filename != MANIFEST:
        return f"a bundle holds {MANIFEST} and records/NAME-DIGEST.json, nothing else"
    mode = member.external_attr >> 16
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG) or member.is_dir():
        return "no regular file"
    if mode & 0o7111 or member.external_attr & 0x10:
        return "marked as executable, or as a folder"
    if member.flag_bits & 0x2041:
        return "encrypted"
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return f"compressed by an unusual method ({member.compress_type})"
    if member.file_size > MAX_RATIO * max(member.compress_size, 1):
        return f"compressed to less than a {MAX_RATIO}th"
    return None


def _read(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes:
    """The bytes of a member, never more than its directory entry says."""
    with archive.open(member) as stream:
        data = stream.read(member.file_size + 1)
    if len(data) != member.file_size:
        raise InvalidBundle(f"{member.filename!r}: its size is not what the directory says")
    return data


def _record(path: Path, member: str, data: bytes) -> Stored:
    stored = parse(f"{path}: {member}", data)
    if not canonical.is_canonical(stored.raw, data, member.removeprefix("records/")):
        raise InvalidBundle(f"{member}: its name is not its content's")
    return stored
