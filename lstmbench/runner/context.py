"""What every group of a run works with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

from lstmbench.backend import BackendSpec
from lstmbench.corpora.corpus import Corpus
from lstmbench.records.record import Reason, Record, Status
from lstmbench.records.trial import Trial
from lstmbench.runner.channel import Executor
from lstmbench.runner.journal import Journal
from lstmbench.runner.trial_state import TrialState
from lstmbench.stacks.ready import Ready


@dataclass(frozen=True)
class Limits:
    """Seconds to wait for an answer, and for the ones that import, compile and prove parity; bytes
    that a worker may have with all that it started, or ``None``."""

    answer: float = 300.0
    prepare: float = 900.0
    memory: int | None = None


class Observer(Protocol):
    """Is told what happens; must return at once, for it is called between epochs."""

    def phase(self, trial: Trial, name: str) -> None: ...

    def epoch(self, trial: Trial, done: int, perplexity: float | None, rate: float) -> None: ...

    def recorded(self, record: Record) -> None: ...


class Unbreakable:
    """An observer whose failure, such as that of a closed terminal, ends itself and no trial."""

    def __init__(self, observer: Observer) -> None:
        self._observer: Observer | None = observer

    def phase(self, trial: Trial, name: str) -> None:
        self._tell(lambda observer: observer.phase(trial, name))

    def epoch(self, trial: Trial, done: int, perplexity: float | None, rate: float) -> None:
        self._tell(lambda observer: observer.epoch(trial, done, perplexity, rate))

    def recorded(self, record: Record) -> None:
        self._tell(lambda observer: observer.recorded(record))

    def _tell(self, call: Callable[[Observer], None]) -> None:
        if self._observer is None:
            return
        try:
            call(self._observer)
        except Exception:
            self._observer = None


class Outcome(NamedTuple):
    """How a trial ended."""

    status: Status
    reason: Reason | None = None
    message: str = ""


@dataclass(frozen=True, kw_only=True)
class Context:
    """The parts of a run that its groups share.

    ``log`` gives the log of a process that is no trial's by its name. ``raw_environment`` is what
    workers get, paths and all; the trials' ``environment`` is what records show of it. Without
    ``measure_peak`` no group measures what its device reaches. ``stacks`` are by label. ``known``
    takes every trial of which there is something to note in ``journal``, ``record`` every trial
    that has ended.
    """

    specs: Mapping[str, BackendSpec]
    corpus: Corpus
    log: Callable[[str], Path]
    executor: Executor
    observer: Observer
    limits: Limits
    raw_environment: Mapping[str, str]
    measure_peak: bool
    stacks: Mapping[str, Ready]
    journal: Journal
    known: Callable[[TrialState], None]
    record: Callable[[TrialState, Outcome], None]
