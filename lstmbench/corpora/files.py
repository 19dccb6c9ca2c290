"""Where the files of texts are: named by the user, in a folder, in the cache, or downloaded."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from lstmbench.corpora.spec import FOLDER, SPLITS, CorpusSpec
from lstmbench.errors import UserError
from lstmbench.machine.interpreter import search_paths

#: A folder that may hold the corpus files, looked into before the cache.
DATA_DIR = "LSTMBENCH_DATA_DIR"
#: Seconds for all download attempts of a text together.
DOWNLOAD_SECONDS = 10.0
#: Seconds for each attempt of a large one: no run waits for those unless it names them.
LARGE_SECONDS = 120.0
#: How the address of an archive ends.
ARCHIVE = ".zip"
#: Characters that are told of why it failed.
MAX_REASON = 300
#: Bytes of a file that is read: its tokens take many times as much memory.
MAX_BYTES = 2**30


class CorpusMissing(UserError):
    """The text cannot be had here, for ``reason``."""

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True)
class Wanted:
    """A file by the digest of its content, at ``place`` below a folder of corpus files."""

    place: str
    digest: str
    urls: tuple[str, ...]
    large: bool = False

    @property
    def name(self) -> str:
        """Of the file alone."""
        return Path(self.place).name

    @property
    def packed(self) -> bool:
        """Whether it is downloaded in an archive."""
        return any(url.endswith(ARCHIVE) for url in self.urls)


def wanted(spec: CorpusSpec) -> dict[str, Wanted]:
    """The files of a spec by split; a file that is not split stands under the empty name."""
    if not spec.splits:
        large = any(url.endswith(ARCHIVE) for url in spec.urls)
        return {"": Wanted(spec.filename, f"sha256:{spec.sha256.lower()}", spec.urls, large)}
    return {
        part.split: Wanted(f"{spec.name}/{part.filename}", part.digest.lower(), part.urls, True)
        for part in sorted(spec.splits, key=lambda part: SPLITS.index(part.split))
    }


def cache_folder() -> Path | None:
    """Where downloads are kept: the user's cache; ``None`` for a user without a home."""
    try:
        return platformdirs.user_cache_path("lstmbench")
    except RuntimeError:
        return None


def find(spec: CorpusSpec, path: Path | None = None) -> dict[str, Path]:
    """Where a named text's files are, by split; they are not verified yet.

    ``path`` is where a single file is, or the folder of several. Without it they are looked for in
    the folder ``LSTMBENCH_DATA_DIR``, the user's cache, then downloaded. Raises
    :class:`CorpusMissing` if there is none.
    """
    files = wanted(spec)
    if path is None:
        return {split: _find(spec, file, files) for split, file in files.items()}
    return {split: path / file.name if spec.splits else path for split, file in files.items()}


def read_all(spec: CorpusSpec, places: Mapping[str, Path]) -> dict[str, bytes]:
    """The content of a named text's files; a :class:`UserError` names one that is another."""
    digests = {split: file.digest for split, file in wanted(spec).items()}
    return {split: read_verified(at, spec, digests[split]) for split, at in places.items()}


def _here(file: Wanted) -> Path | None:
    """The file's place in the folder that the user named, else in the cache, if it is there."""
    cache, named = cache_folder(), os.environ.get(DATA_DIR)
    folders = [Path(named)] if named else []
    places = [folder / file.place for folder in ([*folders, cache] if cache else folders)]
    return next((place for place in places if place.exists()), None)


def whereabouts(spec: CorpusSpec) -> str:
    """Where a text is, or comes from, in words; nothing is read or downloaded."""
    if spec.make is not None:
        return "made when it is needed"
    files = wanted(spec).values()
    found = [place for place in map(_here, files) if place]
    if len(found) == len(files):
        return str(found[0].parent if spec.splits else found[0])
    return "downloaded when it is needed" if all(file.urls for file in files) else "your own files"


def _find(spec: CorpusSpec, file: Wanted, files: Mapping[str, Wanted]) -> Path:
    here, cache = _here(file), cache_folder()
    if here is not None:
        return here
    reason = "it is nowhere to be downloaded from"
    if file.urls:
        reason = "there is no home folder to keep it in"
        if cache:
            failed = _download(file, cache)
            if failed is None:
                return cache / file.place
            reason = failed
    raise CorpusMissing(_missing(spec, file, files, cache, reason), reason)


def _missing(
    spec: CorpusSpec, file: Wanted, files: Mapping[str, Wanted], cache: Path | None, reason: str
) -> str:
    """What to do about a text that is not here."""
    if file.urls:
        unpack = ", unpack it" if file.packed else ""
        how = f"cannot be downloaded ({reason}): get {file.urls[0]}{unpack} and"
    else:
        how = f"nowhere to be downloaded from{f' ({spec.source})' if spec.source else ''}:"
    give, them = "give its path", "it"
    if spec.splits:
        give, them = "name the folder of its files", "them"
    places = " and ".join(f"{each.place} ({each.digest})" for each in files.values())
    return (
        f"corpus {spec.name!r} is not here and {how} {give} with --corpus, or put {them} as "
        f"{places} into a folder named by {DATA_DIR}{f' or into {cache}' if cache else ''}"
    )


def _download(file: Wanted, folder: Path) -> str | None:
    """Fetch into ``folder``, each place in a process that ends with the time allowed for it.

    Returns why that failed, or ``None``.
    """
    path = folder / file.place
    allowed = LARGE_SECONDS if file.large else DOWNLOAD_SECONDS / len(file.urls)
    reason = None
    for url in file.urls:
        reason = _fetch(url, path, file.digest, allowed)
        if reason is None:
            return None
    return reason


def _fetch(url: str, path: Path, digest: str, allowed: float) -> str | None:
    """As :func:`_download`, from one place."""
    command = [sys.executable, "-P", "-m", "lstmbench.corpora.download", str(path), digest, url]
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=allowed,
            check=False,
            env={**os.environ, **search_paths()},
        )
    except subprocess.TimeoutExpired:
        return f"{url}: not served within {allowed:g} s"
    if done.returncode == 0:
        return None
    return next(iter(done.stderr.splitlines()[-1:]), "no reason given")[:MAX_REASON]


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


def recognise(path: Path, specs: Iterable[CorpusSpec]) -> CorpusSpec | None:
    """The named text whose file, or whose folder of files, this is.

    A folder that has the names of such a text's files, and no ``train.txt``, is meant to be it.
    """
    if path.is_dir():
        several = [spec for spec in specs if spec.splits]
        return next((spec for spec in several if _holds(path, spec)), None)
    found = hashlib.sha256(read(path)).hexdigest()
    return next((spec for spec in specs if spec.sha256.lower() == found), None)


def _holds(folder: Path, spec: CorpusSpec) -> bool:
    files = wanted(spec).values()
    if not all((folder / file.name).is_file() for file in files):
        return False
    return not (folder / FOLDER["train"]).exists() or all(
        digest_of(read(folder / file.name), file.digest.partition(":")[0]) == file.digest
        for file in files
    )
