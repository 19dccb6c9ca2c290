"""Leads the workers of each group through their trials, one epoch at a time, in turns.

Machines drift: epochs that take turns see the same drift, whole trials one after the other do
not. Only one worker computes at any time; the others wait in a blocking read.
"""

from __future__ import annotations

import hashlib
import json
import signal
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from lstmbench import machine
from lstmbench.backend import BackendSpec
from lstmbench.batches import draw_offsets, partition
from lstmbench.corpus import Corpus
from lstmbench.execution.channel import Channel, Executor, Launch, Lost
from lstmbench.plan import Plan, Trial
from lstmbench.provenance import scrub
from lstmbench.record import (
    Continuation,
    Epochs,
    Evaluation,
    Machine,
    Parity,
    Record,
    Source,
    Status,
)
from lstmbench.statistics import perplexity, suspect, unsettled
from lstmbench.store import Run

#: Characters of a log that a record keeps.
LOG_TAIL = 4000


@dataclass(frozen=True)
class Limits:
    """Seconds to wait for an answer, and for the one that imports, compiles and proves."""

    answer: float = 300.0
    prepare: float = 900.0


class Observer(Protocol):
    """Is told what happens; must return at once, for it is called between epochs."""

    def phase(self, trial: Trial, name: str) -> None: ...

    def epoch(self, trial: Trial, done: int, perplexity: float, rate: float) -> None: ...

    def recorded(self, record: Record) -> None: ...


@dataclass
class Life:
    """A trial on its way to a record."""

    trial: Trial
    log: Path
    channel: Channel | None = None
    series: list[tuple[float, float, int]] = field(default_factory=list)
    evaluations: list[Evaluation] = field(default_factory=list)
    continuations: list[Continuation] = field(default_factory=list)
    phases: dict[str, float] = field(default_factory=dict)
    memory: dict[str, int] = field(default_factory=dict)
    runtime: dict[str, str] = field(default_factory=dict)
    digests: dict[str, str] = field(default_factory=dict)
    parity: Parity | None = None

    def merge(self, answer: Mapping[str, Any]) -> None:
        """Take over what any answer, or an error's detail, may carry."""
        self.phases.update(answer.get("phases", {}))
        self.memory.update(answer.get("memory", {}))
        self.runtime.update(answer.get("runtime", {}))
        if "parity" in answer:
            self.parity = Parity.model_validate(answer["parity"])
        if "parameters_digest" in answer:
            self.digests["parameters"] = answer["parameters_digest"]


