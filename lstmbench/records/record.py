"""What one trial leaves behind: immutable, versioned, validated JSON."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from lstmbench.records import migration
from lstmbench.records.trial import Trial


class Status(StrEnum):
    OK = "ok"
    UNAVAILABLE = "unavailable"
    FAILED = "failed"
    INTERRUPTED = "interrupted"


#: Why a trial is ``failed``.
Reason = Literal["parity", "exception", "nan", "signal", "exit", "timeout", "memory", "protocol"]


class _Part(BaseModel):
    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        ser_json_inf_nan="strings",
    )


class StoppingRule(_Part):
    """When sampling was to stop: every ratio known within ``precision`` (0.02 is +-2 %), or
    ``seconds`` spent."""

    precision: float
    seconds: float


class Source(_Part):
    """Where a record comes from. ``dirty``: the checkout had changes outside ``results/``."""

    run: str
    started: str
    command: list[str]
    commit: str | None
    dirty: bool | None
    interleaved: bool
    aim: StoppingRule | None = None


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
    """The raw series of the training passes: seconds, summed nats and tokens of each epoch.

    ``joules`` is what the device's energy counter says, empty where there is none.
    """

    seconds: list[float] = Field(default_factory=list)
    nats: list[float] = Field(default_factory=list)
    tokens: list[int] = Field(default_factory=list)
    joules: list[float] = Field(default_factory=list)


class Product(_Part):
    """Seconds of ``[side, side]`` matrix products by ``library``, taking turns with the epochs."""

    library: str
    side: int
    dtype: str
    seconds: list[float]


class Copy(_Part):
    """Seconds of copies of ``size`` bytes in memory, taking turns with the epochs."""

    size: int
    seconds: list[float]


class Peak(_Part):
    """What the device reached in the trial's group: the fastest product, and copies in memory."""

    product: Product
    copies: Copy | None = None


class SystemLoad(_Part):
    """What others took of the machine while the trial's group trained.

    ``others``: processors that were busy, on average, with anything but this run; ``stolen``: the
    share of all processor time that the hypervisor gave to other guests.
    """

    others: float
    stolen: float


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
    uses up), parity, rebuild (of the instance that is timed), generate. ``memory`` is in bytes:
    the worker's resident size when the framework was ``imported``, its ``peak`` from building the
    timed instance to the first matrix product, or to the end where there was none, and
    ``device_peak`` where a device has memory of its own.
    ``parameters`` counts trainable scalars by the formula. ``companions`` names the trials that
    took turns with this one. ``flags``: disturbed, suspect, unsettled.
    """

    schema_version: Literal[3] = 3
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
    peak: Peak | None = None
    companions: list[str] = Field(default_factory=list)
    surroundings: SystemLoad | None = None
    log_tail: str = ""

    @model_validator(mode="before")
    @classmethod
    def _upgraded(cls, data: Any) -> Any:
        return migration.upgrade(data)
