"""A trial on its way to a record."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import NamedTuple

from lstmbench.analysis.flags import disturbed, suspect, unsettled
from lstmbench.machine.redact import scrub
from lstmbench.messages import storable
from lstmbench.records.record import (
    Continuation,
    Epochs,
    Evaluation,
    Machine,
    Parity,
    Reason,
    Record,
    Source,
    Status,
    SystemLoad,
)
from lstmbench.records.trial import Trial
from lstmbench.runner.channel import Channel
from lstmbench.runner.peaks import Peaks
from lstmbench.worker.messages import Detail, Finished, ParityProof, Prepared, TrialLoaded

#: Characters that a record keeps of a log, from its end, and of a message.
MAX_LOG_TAIL, MAX_MESSAGE = 4000, 2000


class EpochResult(NamedTuple):
    """One epoch of training; ``joules`` is ``None`` where there is no counter."""

    seconds: float
    nats: float
    tokens: int
    joules: float | None


@dataclass
class TrialState:
    """What is known of one trial so far."""

    trial: Trial
    log: Path
    series: list[EpochResult] = field(default_factory=list)
    evaluations: list[Evaluation] = field(default_factory=list)
    continuations: list[Continuation] = field(default_factory=list)
    phases: dict[str, float] = field(default_factory=dict)
    memory: dict[str, int] = field(default_factory=dict)
    runtime: dict[str, str] = field(default_factory=dict)
    digests: dict[str, str] = field(default_factory=dict)
    parity: Parity | None = None
    peaks: Peaks | None = None
    interleaved_with: list[str] = field(default_factory=list)
    system_load: SystemLoad | None = None

    def loaded(self, answer: TrialLoaded) -> None:
        self.phases["import"] = answer.import_seconds
        self.memory["imported"] = answer.imported_bytes

    def prepared(self, answer: Prepared) -> None:
        self.phases.update(answer.phases)
        self.digests["parameters"] = answer.parameters_digest
        self._proven(answer.parity)

    def finished(self, answer: Finished) -> None:
        self.runtime.update(answer.runtime)
        self.memory.update(answer.memory)

    def failed(self, detail: Detail) -> None:
        """Take over what a worker knew when it failed."""
        self.phases.update(detail.phases)
        if detail.parity is not None:
            self._proven(detail.parity)

    def _proven(self, proof: ParityProof) -> None:
        self.parity = Parity(**asdict(proof))

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
        """All that is known of the trial, without secrets and safe to store."""
        epochs = epochs_from(self.series)
        return Record(
            trial=self.trial,
            source=source,
            machine=machine,
            vocabulary_size=vocabulary_size,
            parameters=self.trial.task(vocabulary_size).model.parameter_count,
            status=status,
            reason=reason,
            message=_clean(" ".join(message[:MAX_MESSAGE].split())),
            flags=raised_flags(epochs, self.evaluations, self.system_load),
            parity=self.parity,
            epochs=epochs,
            evaluations=self.evaluations,
            continuations=self.continuations,
            log_tail=log_tail(self.log),
            phases=self.phases,
            memory=self.memory,
            digests=self.digests,
            runtime={_clean(key): _clean(value) for key, value in self.runtime.items()},
            peak=self.peaks.best() if self.peaks else None,
            companions=self.interleaved_with,
            surroundings=self.system_load,
        )

    def bare(self) -> TrialState:
        """The same trial with nothing but its log."""
        return TrialState(self.trial, self.log)


@dataclass(eq=False)
class LiveTrial:
    """A trial whose worker lives."""

    state: TrialState
    channel: Channel
    offers_matmul: bool = True

    @property
    def trial(self) -> Trial:
        return self.state.trial


def epochs_from(series: Sequence[EpochResult]) -> Epochs:
    """The series as records hold it."""
    joules = [epoch.joules for epoch in series if epoch.joules is not None]
    return Epochs(
        seconds=[epoch.seconds for epoch in series],
        nats=[epoch.nats for epoch in series],
        tokens=[epoch.tokens for epoch in series],
        # a counter that stopped counting has no figure
        joules=joules if len(joules) == len(series) else [],
    )


def raised_flags(
    epochs: Epochs, evaluations: Sequence[Evaluation], system_load: SystemLoad | None
) -> list[str]:
    """The flags of a record with these series."""
    found = {
        "disturbed": disturbed(system_load),
        "suspect": suspect(epochs.nats, evaluations),
        "unsettled": unsettled(epochs),
    }
    return [flag for flag, raised in found.items() if raised]


def _clean(text: str) -> str:
    return storable(scrub(text))


def log_tail(log: Path) -> str:
    """What a record keeps of a log; no more than that is read."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - MAX_LOG_TAIL))
            return _clean(file.read(MAX_LOG_TAIL).decode(errors="replace"))
    except OSError:
        return ""
