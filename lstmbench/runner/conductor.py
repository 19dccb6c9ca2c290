"""Leads the workers of each group through their trials, one epoch at a time, in turns.

Machines drift: epochs that take turns see the same drift, whole trials one after the other do
not. Only one worker computes at any time; the others wait in a blocking read.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np

from lstmbench.analysis.metrics import given_up, perplexity
from lstmbench.backend import BackendSpec
from lstmbench.batches import draw_offsets, partition
from lstmbench.corpora.corpus import Corpus
from lstmbench.machine import energy, facts
from lstmbench.machine.load import CpuTimeDelta
from lstmbench.records.record import Continuation, Evaluation, Machine, Record, Source, Status
from lstmbench.records.store import Run
from lstmbench.records.trial import Trial
from lstmbench.runner.channel import Executor, Launch, WorkerLost
from lstmbench.runner.interrupts import deferred_interrupts, interruptible, uninterruptible
from lstmbench.runner.peaks import Peaks
from lstmbench.runner.plan import Plan
from lstmbench.runner.requests import load_request
from lstmbench.runner.trial_state import TrialState

T = TypeVar("T")


def interleave_order(items: Sequence[T], done: int) -> list[T]:
    """The order of a round: forward and backward, then both beginning one further on.

    Everyone is first as often as anyone, and follows each neighbour as often.
    """
    start = done // 2 % len(items) if items else 0
    order = [*items[start:], *items[:start]]
    return order[::-1] if done % 2 else order


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


class Sampler(Protocol):
    """Ends a plan before its last repeat."""

    #: The last repeat that was begun.
    repeat: int

    def content(self, records: Sequence[Record], repeat: int) -> bool:
        """Whether to stop before ``repeat``."""


class Conductor:
    """Runs a plan and writes one record per trial, whatever happens.

    ``specs`` are those of all plugins, so that records do not depend on what else is measured.
    ``environment`` is what the trials' ``environment`` shows, paths and all. Without ``products``
    no peak is measured.
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
        sampling: Sampler | None = None,
        products: bool = True,
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
        self.sampling = sampling
        self.products = products
        self.records: list[Record] = []
        #: A line for each record that could not be written.
        self.problems: list[str] = []
        self._counter = cache(energy.counter)
        imports = sorted({name for spec in specs.values() for name in spec.imports})
        self._machine = Machine(
            digest=facts.digest(), facts=facts.facts(), versions=facts.versions(tuple(imports))
        )

    def conduct(self) -> bool:
        """All groups in order, until the sampling is content.

        False if it was interrupted; every trial that was begun, and without sampling every trial
        of the plan, has its record.
        """
        states = {trial.name: self._life(trial) for trial in self.plan.trials}
        with tempfile.TemporaryDirectory(prefix="lstmbench-") as folder:
            self._tokens = Path(folder) / "tokens.npy"
            np.save(self._tokens, self.corpus.ids, allow_pickle=False)
            try:
                with interruptible():
                    for trial, reason in self.plan.unavailable:
                        self._record(self._life(trial), Status.UNAVAILABLE, None, reason)
                    for repeat, groups in self.plan.by_repeat():
                        if self.sampling and self.sampling.content(self.records, repeat):
                            break
                        for group in groups:
                            self._group([states[t.name] for t in group if not self._hopeless(t)])
                    else:
                        self._look_once_more()
            except KeyboardInterrupt:
                with uninterruptible():
                    self._record_interrupted(states.values())
                return False
            finally:
                for state in states.values():
                    if state.channel is not None:
                        state.channel.close()
                    if state.peaks is not None:
                        state.peaks.close()
        return True

    def _look_once_more(self) -> None:
        """Tell the sampling that there is no repeat left."""
        if self.sampling and self.plan.groups:
            self.sampling.content(self.records, self.plan.groups[-1][0].repeat + 1)

    def _hopeless(self, trial: Trial) -> bool:
        """Whether a row has failed twice, so that sampling need not try a third time."""
        row = trial.row_key()
        own = [record for record in self.records if record.trial.row_key() == row]
        return self.sampling is not None and given_up(own)

    def _record_interrupted(self, states: Iterable[TrialState]) -> None:
        done = {record.trial.name for record in self.records}
        for state in states:
            begun = not self.sampling or state.trial.repeat <= self.sampling.repeat
            if begun and state.trial.name not in done:
                self._record(state, Status.INTERRUPTED, None, "interrupted")

    def _life(self, trial: Trial) -> TrialState:
        return TrialState(trial, self.run.log(trial.name))

    def _group(self, group: list[TrialState]) -> None:
        """Make all ready, then epoch by epoch in rotating order, then the ends."""
        if not group:
            return
        protocol, seed = group[0].trial.protocol, group[0].trial.seed
        offsets = draw_offsets(seed, protocol.epochs, protocol.steps)
        digest = hashlib.sha256(json.dumps(offsets).encode()).hexdigest()
        peaks = self._peaks(group[0].trial)
        for state in group:
            state.digests["offsets"] = digest
            state.peaks = peaks
            state.companions = [other.trial.name for other in group if other is not state]
        ready = [state for state in group if self._guarded(state, self._prepare)]
        if ready and self.products:
            peaks.start()
        watch = CpuTimeDelta()
        for done, offset in enumerate(offsets):
            before = ready
            for state in interleave_order(ready, done):
                if not self._guarded(state, self._epoch, offset):
                    ready = [other for other in ready if other is not state]
            if self.products and ready and (done + 1) % peaks.every == 0:
                ready = self._products(peaks, ready, done)
            if len(ready) < len(before):
                watch = CpuTimeDelta()  # what a lost worker leaves behind is nobody else's
        around = watch.so_far()
        peaks.close()
        for state in ready:
            state.surroundings = around
            self._guarded(state, self._end)

    def _peaks(self, trial: Trial) -> Peaks:
        launch = Launch(
            self.run.log("probe"), trial.threads, self.environment, module="lstmbench.worker.probe"
        )
        return Peaks(trial, launch, self.executor, self.limits.answer)

    def _products(self, peaks: Peaks, ready: list[TrialState], done: int) -> list[TrialState]:
        """Products by all who offer some. Returns the trials that are still alive."""
        lost = []
        peaks.turn()
        for state in interleave_order(ready, done):
            if state.offers_product:
                lost += [] if self._guarded(state, self._product) else [state]
        peaks.end_turn()
        return [state for state in ready if state not in lost]

    def _product(self, state: TrialState) -> None:
        assert state.peaks is not None
        answer = self._ask(state, **state.peaks.request())
        state.offers_product = answer["seconds"] is not None
        state.peaks.add(state.trial.label, answer["seconds"])
        self._ask(state, do="wait_until_idle")

    def _guarded(self, state: TrialState, step: Callable[..., None], *arguments: Any) -> bool:
        """Take a step of a trial; if its worker is lost, record that and return False."""
        try:
            step(state, *arguments)
        except WorkerLost as lost:
            state.merge(lost.detail)
            if lost.reason == "unavailable":
                self._record(state, Status.UNAVAILABLE, None, str(lost))
            else:
                self._record(state, Status.FAILED, lost.reason, str(lost))
            return False
        return True

    def _prepare(self, state: TrialState) -> None:
        trial = state.trial
        self.observer.phase(trial, "loading")
        environment = {**trial.backend_environment, **self.environment}
        state.channel = self.executor.start(Launch(state.log, trial.threads, environment))
        spec, cpus = self.specs[trial.backend], self.executor.cpus(trial.threads)
        size = len(self.corpus.vocabulary)
        load = load_request(trial, spec, self._tokens, len(self.corpus.ids), size, cpus)
        state.merge(state.channel.ask(load, self.limits.prepare))
        self.observer.phase(trial, "preparing")
        state.merge(state.channel.ask({"do": "prepare"}, self.limits.prepare))
        self.observer.phase(trial, "ready")

    def _ask(self, state: TrialState, **request: Any) -> dict[str, Any]:
        assert state.channel is not None
        return state.channel.ask(request, self.limits.answer)

    def _epoch(self, state: TrialState, offset: int) -> None:
        counter = self._counter(state.trial.device)
        before = counter() if counter else None
        answer = self._ask(state, do="epoch", offset=offset)
        after = counter() if counter else None
        seconds, nats, tokens = answer["seconds"], answer["nats"], answer["tokens"]
        joules = None if before is None or after is None else after - before
        state.series.append((seconds, nats, tokens, joules))
        done, every = len(state.series), state.trial.protocol.validate_every
        self.observer.epoch(state.trial, done, perplexity(nats, tokens), tokens / seconds)
        if every and done % every == 0:
            self._evaluate(state, "validation")
        self._ask(state, do="wait_until_idle")

    def _evaluate(self, state: TrialState, split: str) -> None:
        answer = self._ask(state, do="evaluate", split=split)
        floor = self._floor(state.trial, split)
        state.evaluations.append(
            Evaluation(split=split, epoch=len(state.series), floor=floor, **answer)
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

    def _end(self, state: TrialState) -> None:
        protocol = state.trial.protocol
        self.observer.phase(state.trial, "ending")
        if protocol.test_fraction and protocol.train_tokens is None:
            self._evaluate(state, "test")
        if protocol.prefixes:
            self._generate(state)
        state.merge(self._ask(state, do="finish"))
        self._record(state, Status.OK, None, "")

    def _generate(self, state: TrialState) -> None:
        protocol, vocabulary = state.trial.protocol, self.corpus.vocabulary
        prefixes = [vocabulary.encode(prefix).tolist() for prefix in protocol.prefixes]
        answer = self._ask(state, do="generate", prefixes=prefixes, length=protocol.continuation)
        state.merge(answer)
        for prefix, ids in zip(protocol.prefixes, answer["continuations"], strict=True):
            state.continuations.append(Continuation(prefix=prefix, text=vocabulary.decode(ids)))

    def _record(self, state: TrialState, status: Status, reason: Any, message: str) -> None:
        """Fold a state into its record, end its worker, write."""
        if state.channel is not None:
            state.channel.close()
        size = len(self.corpus.vocabulary)
        record = state.record(status, reason, message, size, self.source, self._machine)
        with deferred_interrupts():
            self.records.append(record)
            try:
                self.run.write_record(record)
            except OSError as error:  # the others may fare better, and the table shows it
                what = error.strerror or error
                self.problems.append(f"the record of {state.trial.name} is lost: {what}")
        self.observer.recorded(record)
