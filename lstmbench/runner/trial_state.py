"""A trial on its way to a record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lstmbench.analysis.flags import disturbed, suspect, unsettled
from lstmbench.machine.redact import scrub
from lstmbench.records.record import (
    Continuation,
    Epochs,
    Evaluation,
    Machine,
    Parity,
    Record,
    Source,
    Status,
    SystemLoad,
)
from lstmbench.records.trial import Trial
from lstmbench.runner.channel import Channel
from lstmbench.runner.logs import tail
from lstmbench.runner.peaks import Peaks

#: Bytes of a log, and characters of a message, that a record keeps.
LOG_TAIL, MAX_MESSAGE = 4000, 2000


@dataclass
class TrialState:
    """What has come of one trial so far, and its live worker."""

    trial: Trial
    log: Path
    channel: Channel | None = None
    series: list[tuple[float, float, int, float | None]] = field(default_factory=list)
    evaluations: list[Evaluation] = field(default_factory=list)
    continuations: list[Continuation] = field(default_factory=list)
    phases: dict[str, float] = field(default_factory=dict)
    memory: dict[str, int] = field(default_factory=dict)
    runtime: dict[str, str] = field(default_factory=dict)
    digests: dict[str, str] = field(default_factory=dict)
    parity: Parity | None = None
    peaks: Peaks | None = None
    offers_product: bool = True
    companions: list[str] = field(default_factory=list)
    surroundings: SystemLoad | None = None

    def merge(self, answer: Mapping[str, Any]) -> None:
        """Take over what any answer, or an error's detail, may carry."""
        self.phases.update(answer.get("phases", {}))
        self.memory.update(answer.get("memory", {}))
        self.runtime.update(answer.get("runtime", {}))
        if "parity" in answer:
            self.parity = Parity.model_validate(answer["parity"])
        if "parameters_digest" in answer:
            self.digests["parameters"] = answer["parameters_digest"]

    def record(
        self,
        status: Status,
        reason: Any,
        message: str,
        vocabulary_size: int,
        source: Source,
        machine: Machine,
    ) -> Record:
        """All that is known of the trial, scrubbed."""
        columns = zip(*self.series, strict=True) if self.series else ((), (), (), ())
        seconds, nats, tokens, joules = map(list, columns)
        # a counter that stopped counting has no figure
        epochs = Epochs(
            seconds=seconds, nats=nats, tokens=tokens, joules=[] if None in joules else joules
        )
        found = {
            "disturbed": disturbed(self.surroundings),
            "suspect": suspect(nats, self.evaluations),
            "unsettled": unsettled(epochs),
        }
        return Record(
            trial=self.trial,
            source=source,
            machine=machine,
            vocabulary_size=vocabulary_size,
            parameters=self.trial.task(vocabulary_size).model.parameter_count,
            status=status,
            reason=reason,
            message=scrub(shortened(" ".join(message.split()))),
            flags=[flag for flag, raised in found.items() if raised],
            parity=self.parity,
            epochs=epochs,
            evaluations=self.evaluations,
            continuations=self.continuations,
            log_tail=scrub(tail(self.log, LOG_TAIL)),
            phases=self.phases,
            memory=self.memory,
            digests=self.digests,
            runtime={key: scrub(value) for key, value in self.runtime.items()},
            peak=self.peaks.best() if self.peaks else None,
            companions=self.companions,
            surroundings=self.surroundings,
        )


def shortened(message: str) -> str:
    """The beginning of what may be megabytes."""
    return message if len(message) <= MAX_MESSAGE else f"{message[:MAX_MESSAGE]} [...]"
