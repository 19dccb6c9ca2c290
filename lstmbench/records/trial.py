"""What decides one process: everything that is trained and how."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args

from lstmbench.backend import LSTM_MODEL, Task
from lstmbench.preparation import Preparation
from lstmbench.protocol import (
    MAX_COUNT,
    OVERRIDES,
    Protocol,
    Value,
    identity,
    later_defaults,
)

INITS = ("shared", "native")

Dtype = Literal["float32", "float64", "float16", "bfloat16"]
DTYPES: tuple[Dtype, ...] = get_args(Dtype)
#: NumPy's generators take more, readers of JSON do not.
MAX_SEED = 2**63 - 1
#: Given to backends whose own initial parameters are not used.
UNUSED_SEED = 271_828


@dataclass(frozen=True)
class Trial:
    """One process, one record: everything that decides what is trained and how.

    ``environment`` is what the user set for all workers, ``backend_environment`` what this
    backend's spec asks for. ``preparation`` is how the text became tokens. ``model`` is the LSTM,
    or one that the backend's plugin brings. ``stack`` is the label of the environment in which the
    worker runs; empty for the host's own.
    """

    backend: str
    mode: str
    device: str
    dtype: Dtype
    protocol: Protocol
    overrides: Mapping[str, Value]
    init: str
    corpus: str
    corpus_digest: str
    seed: int = field(metadata={"ge": 0, "le": MAX_SEED})
    threads: int = field(metadata={"ge": 1, "le": MAX_COUNT})
    environment: Mapping[str, str] = field(default_factory=dict)
    backend_environment: Mapping[str, str] = field(default_factory=dict)
    repeat: int = field(default=0, metadata={"ge": 0, "le": MAX_SEED})
    preparation: Preparation = field(default_factory=Preparation)
    model: str = LSTM_MODEL
    stack: str = ""

    @property
    def own_model(self) -> bool:
        """Whether the plugin brings the model: it is proven against the plugin's own reference."""
        return self.model != LSTM_MODEL

    @property
    def program(self) -> str:
        """``backend:mode`` as on the command line."""
        return f"{self.backend}:{self.mode}"

    @property
    def label(self) -> str:
        """``backend:mode``, and ``backend:mode@stack`` in a stack."""
        return f"{self.program}@{self.stack}" if self.stack else self.program

    @property
    def names(self) -> tuple[str, ...]:
        """What a user may call its row: the label, or less where that is enough."""
        known = (self.label, self.program, self.backend)
        return (*known, f"{self.backend}@{self.stack}", self.stack) if self.stack else known

    def protocol_title(self, without: Collection[str] = ()) -> str:
        """The protocol with what was overridden: ``quick with epochs 10 and hidden-size 128``.

        ``without`` names overrides that are left out.
        """
        words = self.overrides_in_words(without)
        if not words:
            return self.protocol.name
        most, last = ", ".join(words[:-1]), words[-1]
        return f"{self.protocol.name} with {f'{most} and {last}' if most else last}"

    def overrides_in_words(self, without: Collection[str] = ()) -> list[str]:
        """What differs from the protocol, such as ``hidden-size 128``."""
        items = self.overrides.items()
        return [f"{name.replace('_', '-')} {v}" for name, v in items if name not in without]

    @property
    def corpus_title(self) -> str:
        """The text with the first digits of its digest: ``corpus time-machine (8424dbd9)``.

        And how it was prepared, unless as The Time Machine is.
        """
        return f"corpus {self.corpus_words}"

    @property
    def corpus_words(self) -> str:
        """As :attr:`corpus_title`, without the first word."""
        known = f"{self.corpus} ({self.corpus_digest[:8]})"
        return " ".join([known, *self.preparation.words])

    @property
    def device_kind(self) -> str:
        return self.device.partition(":")[0]

    @property
    def name(self) -> str:
        """A file name that no other trial has: readable facts and a digest of all of them."""
        return readable_name(asdict(self))

    def group_key(self) -> str:
        """Equal for trials that differ only in backend, mode and stack."""
        return self._key(self.seed, self.repeat)

    def row_key(self) -> str:
        """Equal for trials that differ only in seed and repeat."""
        own = (self.backend, self.mode, self.stack, sorted(self.backend_environment.items()))
        return self._key(*own)

    def _key(self, *more: object) -> str:
        """All but backend, mode, stack, seed and repeat, and ``more``; made for thousands of
        records."""
        mappings = (sorted(self.overrides.items()), sorted(self.environment.items()))
        text = (self.corpus, self.corpus_digest, self.preparation)
        what = (self.model, self.device, self.dtype, self.init, *text)
        return repr((identity(self.protocol), *what, *mappings, self.threads, *more))

    def task(self, vocabulary_size: int) -> Task:
        """What the backend is built from.

        Its seed is for a framework's own initial parameters. It says nothing of the trial's, from
        which the order of the text is drawn: what need not be known is not told.
        """
        return Task(
            self.protocol.model(vocabulary_size),
            self.protocol.training,
            self.device,
            self.mode,
            self.dtype,
            self.threads,
            own_seed(self.seed) if self.init == "native" else UNUSED_SEED,
        )


def own_seed(seed: int) -> int:
    """For a framework's own initial parameters: below 2**31, which every framework takes."""
    digest = hashlib.sha256(f"initial parameters {seed}".encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1


def differences(trials: Sequence[Trial]) -> list[str]:
    """Of each of some trials, in words, the settings in which they are not all alike."""
    sizes = [
        {**{name: getattr(t.protocol, name) for name in OVERRIDES}, "threads": t.threads}
        for t in trials
    ]
    varying = (
        [name for name in sizes[0] if len({size[name] for size in sizes}) > 1] if sizes else []
    )
    inits = len({trial.init for trial in trials}) > 1
    seeds = len({trial.seed for trial in trials}) > 1
    return [
        ", ".join(
            [
                *([trial.init] if inits else []),
                *(f"{name.replace('_', '-')} {size[name]}" for name in varying),
                *([f"seed {trial.seed}"] if seeds else []),
            ]
        )
        for trial, size in zip(trials, sizes, strict=True)
    ]


def readable_name(trial: Mapping[str, Any]) -> str:
    """The name of a trial from its JSON."""
    facts = [trial[key] for key in ("backend", "mode")]
    facts += [stack] if (stack := trial.get("stack")) else []
    facts += [trial["device"], trial["dtype"], trial["init"], f"r{trial.get('repeat', 0)}"]
    readable = [re.sub(r"[^\w.]+", "_", fact) for fact in facts]
    return "-".join([*readable, digest_of_facts(trial)[:8]])


def digest_of_facts(trial: Mapping[str, Any]) -> str:
    """SHA-256 of what decides a trial, from its JSON.

    Fields that a later version has added count only if they are not as they were before there was a
    choice: a trial keeps its name.
    """
    facts = dict(trial)
    if facts.get("preparation") == asdict(Preparation()):
        del facts["preparation"]
    if not facts.get("stack"):
        facts.pop("stack", None)
    later = later_defaults()
    facts["protocol"] = {
        name: value
        for name, value in facts["protocol"].items()
        if name not in later or value != later[name]
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
