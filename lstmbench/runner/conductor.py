"""Leads a plan's groups, one after the other, and leaves one record per trial.

Machines drift: epochs that are interleaved see the same drift, whole trials one after the other do
not. How a group is led through its trials is in :mod:`lstmbench.runner.group`.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from contextlib import closing, suppress

from pydantic import ValidationError

from lstmbench.backend import BackendSpec
from lstmbench.corpora.corpus import Corpus
from lstmbench.machine import facts
from lstmbench.records.parse import first_fault, unreadable
from lstmbench.records.record import Machine, Record, Source, Status
from lstmbench.records.store import Run
from lstmbench.records.trial import Trial
from lstmbench.runner.channel import Executor
from lstmbench.runner.context import Context, Limits, Observer, Outcome, Unbreakable
from lstmbench.runner.group import Group
from lstmbench.runner.interrupts import deferred_interrupts, interruptible, uninterruptible
from lstmbench.runner.journal import KILLED, Journal
from lstmbench.runner.layers import LayerGroup
from lstmbench.runner.plan import Plan
from lstmbench.runner.schedule import Earlier, Sampler, Schedule, ToDo
from lstmbench.runner.trial_state import TrialState
from lstmbench.stacks.ready import Ready
from lstmbench.worker.messages import INTERFACE


def this_machine(specs: Mapping[str, BackendSpec], *, in_stacks: bool) -> Machine:
    """What records say of this machine, with the versions of what the plugins need.

    Where workers run in stacks, each record of its own says those.
    """
    imports = sorted({name for spec in specs.values() for name in spec.imports})
    versions = facts.host_versions() if in_stacks else facts.versions(tuple(imports))
    return Machine(digest=facts.digest(), facts=facts.facts(), versions=versions)


class Conductor:
    """Runs a plan and writes one record per trial, whatever happens.

    ``specs`` are those of all plugins, so that records do not depend on what else is measured.
    ``raw_environment`` is what the trials' ``environment`` shows, paths and all. Without
    ``measure_peak`` no peak is measured. ``stacks`` are by label. ``records`` are those so far,
    ``problems`` a line for each that could not be written; ``stopped`` is why the sampler ended the
    plan. What the run has done ``earlier`` is left as it is; groups that are run again are first
    set aside.
    """

    def __init__(
        self,
        *,
        plan: Plan,
        specs: Mapping[str, BackendSpec],
        corpus: Corpus,
        run: Run,
        source: Source,
        executor: Executor,
        observer: Observer,
        limits: Limits,
        raw_environment: Mapping[str, str],
        sampler: Sampler | None = None,
        measure_peak: bool = True,
        stacks: Mapping[str, Ready] | None = None,
        earlier: Earlier | None = None,
    ) -> None:
        self.plan = plan
        self.specs = specs
        self.corpus = corpus
        self.run = run
        self.source = source
        self.executor = executor
        self.observer = Unbreakable(observer)
        self.limits = limits
        self.raw_environment = raw_environment
        self.measure_peak = measure_peak
        self.stacks = stacks or {}
        self.earlier = earlier or Earlier()
        self._schedule = Schedule(plan, sampler, self.earlier)
        self.records = self._schedule.records
        self.problems: list[str] = []
        self._states = {trial.name: self._state(trial) for trial in plan.trials}
        self._journal = Journal(run)
        self._begun = set() if sampler else self._schedule.due() - self.earlier.records.keys()
        self._seconds = dict(self.earlier.seconds)
        self._replaced = run.replaced()
        self._machine = this_machine(specs, in_stacks=bool(self.stacks))

    @property
    def stopped(self) -> str | None:
        return self._schedule.stopped

    @property
    def owns_run(self) -> bool:
        """Whether no other process leads the same run."""
        return self._journal.owned

    def close(self) -> None:
        """Let go of the run. May be called twice."""
        self._journal.close()

    def conduct(self) -> bool:
        """All groups in order, until the sampler says stop.

        False if it was interrupted. Every trial that was begun, and without a sampler every trial
        of the plan, has its record, whatever is raised.
        """
        with closing(self):
            try:
                with interruptible():
                    self._conduct(self._context())
            except KeyboardInterrupt:
                self._record_interrupted("interrupted")
                return False
            except BaseException as error:
                self._record_interrupted(f"the run ended with {type(error).__name__}: {error}")
                raise
        return True

    def _conduct(self, context: Context) -> None:
        for trial, reason in self.plan.unavailable:
            if known := self.earlier.records.get(trial.name):
                self.records.append(known)
            else:
                self._record(self._state(trial), Outcome(Status.UNAVAILABLE, message=reason))
        for groups in self._schedule.repeats():
            named = {trial.name for group in groups for trial in group.trials}
            self._begun |= named - self.earlier.records.keys()
            for group in groups:
                self._set_aside(group)
                begin = time.monotonic()
                kind = LayerGroup if group.trials[0].protocol.is_layer else Group
                kind([self._states[trial.name] for trial in group.trials], context).run()
                self._spent(group, time.monotonic() - begin)

    def _set_aside(self, group: ToDo) -> None:
        """What earlier attempts have left of a group makes room, so that no two are mixed."""
        left = [name for name in group.names if self.run.has_left(name)]
        if not left:
            return
        for trial in group.trials:  # who is killed from here on leaves the group interrupted
            self._known(self._states[trial.name])
        with deferred_interrupts():
            self._begun |= {trial.name for trial in group.trials}
            for name in left:
                self.run.set_aside(name, self._replaced)
                self._seconds.pop(name, None)

    def _spent(self, group: ToDo, seconds: float) -> None:
        self._seconds[group.trials[0].name] = seconds
        with suppress(OSError):  # a resumed run then has a little more time
            self.run.write_seconds(self._seconds)

    def _context(self) -> Context:
        return Context(
            specs=self.specs,
            corpus=self.corpus,
            log=self.run.log,
            executor=self.executor,
            observer=self.observer,
            limits=self.limits,
            raw_environment=self.raw_environment,
            measure_peak=self.measure_peak,
            stacks=self.stacks,
            journal=self._journal,
            known=self._known,
            record=self._record,
        )

    def _state(self, trial: Trial) -> TrialState:
        stack = self.stacks.get(trial.stack)
        return TrialState(trial, self.run.log(trial.name), stack.facts if stack else None)

    def _record_interrupted(self, message: str) -> None:
        with uninterruptible():
            for state in self._unrecorded():
                with suppress(Exception):  # one that cannot be written keeps no other from it
                    self._record(state, Outcome(Status.INTERRUPTED, message=message))

    def _unrecorded(self) -> Iterable[TrialState]:
        """Trials that were begun and have no record."""
        done = {record.trial.name for record in self.records}
        return [self._states[name] for name in self._states if name in self._begun - done]

    def _known(self, state: TrialState) -> None:
        self._journal.known(self._folded(state, Outcome(Status.INTERRUPTED, message=KILLED)))

    def _record(self, state: TrialState, outcome: Outcome) -> None:
        """Fold a state into its record and write it; never one that could not be read again."""
        try:
            record = self._folded(state, outcome)
            fault = unreadable(record)
        except ValidationError as error:
            fault = first_fault(error)
        except ValueError as error:
            fault = str(error)
        if fault:
            message = f"its record could not be read: {fault}"
            record = self._folded(state.bare(), Outcome(Status.FAILED, INTERFACE, message))
        with deferred_interrupts():
            self.records.append(record)
            try:
                self.run.write_record(record)
                self._journal.recorded(state.trial.name)
            except OSError as error:  # those of the others may be written, and the table shows it
                what = error.strerror or error
                self.problems.append(f"the record of {state.trial.name} is not written: {what}")
            except Exception:
                self.records.remove(record)
                raise
        self.observer.recorded(record)

    def _folded(self, state: TrialState, outcome: Outcome) -> Record:
        return state.record(
            status=outcome.status,
            reason=outcome.reason,
            message=outcome.message,
            vocabulary_size=len(self.corpus.vocabulary),
            source=self.source,
            machine=self._machine,
        )