class Conductor:
    """Runs a plan and writes one record per trial, whatever happens.

    ``environment`` is what the trials' ``environment`` shows, paths and all.
    """

    def __init__(
        self,
        plan: Plan,
        specs: Mapping[str, BackendSpec],
        corpus: Corpus,
        run: Run,
        source: Source,
        executor: Executor,
        observer: Observer,
        limits: Limits,
        environment: Mapping[str, str],
    ) -> None:
        self.plan = plan
        self.specs = specs
        self.corpus = corpus
        self.run = run
        self.source = source
        self.executor = executor
        self.observer = observer
        self.limits = limits
        self.environment = environment
        self.records: list[Record] = []
        self._machine = Machine(
            digest=machine.digest(), facts=machine.facts(), versions=machine.versions()
        )

    def conduct(self) -> bool:
        """All groups in order. False if it was interrupted; every trial has its record."""
        lives = {trial.name: self._life(trial) for trial in self.plan.trials}
        with tempfile.TemporaryDirectory(prefix="lstmbench-") as folder:
            self._tokens = Path(folder) / "tokens.npy"
            np.save(self._tokens, self.corpus.ids, allow_pickle=False)
            try:
                with interruptible():
                    for trial, reason in self.plan.unavailable:
                        self._record(self._life(trial), Status.UNAVAILABLE, None, reason)
                    for group in self.plan.groups:
                        self._group([lives[trial.name] for trial in group])
            except KeyboardInterrupt:
                with uninterruptible():
                    done = {record.trial.name for record in self.records}
                    for name, life in lives.items():
                        if name not in done:
                            self._record(life, Status.INTERRUPTED, None, "interrupted")
                return False
            finally:
                for life in lives.values():
                    if life.channel is not None:
                        life.channel.close()
        return True

    def _life(self, trial: Trial) -> Life:
        return Life(trial, self.run.log(trial.name))

    def _group(self, group: list[Life]) -> None:
        """Make all ready, then epoch by epoch in rotating order, then the ends."""
        protocol, seed = group[0].trial.protocol, group[0].trial.seed
        offsets = draw_offsets(seed, protocol.epochs, protocol.steps)
        digest = hashlib.sha256(json.dumps(offsets).encode()).hexdigest()
        for life in group:
            life.digests["offsets"] = digest
        ready = [life for life in group if self._guarded(life, self._prepare)]
        for done, offset in enumerate(offsets):
            turn = done % len(ready) if ready else 0
            for life in ready[turn:] + ready[:turn]:
                if not self._guarded(life, self._epoch, offset):
                    ready = [other for other in ready if other is not life]
        for life in ready:
            self._guarded(life, self._end)

    def _guarded(self, life: Life, step: Callable[..., None], *arguments: Any) -> bool:
        """Take a step of a trial; if its worker is lost, record that and return False."""
        try:
            step(life, *arguments)
        except Lost as lost:
            life.merge(lost.detail)
            if lost.reason == "unavailable":
                self._record(life, Status.UNAVAILABLE, None, str(lost))
            else:
                self._record(life, Status.FAILED, lost.reason, str(lost))
            return False
        return True

    def _prepare(self, life: Life) -> None:
        trial, ids = life.trial, self.corpus.ids
        self.observer.phase(trial, "loading")
        environment = {**trial.backend_environment, **self.environment}
        life.channel = self.executor.start(Launch(life.log, trial.threads, environment))
        splits = trial.protocol.splits(len(ids))
        spec = self.specs[trial.backend]
        load = {
            "do": "load",
            "factory": spec.factory,
            "imports": spec.imports,
            "install": spec.install,
            "task": asdict(trial.task(len(self.corpus.vocabulary))),
            "init": trial.init,
            "cpus": self.executor.cpus(trial.threads),
            "tokens": str(self._tokens),
            "splits": {name: (part.start, part.stop) for name, part in splits.items()},
        }
        life.merge(life.channel.ask(load, self.limits.prepare))
        self.observer.phase(trial, "preparing")
        life.merge(life.channel.ask({"do": "prepare"}, self.limits.prepare))
        self.observer.phase(trial, "ready")

    def _ask(self, life: Life, **request: Any) -> dict[str, Any]:
        assert life.channel is not None
        return life.channel.ask(request, self.limits.answer)

    def _epoch(self, life: Life, offset: int) -> None:
        answer = self._ask(life, do="epoch", offset=offset)
        seconds, nats, tokens = answer["seconds"], answer["nats"], answer["tokens"]
        life.series.append((seconds, nats, tokens))
        done, every = len(life.series), life.trial.protocol.validate_every
        self.observer.epoch(life.trial, done, perplexity(nats, tokens), tokens / seconds)
        if every and done % every == 0:
            self._evaluate(life, "validation")

    def _evaluate(self, life: Life, split: str) -> None:
        answer = self._ask(life, do="evaluate", split=split)
        floor = self._floor(life.trial, split)
        life.evaluations.append(
            Evaluation(split=split, epoch=len(life.series), floor=floor, **answer)
        )

    def _floor(self, trial: Trial, split: str) -> float | None:
        """What the text's own source spends on the tokens that an evaluation predicts."""
        if self.corpus.surprisal is None:
            return None
        protocol = trial.protocol
        part = protocol.splits(len(self.corpus.ids))[split]
        places = np.arange(part.start, part.stop)
        predicted = partition(places, protocol.batch_size, protocol.steps).targets
        return float(self.corpus.surprisal[predicted].sum())

    def _end(self, life: Life) -> None:
        protocol, vocabulary = life.trial.protocol, self.corpus.vocabulary
        self.observer.phase(life.trial, "generating")
        if protocol.test_fraction and protocol.train_tokens is None:
            self._evaluate(life, "test")
        prefixes = [vocabulary.encode(prefix).tolist() for prefix in protocol.prefixes]
        answer = self._ask(life, do="generate", prefixes=prefixes, length=protocol.continuation)
        life.merge(answer)
        for prefix, ids in zip(protocol.prefixes, answer["continuations"], strict=True):
            life.continuations.append(Continuation(prefix=prefix, text=vocabulary.decode(ids)))
        life.merge(self._ask(life, do="finish"))
        self._record(life, Status.OK, None, "")

    def _record(self, life: Life, status: Status, reason: Any, message: str) -> None:
        """Fold a life into its record, end its worker, write."""
        if life.channel is not None:
            life.channel.close()
        seconds, nats, tokens = zip(*life.series, strict=True) if life.series else ((), (), ())
        epochs = Epochs(seconds=list(seconds), nats=list(nats), tokens=list(tokens))
        found = {"suspect": suspect(nats, life.evaluations), "unsettled": unsettled(epochs)}
        flags = [flag for flag, raised in found.items() if raised]
        size = len(self.corpus.vocabulary)
        record = Record(
            trial=life.trial,
            source=self.source,
            machine=self._machine,
            vocabulary_size=size,
            parameters=life.trial.task(size).model.parameter_count,
            status=status,
            reason=reason,
            message=scrub(" ".join(message.split())),
            flags=flags,
            parity=life.parity,
            epochs=epochs,
            evaluations=life.evaluations,
            continuations=life.continuations,
            log_tail=_tail(life.log),
            phases=life.phases,
            memory=life.memory,
            digests=life.digests,
            runtime={key: scrub(value) for key, value in life.runtime.items()},
        )
        with deferred_interrupts():
            self.records.append(record)
            self.run.write_record(record)
        self.observer.recorded(record)


def _tail(log: Path) -> str:
    if not log.exists():
        return ""
    return scrub(log.read_bytes()[-LOG_TAIL:].decode(errors="replace"))


@contextmanager
def interruptible() -> Iterator[None]:
    """A request to terminate arrives like Ctrl-C, so that it too leaves records behind."""

    def interrupt(_number: int, _frame: Any) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def deferred_interrupts() -> Iterator[None]:
    """A record is written and counted, or neither: signals wait until the end of the block."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def uninterruptible() -> Iterator[None]:
    """While records are written, a second Ctrl-C waits in vain."""
    before = {s: signal.signal(s, signal.SIG_IGN) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
