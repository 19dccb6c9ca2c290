"""The trials of one group, from the start of their workers to their records.

Epochs are interleaved between the workers of a group. Only one of them computes at any time; the
others wait in a blocking read.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import TypeVar

from lstmbench.analysis.series import perplexity
from lstmbench.batches import draw_offsets, offsets_digest, window_count
from lstmbench.corpora.corpus import source_nats
from lstmbench.machine import energy
from lstmbench.machine.load import CpuTimeDelta
from lstmbench.records.record import Continuation, Evaluation, Status, SystemLoad
from lstmbench.records.trial import Trial
from lstmbench.runner import advice
from lstmbench.runner.channel import Launch, WorkerLost
from lstmbench.runner.context import Context, Outcome
from lstmbench.runner.interrupts import deferred_interrupts
from lstmbench.runner.peaks import PeakProbe, Peaks
from lstmbench.runner.requests import load_request
from lstmbench.runner.trial_state import EpochResult, LiveTrial, TrialState
from lstmbench.worker.messages import (
    INTERFACE,
    A,
    Evaluate,
    Finish,
    Generate,
    Prepare,
    Request,
    TrainEpoch,
    WaitUntilIdle,
)

T = TypeVar("T")


def interleave_order(items: Sequence[T], done: int) -> list[T]:
    """The order of a round: forward and backward, then both beginning one further on.

    Each is first as often as any other, and follows each other as often.
    """
    start = done // 2 % len(items) if items else 0
    order = [*items[start:], *items[:start]]
    return order[::-1] if done % 2 else order


class Group:
    """Leads a group's trials, which have protocol and seed in common, to their records."""

    def __init__(self, states: Sequence[TrialState], context: Context) -> None:
        self.states = states
        self.context = context
        self._live: list[LiveTrial] = []
        self._counter = cache(energy.counter)
        trial = states[0].trial
        self._peaks = Peaks(trial)
        self._probe = PeakProbe(
            self._peaks,
            context.executor,
            Launch(
                context.probe_log,
                trial.threads,
                context.raw_environment,
                module="lstmbench.worker.probe",
            ),
            context.limits.answer,
        )

    def run(self) -> None:
        """Make all ready, then train epoch by epoch in rotating order, then end each."""
        protocol, seed = self.states[0].trial.protocol, self.states[0].trial.seed
        offsets = draw_offsets(seed, protocol.epochs, protocol.steps)
        try:
            self._prepare_all(offsets)
            self._train(offsets)
            for live in list(self._live):
                self._end(live)
        finally:
            self.close()

    def close(self) -> None:
        """End every worker."""
        with deferred_interrupts():
            self._probe.close()
            for live in self._live:
                live.channel.close()
            self._live.clear()

    def _prepare_all(self, offsets: Sequence[int]) -> None:
        digest = offsets_digest(offsets)
        names = [state.trial.name for state in self.states]
        for state in self.states:
            state.digests["offsets"] = digest
            state.peaks = self._peaks
            state.interleaved_with = [name for name in names if name != state.trial.name]
            with self._guarded(state):
                self._prepare(state)
        if self._live and self.context.measure_peak:
            self._probe.start()

    def _train(self, offsets: Sequence[int]) -> None:
        others = CpuTimeDelta()
        for done, offset in enumerate(offsets):
            before = len(self._live)
            for live in interleave_order(self._live, done):
                with self._guarded(live.state):
                    self._epoch(live, offset)
            if self.context.measure_peak and self._live and (done + 1) % self._peaks.every == 0:
                self._measure_peak(done)
            if len(self._live) < before:
                others = CpuTimeDelta()  # a lost worker's own time would count as that of others
        load = others.so_far()
        system_load = SystemLoad(others=load.others, stolen=load.stolen) if load else None
        self._probe.close()
        for live in self._live:
            live.state.system_load = system_load

    @contextmanager
    def _guarded(self, state: TrialState) -> Iterator[None]:
        """A step of a trial: if it cannot be taken, that is the trial's record, and its end."""
        try:
            yield
        except WorkerLost as lost:
            state.failed(lost.detail)
            if lost.reason == "unavailable":
                outcome = Outcome(Status.UNAVAILABLE, message=str(lost))
            else:
                explained = advice.explanation(state.trial, lost.reason)
                outcome = Outcome(Status.FAILED, lost.reason, f"{lost}{explained}")
        except Exception as error:
            # not even a defect of the host may cost the other trials theirs
            with state.log.open("a", errors="backslashreplace") as log:
                traceback.print_exception(error, file=log)
            message = f"{type(error).__name__}: {error}"
            outcome = Outcome(Status.FAILED, "exception", message)
        else:
            return
        self._leave(state, outcome)

    def _leave(self, state: TrialState, outcome: Outcome) -> None:
        """End a trial's worker and record the trial."""
        for live in [live for live in self._live if live.state is state]:
            live.channel.close()
            self._live.remove(live)
        self.context.record(state, outcome)

    def _prepare(self, state: TrialState) -> None:
        context, trial = self.context, state.trial
        context.observer.phase(trial, "loading")
        spec = context.specs[trial.backend]
        environment = {**spec.environment, **context.raw_environment}
        channel = context.executor.start(Launch(state.log, trial.threads, environment))
        self._live.append(LiveTrial(state, channel))
        load = load_request(
            trial,
            spec,
            tokens=context.tokens,
            splits=context.corpus.splits(trial.protocol),
            vocabulary_size=len(context.corpus.vocabulary),
            cpus=context.executor.cpus(trial.threads),
        )
        state.loaded(channel.ask(load, context.limits.prepare))
        context.observer.phase(trial, "preparing")
        state.prepared(channel.ask(Prepare(), context.limits.prepare))
        context.observer.phase(trial, "ready")

    def _ask(self, live: LiveTrial, request: Request[A]) -> A:
        return live.channel.ask(request, self.context.limits.answer)

    def _epoch(self, live: LiveTrial, offset: int) -> None:
        state, trial = live.state, live.trial
        counter = self._counter(trial.device)
        before = counter() if counter else None
        answer = self._ask(live, TrainEpoch(offset))
        after = counter() if counter else None
        self._check_tokens(trial, "train", answer.tokens)
        joules = None if before is None or after is None else after - before
        if joules is not None and joules < 0:  # the counter was reset
            joules = None
        state.series.append(EpochResult(answer.seconds, answer.nats, answer.tokens, joules))
        done, every = len(state.series), trial.protocol.validate_every
        self.context.observer.epoch(
            trial,
            done,
            perplexity=perplexity(answer.nats, answer.tokens),
            rate=answer.tokens / answer.seconds,
        )
        if every and done % every == 0:
            self._evaluate(live, "validation")
        self._ask(live, WaitUntilIdle())

    def _measure_peak(self, done: int) -> None:
        """A round of matmuls by every worker that offers some."""
        self._probe.measure()
        for live in interleave_order(self._live, done):
            if live.offers_matmul:
                with self._guarded(live.state):
                    self._matmul(live)
        self._peaks.end_round()

    def _matmul(self, live: LiveTrial) -> None:
        answer = self._ask(live, self._peaks.request)
        live.offers_matmul = answer.seconds is not None
        self._peaks.add(live.trial.label, answer.seconds)
        self._ask(live, WaitUntilIdle())

    def _evaluate(self, live: LiveTrial, split: str) -> None:
        answer = self._ask(live, Evaluate(split))
        self._check_tokens(live.trial, split, answer.tokens)
        live.state.evaluations.append(
            Evaluation(
                split=split,
                epoch=len(live.state.series),
                nats=answer.nats,
                tokens=answer.tokens,
                source_nats=self._source_nats(live.trial, split),
            )
        )

    def _check_tokens(self, trial: Trial, split: str, got: int) -> None:
        """Raise :class:`WorkerLost` unless every token of the split was counted."""
        protocol = trial.protocol
        part = self.context.corpus.splits(protocol)[split]
        windows = window_count(part.stop - part.start, protocol.batch_size, protocol.steps)
        expected = windows * protocol.batch_size * protocol.steps
        if got != expected:
            raise WorkerLost(INTERFACE, f"expected {expected} tokens of {split}, got {got}")

    def _source_nats(self, trial: Trial, split: str) -> float | None:
        """What the text's own source spends on the tokens that an evaluation predicts."""
        corpus, protocol = self.context.corpus, trial.protocol
        if corpus.surprisal is None:
            return None
        part = corpus.splits(protocol)[split]
        return source_nats(corpus.surprisal, part, protocol.batch_size, protocol.steps)

    def _end(self, live: LiveTrial) -> None:
        state, protocol = live.state, live.trial.protocol
        with self._guarded(state):
            self.context.observer.phase(live.trial, "ending")
            if protocol.test_fraction and protocol.train_tokens is None:
                self._evaluate(live, "test")
            if protocol.prefixes:
                self._generate(live)
            state.finished(self._ask(live, Finish()))
        if live in self._live:
            self._leave(state, Outcome(Status.OK))

    def _generate(self, live: LiveTrial) -> None:
        protocol, vocabulary = live.trial.protocol, self.context.corpus.vocabulary
        request = Generate(
            prefixes=[vocabulary.encode(prefix).tolist() for prefix in protocol.prefixes],
            length=protocol.continuation,
            vocabulary_size=len(vocabulary),
        )
        answer = self._ask(live, request)
        live.state.phases["generate"] = answer.seconds
        for prefix, ids in zip(protocol.prefixes, answer.continuations, strict=True):
            text = vocabulary.continuation(ids)
            live.state.continuations.append(Continuation(prefix=prefix, text=text))
