"""The trials of one group, from the start of their workers to their records.

Epochs are interleaved between the workers of a group. Only one of them computes at any time; the
others wait in a blocking read. What was claimed is audited when all are done.
"""

from __future__ import annotations

import signal
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import TypeVar

from lstmbench.analysis.series import perplexity
from lstmbench.batches import Batches, draw_offsets, offsets_digest
from lstmbench.corpora.corpus import source_nats
from lstmbench.machine import energy
from lstmbench.machine.load import CpuTimeDelta
from lstmbench.machine.processes import Family
from lstmbench.records.record import Continuation, Evaluation, Status, SystemLoad
from lstmbench.records.trial import Trial
from lstmbench.runner import advice, clocks
from lstmbench.runner.account import look_around, open_account
from lstmbench.runner.auditing import Auditor, GroupAudit
from lstmbench.runner.channel import Launch, WorkerLost
from lstmbench.runner.context import Context, Outcome
from lstmbench.runner.evidence import Snapshot
from lstmbench.runner.interrupts import deferred_interrupts
from lstmbench.runner.live import LiveTrial
from lstmbench.runner.peaks import PeakProbe, Peaks
from lstmbench.runner.proving import Prover
from lstmbench.runner.scratch import ScratchFolder
from lstmbench.runner.trial_state import EpochResult, TrialState
from lstmbench.worker.messages import (
    INTERFACE,
    Evaluate,
    Generate,
    LoadParameters,
    TrainEpoch,
    WaitUntilIdle,
)

T = TypeVar("T")

#: Epochs of the challenge at most, and so many even if they take more than a share of the time that
#: was trained; it ends earlier for a trial that is as fast as it was.
MAX_CHALLENGES, FEW_CHALLENGES, CHALLENGE_SHARE = 8, 6, 0.05
#: Seconds from which on the load meanwhile is known well enough: a few hundredths would do.
CHALLENGE_LOAD_SECONDS = 0.25
#: How much longer than a timed epoch one of the challenge may take, to end it.
AS_FAST = 1.25


def interleave_order(items: Sequence[T], done: int) -> list[T]:
    """The order of a round: forward and backward, then both beginning one further on.

    Each is first as often as any other, and follows each other as often.
    """
    start = done // 2 % len(items) if items else 0
    order = [*items[start:], *items[:start]]
    return order[::-1] if done % 2 else order


@dataclass
class Seen:
    """What the host has seen of a request; as in :class:`EpochResult`."""

    host_seconds: float = 0.0
    spent: float = 0.0
    queued: float = 0.0
    joules: float | None = None


