"""Texts to train on: found, verified and turned into ids, once per run."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

import platformdirs

from lstmbench.errors import UserError
from lstmbench.machine.interpreter import search_paths

if TYPE_CHECKING:
    import numpy as np

    from lstmbench.corpora.vocabulary import Vocabulary

#: A folder that may hold the corpus files, looked into before the cache.
DATA_DIR = "LSTMBENCH_DATA_DIR"
#: Seconds for all download attempts together.
DOWNLOAD_SECONDS = 10.0
#: Characters that are told of why it failed.
MAX_REASON = 300


@dataclass(frozen=True)
class CorpusSpec:
    """A text by name.

    Either a file that is found or downloaded, ``filename``, ``urls`` and ``sha256`` of its bytes;
    or a text that ``make`` returns. Both are normalised to letters and blanks. ``surprisal``,
    where the source of the text is known, gives the nats it spends on each symbol of the text.
    """

    name: str
    summary: str
    filename: str = ""
    urls: tuple[str, ...] = ()
    sha256: str = ""
    make: Callable[[], str] | None = None
    surprisal: Callable[[str], Sequence[float]] | None = None


@dataclass(frozen=True)
class Corpus:
    """A resolved text.

    ``digest`` is the SHA-256 of the raw bytes; ``ids`` is 1-D int32; ``surprisal`` the nats of the
    text's own source for each token, float64, where that is known.
    """

    name: str
    digest: str
    vocabulary: Vocabulary
    ids: np.ndarray
    surprisal: np.ndarray | None = None


def source_nats(surprisal: np.ndarray, split: slice, batch_size: int, steps: int) -> float:
    """The nats that a text's own source spends on the predictions of one pass over a split.

    No model that was fixed before can be expected to spend less: the source entropy bound.
    """
    import numpy as np

    from lstmbench.batches import partition

    predicted = partition(np.arange(split.start, split.stop), batch_size, steps).targets
    return float(surprisal[predicted].sum())


TIME_MACHINE = CorpusSpec(
    name="time-machine",
    summary="H. G. Wells, The Time Machine (1895), as the d2l course ships it",
    filename="timemachine.txt",
    urls=(
        "http://d2l-data.s3-accelerate.amazonaws.com/timemachine.txt",
        "https://raw.githubusercontent.com/d2l-ai/d2l-zh/"
        "592fbef84a684e752393edbf267c07dbc53e082b/data/timemachine.txt",
    ),
    sha256="8424dbd9532ac81f7e5f0b6add90e6952baea29158309d7d1bf3884f4e12c516",
)


def _bundled_text() -> str:
    return resources.files("lstmbench").joinpath("data/bundled.txt").read_text("ascii")


BUNDLED = CorpusSpec(
    name="bundled",
    summary="an original story that comes with lstmbench: same alphabet, no network needed",
    make=_bundled_text,
)


def _markov_text() -> str:
    from lstmbench.corpora.markov import Source

    return Source().text()


def _markov_surprisal(text: str) -> list[float]:
    from lstmbench.corpora.markov import Source

    return Source().surprisal(text)


MARKOV = CorpusSpec(
    name="markov",
    summary="text from a known random source: the best possible perplexity is known",
    make=_markov_text,
    surprisal=_markov_surprisal,
)
DEFAULT = TIME_MACHINE
FALLBACK = BUNDLED


class CorpusMissing(UserError):
    """The text cannot be had here, for ``reason``."""

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


def cache_folder() -> Path | None:
    """Where downloads are kept: the user's cache; ``None`` for a user without a home."""
    try:
        return platformdirs.user_cache_path("lstmbench")
    except RuntimeError:
        return None


def read_verified(path: Path, spec: CorpusSpec) -> bytes:
    """The bytes of ``path``; a :class:`UserError` if they are not the corpus."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"corpus file {path}: {error.strerror or error}") from error
    digest = hashlib.sha256(content).hexdigest()
    if digest != spec.sha256.lower():
        raise UserError(
            f"corpus file {path} is not {spec.name}: its SHA-256 is {digest[:12]}..., expected "
            f"{spec.sha256[:12]}...; remove or replace it"
        )
    return content


def _download(spec: CorpusSpec, folder: Path) -> str | None:
    """Fetch into ``folder`` in a process that ends with the time allowed for it.

    Returns why that failed, or ``None``.
    """
    command = [sys.executable, "-P", "-m", "lstmbench.corpora.download", str(folder)]
    command += [spec.filename, spec.sha256, *spec.urls]
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=DOWNLOAD_SECONDS,
            check=False,
            env={**os.environ, **search_paths()},
        )
    except subprocess.TimeoutExpired:
        return f"no answer within {DOWNLOAD_SECONDS:g} s"
    if done.returncode == 0:
        return None
    return next(iter(done.stderr.splitlines()[-1:]), "no reason given")[:MAX_REASON]


def _raw(spec: CorpusSpec, corpus_file: Path | None) -> bytes:
    if spec.make is not None:
        if corpus_file is not None:
            raise UserError(f"--corpus-file: corpus {spec.name!r} is not read from a file")
        try:
            return spec.make().encode()
        except Exception as error:
            what = f"{type(error).__name__}: {error}"
            raise UserError(f"corpus {spec.name!r} cannot be made: {what}") from error
    if corpus_file is not None:
        return read_verified(corpus_file, spec)
    cache, named = cache_folder(), os.environ.get(DATA_DIR)
    folders = [Path(named)] if named else []
    for folder in [*folders, cache] if cache else folders:
        if (folder / spec.filename).exists():
            return read_verified(folder / spec.filename, spec)
    if not spec.urls:
        raise UserError(
            f"corpus {spec.name!r} is not here and nowhere to be downloaded from: give its path "
            "with --corpus-file"
        )
    reason = "there is no home folder to keep it in"
    if cache:
        failed = _download(spec, cache)
        if failed is None:
            return read_verified(cache / spec.filename, spec)
        reason = failed
    raise CorpusMissing(
        f"corpus {spec.name!r} is not here and cannot be downloaded ({reason}): get {spec.urls[0]} "
        f"and give its path with --corpus-file, or put it as {spec.filename} into a folder named "
        f"by {DATA_DIR}{f' or into {cache}' if cache else ''}",
        reason,
    )


def resolve(spec: CorpusSpec, corpus_file: Path | None = None) -> Corpus:
    """Find, verify and encode a text.

    Looked for in ``corpus_file``, the folder ``LSTMBENCH_DATA_DIR``, the user's cache, then
    downloaded. Raises :class:`CorpusMissing` if there is none, :class:`UserError` if a file found
    is not the right one.
    """
    import numpy as np

    from lstmbench.corpora.vocabulary import (
        Vocabulary,
        normalise,  # listing corpora needs no NumPy
    )

    raw = _raw(spec, corpus_file)
    try:
        text = normalise(raw.decode())
    except UnicodeDecodeError as error:
        raise UserError(
            f"corpus {spec.name!r} is no UTF-8 text: {error.reason} at byte {error.start:,}"
        ) from error
    vocabulary = Vocabulary(text)
    return Corpus(
        spec.name,
        hashlib.sha256(raw).hexdigest(),
        vocabulary,
        vocabulary.encode(text),
        np.array(spec.surprisal(text)) if spec.surprisal else None,
    )
