"""Where the files of texts are: named by the user, in a folder, in the cache, or downloaded."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from lstmbench.corpora.spec import FOLDER, SPLITS, CorpusSpec
from lstmbench.errors import UserError
from lstmbench.machine.interpreter import search_paths

#: A folder that may hold the corpus files, looked into before the cache.
DATA_DIR = "LSTMBENCH_DATA_DIR"
#: Seconds for all download attempts of a text together, and of each file of one that has several:
#: these are large, and no run waits for them unless it names them.
DOWNLOAD_SECONDS, LARGE_SECONDS = 10.0, 120.0
#: Bytes of a file that is read: its tokens take many times as much memory.
MAX_BYTES = 2**30


class CorpusMissing(UserError):
    """The text cannot be had here."""


@dataclass(frozen=True)
class Wanted:
    """A file by the digest of its content, at ``place`` below a folder of corpus files."""

    place: str
    digest: str
    urls: tuple[str, ...]
    large: bool = False


def wanted(spec: CorpusSpec) -> dict[str, Wanted]:
    """The files of a spec by split; a file that is not split stands under the empty name."""
    if not spec.splits:
        return {"": Wanted(spec.filename, f"sha256:{spec.sha256}", spec.urls)}
    return {
        part.split: Wanted(f"{spec.name}/{part.filename}", part.digest, part.urls, True)
        for part in sorted(spec.splits, key=lambda part: SPLITS.index(part.split))
    }


def cache_folder() -> Path:
    """Where downloads are kept: the user's cache."""
    return platformdirs.user_cache_path("lstmbench")


def find(spec: CorpusSpec, path: Path | None = None) -> dict[str, bytes]:
    """The verified content of a named text's files.

    ``path`` is where a single file is. Without it they are looked for in the folder
    ``LSTMBENCH_DATA_DIR``, the user's cache, then downloaded. Raises :class:`CorpusMissing` if
    there is none, :class:`UserError` if a file found is not the right one.
    """
    files = wanted(spec)
    if path is not None:
        return {split: read_verified(path, spec, file.digest) for split, file in files.items()}
    return {split: _find(spec, file, files) for split, file in files.items()}


def _find(spec: CorpusSpec, file: Wanted, files: Mapping[str, Wanted]) -> bytes:
    folders = [cache_folder()]
    if os.environ.get(DATA_DIR):
        folders.insert(0, Path(os.environ[DATA_DIR]))
    for folder in folders:
        if (folder / file.place).exists():
            return read_verified(folder / file.place, spec, file.digest)
    if file.urls:
        fetched = _download(file, cache_folder())
        if fetched is not None:
            return read_verified(fetched, spec, file.digest)
        how = f"and cannot be downloaded: get {file.urls[0]} and"
    else:
        how = f"and is not downloaded: {spec.source or 'get it'}, and"
    places = " and ".join(f"{each.place} ({each.digest[:14]}...)" for each in files.values())
    raise CorpusMissing(
        f"corpus {spec.name!r} is not here {how} put it as {places} into a folder named by "
        f"{DATA_DIR} or into {cache_folder()}"
    )


def _download(file: Wanted, folder: Path) -> Path | None:
    """Fetch into the cache in a process that ends with the time allowed for it, or ``None``."""
    path = folder / file.place
    command = [sys.executable, "-P", "-m", "lstmbench.corpora.download", str(path.parent)]
    command += [path.name, file.digest, *file.urls]
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            timeout=LARGE_SECONDS if file.large else DOWNLOAD_SECONDS,
            check=False,
            env={**os.environ, **search_paths()},
        )
    except subprocess.TimeoutExpired:
        return None
    return path if done.returncode == 0 else None


def digest_of(content: bytes, kind: str) -> str:
    """``sha256:`` and the like with the digits for ``content``; ``git``: as git names it."""
    if kind == "git":
        named = hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False)
    else:
        named = hashlib.new(kind, content, usedforsecurity=False)
    return f"{kind}:{named.hexdigest()}"


def read_verified(path: Path, spec: CorpusSpec, digest: str) -> bytes:
    """The bytes of ``path``; a :class:`UserError` if they are not what ``digest`` says."""
    content = read(path)
    found = digest_of(content, digest.partition(":")[0])
    if found != digest:
        raise UserError(
            f"corpus file {path} is not that of {spec.name!r}: its digest is {found[:20]}..., "
            f"expected {digest[:20]}...; if it is a text of your own, rename it and name it with "
            "--corpus PATH"
        )
    return content


def read(path: Path) -> bytes:
    """The bytes of a regular file of bounded size."""
    try:
        if not path.is_file():  # a device or a pipe may have no end
            path.stat()
            raise UserError(f"corpus file {path}: is no regular file")
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise UserError(
                f"corpus file {path}: {size:,} bytes, {MAX_BYTES:,} are the most: take a part of it"
            )
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"corpus file {path}: {error.strerror or error}") from error


def read_own(path: Path) -> dict[str, bytes]:
    """A user's own file, or the files of a folder by split; ``train.txt`` must be there."""
    if not path.is_dir():
        return {"": read(path)}
    found = {split: read(path / name) for split, name in FOLDER.items() if (path / name).exists()}
    if "train" not in found:
        raise UserError(
            f"--corpus {path}: the folder has no train.txt (it may have valid.txt and test.txt too)"
        )
    return found


def digest(contents: Mapping[str, bytes]) -> str:
    """SHA-256 of a file; of several files, of their digests by split, a line each."""
    if set(contents) == {""}:
        return hashlib.sha256(contents[""]).hexdigest()
    lines = (f"{split} {hashlib.sha256(contents[split]).hexdigest()}\n" for split in contents)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def recognise(content: bytes, specs: Sequence[CorpusSpec]) -> CorpusSpec | None:
    """The named text whose file has this content."""
    found = hashlib.sha256(content).hexdigest()
    return next((spec for spec in specs if spec.sha256 == found), None)
