"""What decides one process: everything that is trained and how."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field

from lstmbench.backend import Task
from lstmbench.protocol import OVERRIDABLE, Protocol, identity

INITS = ("shared", "native")


DTYPES = ("float32", "float64", "float16", "bfloat16")


@dataclass(frozen=True)
class Trial:
    """One process, one record: everything that decides what is trained and how.

    ``environment`` is what the user set for all workers, ``backend_environment`` what this
    backend's spec asks for.
    """

    backend: str
    mode: str
    device: str
    dtype: str
    protocol: Protocol
    overrides: Mapping[str, int | float]
    init: str
    corpus: str
    corpus_digest: str
    seed: int
    threads: int
    environment: Mapping[str, str] = field(default_factory=dict)
    backend_environment: Mapping[str, str] = field(default_factory=dict)
    repeat: int = 0

    @property
    def label(self) -> str:
        """``backend:mode`` as on the command line."""
        return f"{self.backend}:{self.mode}"

    @property
    def device_kind(self) -> str:
        return self.device.partition(":")[0]

    @property
    def name(self) -> str:
        """A file name that no other trial has: readable facts and a digest of all of them."""
        facts = (self.backend, self.mode, self.device, self.dtype, self.init, f"r{self.repeat}")
        return "-".join([*(re.sub(r"[^\w.]+", "_", fact) for fact in facts), digest(self)[:8]])

    def group_key(self) -> str:
        """Equal for trials that differ only in backend and mode."""
        return self._key(self.repeat)

    def row_key(self) -> str:
        """Equal for trials that differ only in repeat."""
        own = (self.backend, self.mode, sorted(self.backend_environment.items()))
        return self._key(*own)

    def _key(self, *more: object) -> str:
        """Everything but backend, mode and repeat, and ``more``; made for thousands of records."""
        mappings = (sorted(self.overrides.items()), sorted(self.environment.items()))
        what = (self.device, self.dtype, self.init, self.corpus, self.corpus_digest)
        return repr((identity(self.protocol), *what, *mappings, self.seed, self.threads, *more))

    def task(self, vocabulary_size: int) -> Task:
        """What the backend is built from."""
        return Task(
            self.protocol.model(vocabulary_size),
            self.protocol.training,
            self.device,
            self.mode,
            self.dtype,
            self.threads,
            self.seed,
        )


def differences(trials: Sequence[Trial]) -> list[str]:
    """Of each of some trials, in words, the settings in which they are not all alike."""
    sizes = [
        {**{name: getattr(t.protocol, name) for name in OVERRIDABLE}, "threads": t.threads}
        for t in trials
    ]
    varying = (
        [name for name in sizes[0] if len({size[name] for size in sizes}) > 1] if sizes else []
    )
    inits = len({trial.init for trial in trials}) > 1
    return [
        ", ".join(
            [
                *([trial.init] if inits else []),
                *(f"{name.replace('_', '-')} {size[name]}" for name in varying),
            ]
        )
        for trial, size in zip(trials, sizes, strict=True)
    ]


def digest(trial: Trial) -> str:
    """SHA-256 of the trial's canonical JSON."""
    return hashlib.sha256(json.dumps(asdict(trial), sort_keys=True).encode()).hexdigest()