class Group:
    """Leads a group's trials, which have protocol and seed in common, to their records."""

    def __init__(self, states: Sequence[TrialState], context: Context) -> None:
        self.states = states
        self.context = context
        self._live: list[LiveTrial] = []
        self._counter = cache(energy.counter)
        self._family = Family()
        self._trial = trial = states[0].trial
        self._offsets = draw_offsets(trial.seed, trial.protocol.epochs, trial.protocol.steps)
        self._peaks = Peaks(trial)
        self._probe = PeakProbe(
            self._peaks,
            context.executor,
            self._launch("lstmbench.worker.probe", "probe", trial.threads),
            context.limits.answer,
        )
        self._auditor = Auditor(
            context.executor,
            self._launch("lstmbench.audit", "audit", 1),
            trial.task(len(context.corpus.vocabulary)),
            context.limits.prepare,
            self._held,
            context.specs[trial.backend].reference,
        )

    def _launch(self, module: str, name: str, threads: int) -> Launch:
        return Launch(self.context.log(name), threads, self.context.raw_environment, module)

    def run(self) -> None:
        """Make all ready, train epoch by epoch in rotating order, then end and audit each."""
        with ScratchFolder() as folder:
            self._audit = self._make_audit(folder)
            try:
                self._prepare_all(folder)
                self._train()
                self._end_all()
            finally:
                self.close()

    def _make_audit(self, folder: Path) -> GroupAudit:
        return GroupAudit(self.context.corpus, self._offsets, self._auditor, folder)

    def _make_prover(self, folder: Path) -> Prover:
        batches = self._audit.batches(self._trial, "train", 0)
        return Prover(self._auditor, batches, folder, self.context.limits.prepare)

    def close(self) -> None:
        """End every worker."""
        with deferred_interrupts():
            self._probe.close()
            self._auditor.close()
            for live in self._live:
                self._close(live)
            self._live.clear()

    def _prepare_all(self, folder: Path) -> None:
        digest = offsets_digest(self._offsets)
        names = [state.trial.name for state in self.states]
        prover = self._make_prover(folder)
        for state in self.states:
            state.digests["offsets"] = digest
            state.peaks = self._peaks
            state.interleaved_with = [name for name in names if name != state.trial.name]
            with self._guarded(state):
                self._prepare(state, prover)
        self._audit.draw([live.trial for live in self._live])
        if self._live and self.context.measure_peak:
            self._probe.start()

    def _train(self) -> None:
        others = CpuTimeDelta()
        for live in self._live:
            live.account.ready()
        for done in range(len(self._offsets)):
            before = len(self._live)
            train = self._next(done)
            for live in interleave_order(self._live, done):
                with self._guarded(live.state):
                    train(live)
            if (
                self.context.measure_peak
                and self._live
                and self._peaks.due(done + 1, self._trained)
            ):
                self._measure_peak(done)
            if len(self._live) < before:
                others = CpuTimeDelta()  # a lost worker's own time would count as that of others
        system_load = _load(others)
        self._probe.close()
        for live in self._live:
            live.state.system_load = system_load

    def _next(self, done: int) -> Callable[[LiveTrial], None]:
        """What each trial of the group does next, after so many epochs."""
        batches = self._audit.batches(self._trial, "train", self._offsets[done])
        return lambda live: self._epoch(live, batches)

    @contextmanager
    def _held(self) -> Iterator[None]:
        """No worker runs, nor anything that one has started."""
        accounts = [live.account for live in self._live]
        for account in accounts:
            account.tree.signal(signal.SIGSTOP)
        try:
            yield
        finally:
            for account in accounts:
                account.tree.signal(signal.SIGCONT)
                account.forget_stops()

    @contextmanager
    def _guarded(self, state: TrialState) -> Iterator[None]:
        """A step of a trial: if it cannot be taken, that is the trial's record, and its end."""
        try:
            yield
        except WorkerLost as lost:
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
        for live in [live for live in self._live if live.state is state]:
            state.activity = live.account.activity()
            self._close(live)
            self._live.remove(live)
        self.context.record(state, outcome)

    def _close(self, live: LiveTrial) -> None:
        live.account.tree.end()
        live.channel.close()

    def _prepare(self, state: TrialState, prover: Prover) -> None:
        context, trial = self.context, state.trial
        context.observer.phase(trial, "loading")
        context.known(state)
        spec = context.specs[trial.backend]
        environment = {**spec.environment, **context.raw_environment}
        cpus = context.executor.cpus(trial.threads)
        task = trial.task(len(context.corpus.vocabulary))
        with deferred_interrupts():  # what is started will be ended
            stack = context.stacks.get(trial.stack)
            launch = Launch(
                state.log,
                trial.threads,
                environment,
                interpreter=stack.interpreter if stack else None,
                memory=context.limits.memory,
            )
            channel = context.executor.start(launch)
            account = open_account(channel.pid, channel.marker, self._family, trial.label, cpus)
            live = LiveTrial(state, channel, account, context.limits.answer)
            self._live.append(live)
        prover.load(live, spec, cpus)
        context.observer.phase(trial, "preparing")
        prover.prove(live)
        shared = self._audit.initial_parameters(trial) if trial.init == "shared" else None
        prover.rebuild(live, task, shared)
        content = live.show()
        self._audit.shown(trial, content, 0.0)
        state.digests["parameters"] = live.digest(content)
        if shared is not None:
            expected = shared.astype(task.parameter_dtype).digest()
            if state.digests["parameters"] != expected:
                raise WorkerLost(INTERFACE, "load_parameters kept other parameters than it got")
        context.known(state)
        context.observer.phase(trial, "ready")

    def _begin(self, live: LiveTrial) -> None:
        """A trial is about to be asked to compute. Raises :class:`WorkerLost` if it has already."""
        live.account.begin()
        if live.account.between.is_work:
            spent = live.account.between.spent
            raise WorkerLost(INTERFACE, f"computed for {spent:.1f} s while others trained")

    def _epoch(self, live: LiveTrial, batches: Batches) -> None:
        state, trial, protocol = live.state, live.trial, live.trial.protocol
        self._begin(live)
        # before the arrays are there: nothing can be trained that is not timed
        request_seconds = live.request_seconds()
        rate = protocol.rate(len(state.series) + 1, state.validation_losses)
        path = live.give(batches)
        with self._measured(live) as seen:
            answer = live.ask(TrainEpoch(path, rate if protocol.training.scheduled else None))
        self._check_tokens(batches, answer.tokens)
        epoch = EpochResult(
            answer.seconds,
            answer.nats,
            answer.tokens,
            seen.joules,
            seen.host_seconds,
            seen.spent,
            request_seconds,
            seen.queued,
        )
        state.series.append(epoch)
        state.rates.append(rate)
        self.context.journal.epoch(trial.name, epoch)
        done, every = len(state.series), protocol.validate_every
        self.context.observer.epoch(
            trial,
            done,
            perplexity=perplexity(answer.nats, answer.tokens),
            rate=answer.tokens / answer.seconds,
        )
        if self._audit.asks(trial, done, sum(epoch.host_seconds for epoch in state.series)):
            begin = time.perf_counter()
            content = live.show()
            showing = time.perf_counter() - begin
            self._audit.shown(trial, content, showing, [epoch.seconds for epoch in state.series])
        if every and done % every == 0:
            self._evaluate(live, "validation")
        self._rest(live)

    @contextmanager
    def _measured(self, live: LiveTrial) -> Iterator[Seen]:
        """What the host sees of a request."""
        counter, seen = self._counter(live.trial.device), Seen()
        before = counter() if counter else None
        spent, queued = live.account.lap(), live.queued_seconds()
        begin = time.perf_counter()
        yield seen
        seen.host_seconds = time.perf_counter() - begin
        seen.spent, seen.queued = live.account.lap() - spent, live.queued_seconds() - queued
        after = counter() if counter else None
        if before is not None and after is not None and after >= before:  # else it was reset
            seen.joules = after - before

    def _rest(self, live: LiveTrial) -> None:
        """The others are next: nothing may be left to compute, and none may have been changed."""
        live.ask(WaitUntilIdle())
        live.account.rest()
        look_around(live.account, [other.account for other in self._live])

    def _measure_peak(self, done: int) -> None:
        """A round of matmuls by every worker that offers some."""
        begin = time.perf_counter()
        self._probe.measure()
        for live in interleave_order(self._live, done):
            if live.offers_matmul:
                with self._guarded(live.state):
                    self._matmul(live)
        self._peaks.end_round(time.perf_counter() - begin)

    @property
    def _trained(self) -> float:
        """Seconds that all epochs took so far."""
        return sum(epoch.host_seconds for state in self.states for epoch in state.series)

    def _matmul(self, live: LiveTrial) -> None:
        live.read_memory()  # before operands that are not the trial's
        live.account.begin()
        answer = live.ask(self._peaks.request)
        live.offers_matmul = answer.seconds is not None
        spent = live.account.lap()
        if answer.seconds and (doubt := self._peaks.beyond_belief(answer.seconds, spent)):
            live.offers_matmul = False
            live.account.remark(doubt)
        else:
            self._peaks.add(live.trial.label, answer.seconds)
        self._rest(live)

    def _evaluate(self, live: LiveTrial, split: str) -> None:
        batches = self._audit.batches(live.trial, split, 0)
        answer = live.ask(Evaluate(live.give(batches)))
        self._check_tokens(batches, answer.tokens)
        evaluation = Evaluation(
            split=split,
            epoch=len(live.state.series),
            nats=answer.nats,
            tokens=answer.tokens,
            source_nats=self._source_nats(live.trial, split),
        )
        live.state.evaluations.append(evaluation)
        self.context.journal.evaluation(live.trial.name, evaluation)

    def _check_tokens(self, batches: Batches, got: int) -> None:
        """Raise :class:`WorkerLost` unless every token was counted."""
        if got != batches.tokens:
            raise WorkerLost(INTERFACE, f"expected {batches.tokens} tokens, got {got}")

    def _source_nats(self, trial: Trial, split: str) -> float | None:
        """What the text's own source spends on the tokens that an evaluation predicts."""
        corpus, protocol = self.context.corpus, trial.protocol
        if corpus.surprisal is None:
            return None
        part = corpus.splits(protocol)[split]
        return source_nats(corpus.surprisal, part, protocol.batch_size, protocol.steps)

    def _end_all(self) -> None:
        """What follows training, the challenge, and, once no worker is left, the audit."""
        for live in list(self._live):
            with self._guarded(live.state):
                self._end(live)
        self._challenge_all()
        for live in list(self._live):
            with self._guarded(live.state):
                live.finish()
        finished = [live.state for live in self._live]
        for live in self._live:
            live.state.activity = live.account.activity()
            self._close(live)
        self._live.clear()
        while finished:
            try:
                difference, judged = self._judge(finished[0])
            except KeyboardInterrupt:
                with deferred_interrupts():
                    for state in finished:
                        self._audit.interrupted(state)
                        self.context.record(state, Outcome(Status.OK))
                raise
            state = finished.pop(0)
            outcome = Outcome(Status.OK)
            if difference:
                outcome = Outcome(Status.FAILED, "audit", difference)
            if judged:
                self.context.record(state, outcome)

    def _judge(self, state: TrialState) -> tuple[str | None, bool]:
        """What differs in a trial, if anything does; and whether that could be judged."""
        with self._guarded(state):
            self.context.observer.phase(state.trial, "auditing")
            return self._audit.judge(state), True
        return None, False

    def _end(self, live: LiveTrial) -> None:
        state, protocol = live.state, live.trial.protocol
        self.context.observer.phase(live.trial, "ending")
        live.account.begin()
        if fault := clocks.fault(state.series, live.trial.threads):
            raise WorkerLost(INTERFACE, fault)
        if protocol.test_fraction and protocol.train_tokens is None:
            self._evaluate(live, "test")
        if protocol.prefixes:
            self._generate(live)
        live.account.rest()

    def _generate(self, live: LiveTrial) -> None:
        protocol, vocabulary = live.trial.protocol, self.context.corpus.vocabulary
        request = Generate(
            prefixes=[vocabulary.encode(prefix).tolist() for prefix in protocol.prefixes],
            length=protocol.continuation,
            vocabulary_size=len(vocabulary),
        )
        answer = live.ask(request)
        live.state.phases["generate"] = answer.seconds
        self._audit.evidence(live.trial).ids = answer.continuations
        for prefix, ids in zip(protocol.prefixes, answer.continuations, strict=True):
            text = vocabulary.continuation(ids)
            live.state.continuations.append(Continuation(prefix=prefix, text=text))

    def _challenge_all(self) -> None:
        """Epochs that cannot have been trained before, until each trial is as fast as it was."""
        others = CpuTimeDelta()
        for number in range(MAX_CHALLENGES):
            slow = [live for live in self._live if _may_be_faster(live.state)]
            if not slow:
                break
            for live in interleave_order(slow, number):
                with self._guarded(live.state):
                    self._challenge(live, number)
        load = _load(others, CHALLENGE_LOAD_SECONDS)
        for live in self._live:
            live.state.challenge_load = load

    def _challenge(self, live: LiveTrial, number: int) -> None:
        start, batches = self._audit.challenge(live.trial, number)
        live.ask(LoadParameters(live.give_parameters(start)))
        path = live.give(batches)
        protocol = live.trial.protocol
        rate = protocol.learning_rate if protocol.training.scheduled else None
        live.account.begin()
        begin = time.perf_counter()
        answer = live.ask(TrainEpoch(path, rate))
        answered, computed = time.perf_counter(), live.account.lap()
        saved = live.save()
        trained, spent = time.perf_counter(), live.account.lap()
        content = live.saved(saved)
        reading = time.perf_counter() - trained
        live.save()
        again = time.perf_counter() - trained - reading
        showing = live.account.lap() - spent
        # until the updated parameters are there, without what it takes to write them once more: no
        # more than the first time took, so that slowness in the second one hides no training
        seconds = max(1e-9, trained - begin - min(again, trained - answered))
        spent = max(0.0, spent - min(showing, spent - computed))
        live.state.challenges.append((seconds, spent))
        self._check_tokens(batches, answer.tokens)
        if seconds == min(seconds for seconds, _ in live.state.challenges):
            # the fastest is what counts, so it is what is audited
            shown = number, answer.nats, Snapshot.of(content)
            self._audit.evidence(live.trial).challenge = shown
        self._rest(live)


def _may_be_faster(state: TrialState) -> bool:
    """Whether the challenge has not yet shown the speed of the epochs that were timed, and more of
    it is affordable."""
    trained = clocks.typical_seconds(state.series)
    taken = [seconds for seconds, _ in state.challenges]
    if trained is None or not taken:
        return trained is not None
    affordable = CHALLENGE_SHARE * sum(epoch.host_seconds for epoch in state.series)
    is_affordable = len(taken) < FEW_CHALLENGES or sum(taken) <= affordable
    return min(taken) > AS_FAST * trained and is_affordable


def _load(others: CpuTimeDelta, least: float = 1.0) -> SystemLoad | None:
    load = others.so_far(least)
    return SystemLoad(**asdict(load)) if load else None
