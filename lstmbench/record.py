"""What one trial leaves behind: immutable, versioned, validated JSON."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from lstmbench.plan import Trial


class Status(StrEnum):
    OK = "ok"
    UNAVAILABLE = "unavailable"
    FAILED = "failed"
    INTERRUPTED = "interrupted"


#: Why a trial is ``failed``.
Reason = Literal["parity", "exception", "nan", "signal", "exit", "timeout", "memory", "protocol"]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")


class Source(_Part):
    """Where a record comes from. ``dirty``: the checkout had changes outside ``results/``."""

    run: str
    started: str
    command: list[str]
    commit: str | None
    dirty: bool | None
    interleaved: bool


class Machine(_Part):
    """The hardware's facts with their digest, and the versions installed."""

    digest: str
    facts: dict[str, Any]
    versions: dict[str, str]


class Parity(_Part):
    """Relative errors against the float64 reference; ``shape`` is (windows, batch, steps).

    ``allowed`` is what rounding explains of changes so small that ``tolerance`` cannot hold.
    """

    worst: float
    tolerance: float
    errors: dict[str, float]
    allowed: dict[str, float] = Field(default_factory=dict)
    shape: tuple[int, int, int]
    cut: bool


class Epochs(_Part):
    """The raw series of the training passes: seconds, summed nats and tokens of each epoch."""

    seconds: list[float] = Field(default_factory=list)
    nats: list[float] = Field(default_factory=list)
    tokens: list[int] = Field(default_factory=list)


class Evaluation(_Part):
    """One untimed pass over a split after ``epoch`` epochs of training.

    ``floor``: the nats that the text's own source spends on the same tokens, where it is known.
    """

    split: str
    epoch: int
    nats: float
    tokens: int
    floor: float | None = None


class Continuation(_Part):
    """What the trained model writes after ``prefix``."""

    prefix: str
    text: str


class Record(_Part):
    """One trial: what was asked, what was in force, what came.

    ``phases`` are seconds: import, build and prepare (of the first instance, which parity then
    uses up), parity, rebuild (of the instance that is timed), generate. ``memory`` is the
    worker's largest resident size in bytes after import and at the end. ``parameters`` counts
    trainable scalars by the formula. ``flags``: suspect, unsettled.
    """

    schema_version: Literal[1] = 1
    trial: Trial
    source: Source
    machine: Machine
    vocabulary_size: int
    parameters: int
    status: Status
    reason: Reason | None = None
    message: str = ""
    flags: list[str] = Field(default_factory=list)
    phases: dict[str, float] = Field(default_factory=dict)
    memory: dict[str, int] = Field(default_factory=dict)
    parity: Parity | None = None
    epochs: Epochs = Field(default_factory=Epochs)
    evaluations: list[Evaluation] = Field(default_factory=list)
    continuations: list[Continuation] = Field(default_factory=list)
    digests: dict[str, str] = Field(default_factory=dict)
    runtime: dict[str, str] = Field(default_factory=dict)
    log_tail: str = ""
