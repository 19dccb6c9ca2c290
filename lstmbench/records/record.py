"""What one trial leaves behind: immutable, versioned, validated JSON."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    FiniteFloat,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from lstmbench.protocol import MAX_COUNT
from lstmbench.records import migration
from lstmbench.records.ranges import (
    Count,
    Duration,
    Joules,
    Nats,
    Number,
    Seconds,
    Series,
    Share,
    Size,
)
from lstmbench.records.trial import Trial


class Status(StrEnum):
    OK = "ok"
    UNAVAILABLE = "unavailable"
    FAILED = "failed"
    INTERRUPTED = "interrupted"


#: Why a trial is ``failed``.
Reason = Literal[
    "parity", "audit", "exception", "nan", "signal", "exit", "timeout", "memory", "interface"
]


class Flag(StrEnum):
    """What casts doubt on a record's figures; :mod:`lstmbench.analysis.flags` holds the rules."""

    INTERFERENCE = "interference"
    SUSPECT = "suspect"
    UNAUDITED = "unaudited"
    DRIFTING = "drifting"


class _Part(BaseModel):
    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        ser_json_inf_nan="strings",
        serialize_by_alias=True,
    )


class _Sparse(_Part):
    """A part whose unknown values are left out of its JSON."""

    def known(self) -> dict[str, Any]:
        """The known values by their JSON key, in the order of the fields."""
        return self.model_dump()

    @model_serializer(mode="wrap")
    def _known(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {name: value for name, value in handler(self).items() if value is not None}


class StoppingRule(_Part):
    """When repeating was to stop: every ratio known within ``precision`` (0.02 is +-2 %), or
    ``seconds`` spent."""

    precision: float = Field(gt=0, le=1)
    seconds: FiniteFloat = Field(gt=0)


class PluginCode(_Part):
    """The code of a plugin that was installed.

    ``digest``: SHA-256 over names and contents of the files that it is loaded from, ``None`` where
    they were not found. ``commit``: of its checkout, or that it was fetched at, if there is one.
    ``dirty``: it is not what was committed, or not what was installed.
    """

    distribution: str
    version: str
    digest: str | None
    commit: str | None
    dirty: bool


class Shard(_Part):
    """A run that does a part of a plan: ``groups`` are those of its groups that are this run's,
    counted from 1; the plan has so many (``of``). ``plan`` is its digest."""

    plan: str
    groups: list[Count] = Field(min_length=1)
    of: Count

    @model_validator(mode="after")
    def _within(self) -> Self:
        if max(self.groups) > self.of or len(set(self.groups)) < len(self.groups):
            raise ValueError(f"groups: expected different ones, up to {self.of}")
        return self


class Source(_Part):
    """Where a record comes from. ``dirty``: the checkout had changes outside ``results/``, or one
    of the ``plugins`` is dirty.

    ``interleaved``: the group's trials were trained one epoch each in rotating order, not one
    trial after the other. ``resumed``: when the run went on that made this record, if it was
    resumed or extended; ``shard``: which part of a plan it is, if it is not a whole one.
    """

    run: str
    started: str
    command: list[str]
    commit: str | None
    dirty: bool | None
    interleaved: bool
    stopping_rule: StoppingRule | None = None
    plugins: list[PluginCode] = Field(default_factory=list)
    resumed: str | None = None
    shard: Shard | None = None

    @property
    def unclean(self) -> str | None:
        """Which code was no clean commit, or ``None`` if all was."""
        for plugin in self.plugins:
            # of those in the host's own checkout it is not known which file changed
            if plugin.dirty and (plugin.commit is None or plugin.commit != self.commit):
                return (
                    f"made with {plugin.distribution} {plugin.version}, which was changed since it "
                    "was committed or installed"
                )
        if self.dirty or self.commit is None or any(plugin.dirty for plugin in self.plugins):
            return "made by code that is no clean commit"
        return None

    @property
    def short_commit(self) -> str:
        """The first digits of the commit, or ``unknown``."""
        return self.commit[:8] if self.commit else "unknown"


class Stack(_Part):
    """The environment in which a trial's worker ran, where one was asked for.

    ``request`` is what was asked for. ``packages`` is everything that is installed there, by name,
    with its version; ``digest`` is that of Python's version and the packages. Both are unknown
    where the environment could not be had. ``plugins`` are those of the trials' backends whose code
    is the stack's own; all others are the host's.
    """

    label: str
    request: str
    python: str | None = None
    packages: dict[str, str] = Field(default_factory=dict)
    digest: str | None = None
    plugins: list[PluginCode] = Field(default_factory=list)

    @property
    def option(self) -> str:
        """What ``--stack`` is given."""
        own = self.label == "".join(self.request.split())
        return self.request if own else f"{self.label}={self.request}"

    @property
    def versions(self) -> dict[str, str]:
        """Python's version and those of the packages."""
        return {"python": self.python, **self.packages} if self.python else {}

    @property
    def unclean(self) -> str | None:
        """Which code was changed since it was committed or installed, or ``None``."""
        for plugin in self.plugins:
            if plugin.dirty:
                return (
                    f"made with {plugin.distribution} {plugin.version} of the stack {self.label}, "
                    "which was changed since it was committed or installed"
                )
        return None


def digest_of_stack(python: str, packages: Mapping[str, str]) -> str:
    """SHA-256, in hexadecimal digits, of what an environment is made of."""
    return hashlib.sha256(json.dumps([python, packages], sort_keys=True).encode()).hexdigest()


class Machine(_Part):
    """The hardware's facts with their digest, and the versions installed."""

    digest: str
    facts: dict[str, Any]
    versions: dict[str, str]

    @property
    def label(self) -> str:
        """Processor and cores, such as ``AMD EPYC (2 cores)``."""
        facts = self.facts
        limit = f", limited to {facts['cpu_limit']}" if "cpu_limit" in facts else ""
        return f"{facts.get('processor')} ({facts.get('physical_cores')} cores{limit})"


class Agreement(_Part):
    """Relative errors against the float64 reference; ``shape`` is (windows, batch, steps).

    ``allowed`` is what rounding explains of changes so small that ``tolerance`` cannot hold.
    """

    worst: float
    tolerance: float
    errors: dict[str, float]
    allowed: dict[str, float] = Field(default_factory=dict)
    shape: tuple[Count, Count, Count]
    cut: bool


class Parity(Agreement):
    """Of a trial, in its dtype; ``program`` is that of the same program in float32, where the dtype
    has 16 bits, in which only gross mistakes show."""

    program: Agreement | None = None


class Epochs(_Part):
    """The raw series of the training passes: seconds, summed nats and tokens of each epoch.

    Of the layers alone, which have no loss, ``nats`` is empty.

    ``joules`` is what the device's energy counter says, empty where there is none.
    ``host_seconds`` are measured by the host, from its request to the answer;
    ``processor_seconds`` are what the worker and all that it started computed meanwhile, empty
    where the system does not tell.
    """

    seconds: Series[Seconds] = Field(default_factory=list)
    nats: Series[Nats] = Field(default_factory=list)
    tokens: Series[Count] = Field(default_factory=list)
    joules: Series[Joules] = Field(default_factory=list)
    host_seconds: Series[Duration] = Field(default_factory=list)
    processor_seconds: Series[Duration] = Field(default_factory=list)

    @model_validator(mode="after")
    def _one_value_per_epoch(self) -> Self:
        count = len(self.seconds)
        optional = ("nats", "joules", "host_seconds", "processor_seconds")
        for name in ("tokens", *optional):
            length = len(getattr(self, name))
            if length != count and (length or name not in optional):
                raise ValueError(f"expected {count} {name}, one for each epoch, got {length}")
        return self


class Layer(_Part):
    """The recurrent layers alone: a round is ``passes`` passes on random numbers.

    ``forward``: rounds that go forward only; ``epochs`` are those that go backward too.
    """

    passes: Count
    forward: Epochs = Field(default_factory=Epochs)


class Matmul(_Part):
    """Seconds of ``[side, side]`` matmuls by ``library``, measured between the epochs."""

    library: str
    side: Count
    dtype: str
    seconds: Series[Seconds]


class Copy(_Part):
    """Seconds of copies of ``size`` bytes in memory, measured between the epochs."""

    size: Count
    seconds: Series[Seconds]


class Peak(_Part):
    """What the device reached in the trial's group: the fastest matmul, and copies in memory."""

    matmul: Matmul
    copies: Copy | None = None


class SystemLoad(_Part):
    """What others took of the machine while the trial's group trained.

    ``others``: processors that were busy, on average, with anything but this run; ``stolen``: the
    share of all processor time that the hypervisor gave to other guests; ``throttled``: the share
    of the periods in which a container's limit stopped its processes, where there is a limit.
    """

    others: FiniteFloat = Field(ge=0)
    stolen: Share
    throttled: Share | None = None


class Activity(_Part):
    """What the worker's processes did beside its own epochs, while its group trained.

    ``processor_seconds``: what they computed in the ``seconds`` in which others trained.
    ``processes``: how many it started. ``hindered``: how often others stopped the worker, or
    took priority, processors or limits from it. ``remarks``: what it did to itself and to others
    that no trial may do.
    """

    seconds: Duration
    processor_seconds: Duration
    processes: Number = 0
    hindered: Number = 0
    remarks: list[str] = Field(default_factory=list)


class Challenge(_Part):
    """Epochs that cannot have been trained before, after the last one of training.

    ``seconds`` of each, until the updated parameters were there; ``processor_seconds`` as in
    :class:`Epochs`. ``load`` is what others took of the machine meanwhile, ``None`` if that was
    not seen.
    """

    seconds: Series[Duration]
    processor_seconds: Series[Duration] = Field(default_factory=list)
    load: SystemLoad | None = None


class AuditPart(_Part):
    """One claim, checked by the reference.

    ``first`` and ``last`` are the epochs of a segment, counted from 1; ``last`` is the epoch after
    which anything else was claimed, or the round of a ``forward`` or ``backward`` pass through the
    layers alone. ``errors`` are relative; ``allowed`` is how large an honest one
    may be, and has no entry for what rounding hides.
    """

    what: Literal["segment", "challenge", "evaluation", "text", "forward", "backward"]
    first: Count | None = None
    last: Count
    errors: dict[str, float]
    allowed: dict[str, float]


class Audit(_Part):
    """What was checked after training, in a process that never loaded a plugin, or of a plugin's
    own model only the reference.

    ``nonce``: hexadecimal digits, made once the workers were ready, from which was drawn what to
    ask for and what to check. ``bias_copies``: how many trained biases each layer has.
    ``left_out``: what was not checked, and why.
    """

    nonce: str
    bias_copies: Count = 1
    parts: list[AuditPart] = Field(default_factory=list)
    left_out: list[str] = Field(default_factory=list)


class Evaluation(_Part):
    """One untimed pass over a split after ``epoch`` epochs of training.

    ``source_nats``: the nats that the text's own source spends on the same tokens, where it is
    known. No model is expected to spend fewer.
    """

    split: str
    epoch: Count
    nats: Nats
    tokens: Count
    source_nats: Nats | None = None


class Continuation(_Part):
    """What the trained model writes after ``prefix``."""

    prefix: str
    text: str


class Phases(_Sparse):
    """Seconds that each phase of a worker took, before and after the epochs.

    ``build`` and ``prepare`` are those of the first instance, which parity then uses up;
    ``rebuild`` is that of the instance that is timed. The JSON key of ``import_`` is ``import``.
    """

    import_: Duration | None = Field(
        default=None, validation_alias="import", serialization_alias="import"
    )
    build: Duration | None = None
    prepare: Duration | None = None
    parity: Duration | None = None
    rebuild: Duration | None = None
    generate: Duration | None = None

    @property
    def start_up(self) -> float | None:
        """Seconds of import, build and prepare; ``None`` if one of them is unknown."""
        parts = (self.import_, self.build, self.prepare)
        known = [seconds for seconds in parts if seconds is not None]
        return sum(known) if len(known) == len(parts) else None


class Memory(_Sparse):
    """Bytes. ``imported``, ``peak`` and ``peak_with_parity`` are the worker's resident size.

    ``imported``: when the framework was imported. ``peak``: the largest from building the timed
    instance to the first matmul, or to the end where there was none. ``peak_with_parity``: the
    largest of the whole process, in records of schema version 1. ``device_peak``: on a device
    with memory of its own.
    """

    imported: Size | None = None
    peak: Size | None = None
    peak_with_parity: Size | None = None
    device_peak: Size | None = None


class Digests(_Sparse):
    """SHA-256, in hexadecimal digits, of the initial parameters and of the epochs' offsets."""

    parameters: str | None = None
    offsets: str | None = None


class OwnModel(_Part):
    """A model that a plugin brings: the shapes of its tensors by name, and the forward operations
    per token, as the plugin's ``reference`` (``module:attribute``) states them.

    Such a record is proven against that reference, which this project has not written.
    """

    reference: str
    tensors: dict[str, list[Count]]
    operations_per_token: FiniteFloat = Field(ge=0)

    @property
    def parameter_count(self) -> int:
        """Trainable scalars."""
        return sum(math.prod(shape) for shape in self.tensors.values())


class Record(_Part):
    """One trial: what was asked, what was in force, what was measured.

    With a ``stack``, the versions in ``machine`` are those of the host alone.

    ``parameters`` counts trainable scalars by the formula, or by the shapes of ``own_model``; it
    is 0 if a plugin's own model was never loaded. ``interleaved_with`` names the other
    trials of the same group.
    """

    schema_version: Literal[6] = 6
    trial: Trial
    source: Source
    machine: Machine
    stack: Stack | None = None
    vocabulary_size: Count
    parameters: Size
    own_model: OwnModel | None = None
    status: Status
    reason: Reason | None = None
    message: str = ""
    flags: list[Flag] = Field(default_factory=list)
    phases: Phases = Field(default_factory=Phases)
    memory: Memory = Field(default_factory=Memory)
    parity: Parity | None = None
    epochs: Epochs = Field(default_factory=Epochs)
    layer: Layer | None = None
    evaluations: list[Evaluation] = Field(default_factory=list)
    continuations: list[Continuation] = Field(default_factory=list)
    digests: Digests = Field(default_factory=Digests)
    runtime: dict[str, str] = Field(default_factory=dict)
    peak: Peak | None = None
    interleaved_with: list[str] = Field(default_factory=list)
    system_load: SystemLoad | None = None
    activity: Activity | None = None
    challenge: Challenge | None = None
    audit: Audit | None = None
    log_tail: str = ""

    @model_validator(mode="before")
    @classmethod
    def _upgraded(cls, data: Any) -> Any:
        return migration.upgrade(data)

    @property
    def unclean(self) -> str | None:
        """Which code was no clean commit, or ``None`` if all was."""
        return self.source.unclean or (self.stack.unclean if self.stack else None)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        """What figures are computed from is there, and no more than was asked for."""
        done, asked = len(self.epochs.seconds), self.trial.protocol.epochs
        if done > asked:
            raise ValueError(f"epochs: expected at most {asked}, as the protocol says, got {done}")
        if self.status == Status.OK and not done:
            raise ValueError("epochs: expected at least one, as status is ok, got none")
        if self.status == Status.OK and self.phases.start_up is None:
            raise ValueError("phases: expected import, build and prepare, as status is ok")
        if self.trial.protocol.is_layer:
            self._check_layer(done)
        elif len(self.epochs.nats) != done or self.layer:
            raise ValueError(f"epochs: expected {done} nats and no layer, as a model is trained")
        if self.own_model and not self.trial.own_model:
            raise ValueError(f"own_model: expected none, as trial.model is {self.trial.model}")
        if (self.stack.label if self.stack else "") != self.trial.stack:
            raise ValueError(f"stack: expected that of the trial, {self.trial.stack!r}")
        if self.status == Status.OK and self.stack and self.stack.digest is None:
            raise ValueError("stack.digest: expected one, as status is ok")
        if self.status == Status.OK and self.trial.own_model and not self.own_model:
            raise ValueError("own_model: expected one, as status is ok")
        for name, value in self.trial.overrides.items():
            if not isinstance(value, str) and not abs(value) <= MAX_COUNT:
                raise ValueError(f"trial.overrides.{name}: expected at most {MAX_COUNT}")
        return self

    def _check_layer(self, done: int) -> None:
        if self.epochs.nats or (self.layer and self.layer.forward.nats):
            raise ValueError("epochs: expected no nats, as the layers alone have no loss")
        forward = len(self.layer.forward.seconds) if self.layer else 0
        if self.status == Status.OK and forward != done:
            raise ValueError(f"layer.forward: expected {done} rounds, as epochs has, got {forward}")
