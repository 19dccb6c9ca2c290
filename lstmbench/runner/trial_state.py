"""A trial on its way to a record."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, NamedTuple

from lstmbench.analysis import flags
from lstmbench.audit.messages import ModelFacts, Proof
from lstmbench.machine.redact import scrub
from lstmbench.messages import storable
from lstmbench.records.record import (
    Activity,
    Agreement,
    Audit,
    Challenge,
    Continuation,
    Epochs,
    Evaluation,
    Layer,
    Machine,
    OwnModel,
    Parity,
    Reason,
    Record,
    Source,
    Stack,
    Status,
    SystemLoad,
)
from lstmbench.records.trial import Trial
from lstmbench.runner.logs import tail
from lstmbench.runner.peaks import Peaks
from lstmbench.worker.messages import Finished, TrialLoaded

#: Characters that a record keeps of a log, from its end, and of a message.
MAX_LOG_TAIL, MAX_MESSAGE = 4000, 2000


class EpochResult(NamedTuple):
    """One epoch of training, or a round of passes through the layers alone, without ``nats``.

    ``joules`` is ``None`` where there is no counter; ``host_seconds`` are by the host's clock;
    ``processor_seconds`` those of the worker and all that it started; ``request_seconds`` what a
    request cost that asked for nothing. ``queued_seconds`` are what the worker's main thread and
    the host waited for a processor meanwhile.
    """

    seconds: float
    nats: float | None
    tokens: int
    joules: float | None
    host_seconds: float
    processor_seconds: float
    request_seconds: float
    queued_seconds: float


@dataclass
class TrialState:
    """What is known of one trial so far.

    Of the layers alone, ``forward`` are the rounds that go forward only, of ``passes`` each.
    """

    trial: Trial
    log: Path
    stack: Stack | None = None
    series: list[EpochResult] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)
    forward: list[EpochResult] = field(default_factory=list)
    passes: int | None = None
    evaluations: list[Evaluation] = field(default_factory=list)
    continuations: list[Continuation] = field(default_factory=list)
    phases: dict[str, float] = field(default_factory=dict)
    memory: dict[str, int] = field(default_factory=dict)
    runtime: dict[str, str] = field(default_factory=dict)
    digests: dict[str, str] = field(default_factory=dict)
    parity: Parity | None = None
    own_model: OwnModel | None = None
    peaks: Peaks | None = None
    interleaved_with: list[str] = field(default_factory=list)
    system_load: SystemLoad | None = None
    activity: Activity | None = None
    challenges: list[tuple[float, float]] = field(default_factory=list)
    challenge_load: SystemLoad | None = None
    audit: Audit | None = None

    @property
    def validation_losses(self) -> list[float]:
        """Nats per token of each validation so far."""
        return [e.nats / e.tokens for e in self.evaluations if e.split == "validation"]

    def loaded(self, answer: TrialLoaded, resident: int | None) -> None:
        """``resident``: what the system says, where it does."""
        self.phases["import"] = answer.import_seconds
        self.memory["imported"] = answer.imported_bytes if resident is None else resident

    def models(self, model: ModelFacts | None, reference: str) -> None:
        """What the auditor says of a plugin's own model."""
        if model is not None:
            self.own_model = OwnModel(reference=reference, **asdict(model))

    def finished(self, answer: Finished) -> None:
        """What the system has said of memory counts more than what the worker says."""
        self.runtime.update(answer.runtime)
        self.memory = {**answer.memory, **self.memory}

    def proven(self, proof: Proof, own: bool = True) -> None:
        """What parity found in the trial's own dtype, which is asked first, or in float32."""
        known = {field.name: getattr(proof, field.name) for field in fields(proof)}
        del known["difference"]
        if own:
            self.parity = Parity(**known)
        elif self.parity is not None:
            self.parity = self.parity.model_copy(update={"program": Agreement(**known)})

    def record(
        self,
        *,
        status: Status,
        reason: Reason | None,
        message: str,
        vocabulary_size: int,
        source: Source,
        machine: Machine,
    ) -> Record:
        """All that is known of the trial, without secrets and safe to store.

        Raises pydantic's ``ValidationError`` where that is no record.
        """
        fields: dict[str, Any] = {
            "trial": self.trial,
            "source": source,
            "machine": machine,
            "stack": self.stack,
            "vocabulary_size": vocabulary_size,
            "parameters": parameter_count(self.trial, vocabulary_size, self.own_model),
            "own_model": self.own_model,
            "status": status,
            "reason": reason,
            "message": _clean(shortened(message)),
            "parity": self.parity,
            "epochs": epochs_from(self.series),
            "layer": self._layer(),
            "evaluations": self.evaluations,
            "continuations": self.continuations,
            "log_tail": log_tail(self.log),
            "phases": self.phases,
            "memory": self.memory,
            "digests": self.digests,
            "runtime": {_clean(key): _clean(value) for key, value in self.runtime.items()},
            "peak": self.peaks.best() if self.peaks else None,
            "interleaved_with": self.interleaved_with,
            "system_load": self.system_load,
            "activity": self.activity,
            "challenge": self._challenge(),
            "audit": self.audit,
        }
        record = Record.model_validate(fields)
        return record.model_copy(update={"flags": flags.raised(record)})

    def bare(self) -> TrialState:
        """The same trial with nothing but its log."""
        return TrialState(self.trial, self.log, self.stack)

    def _layer(self) -> Layer | None:
        if self.passes is None:
            return None
        return Layer(passes=self.passes, forward=epochs_from(self.forward))

    def _challenge(self) -> Challenge | None:
        if not self.challenges:
            return None
        seconds, processor_seconds = zip(*self.challenges, strict=True)
        return Challenge(
            seconds=list(seconds),
            processor_seconds=list(processor_seconds),
            load=self.challenge_load,
        )


def epochs_from(series: Sequence[EpochResult]) -> Epochs:
    """The series as records hold it."""
    joules = [epoch.joules for epoch in series if epoch.joules is not None]
    return Epochs(
        seconds=[epoch.seconds for epoch in series],
        nats=[epoch.nats for epoch in series if epoch.nats is not None],
        tokens=[epoch.tokens for epoch in series],
        # a counter that stopped counting has no figure
        joules=joules if len(joules) == len(series) else [],
        host_seconds=[epoch.host_seconds for epoch in series],
        processor_seconds=[epoch.processor_seconds for epoch in series],
    )


def parameter_count(trial: Trial, vocabulary_size: int, own_model: OwnModel | None = None) -> int:
    """Trainable scalars; 0 if the plugin's own model is not known yet."""
    if own_model:
        return own_model.parameter_count
    return 0 if trial.own_model else trial.protocol.parameter_count(vocabulary_size)


def _clean(text: str) -> str:
    return storable(scrub(text))


def log_tail(log: Path) -> str:
    """What a record keeps of a log; no more than that is read."""
    return _clean(tail(log, MAX_LOG_TAIL))


def shortened(message: str) -> str:
    """The beginning, on one line, of what may be megabytes."""
    cut = " [...]" if len(message) > MAX_MESSAGE else ""
    return f"{' '.join(message[:MAX_MESSAGE].split())}{cut}"
