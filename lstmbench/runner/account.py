"""What a group's workers spend and do, seen from outside: the account that no worker can write."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from lstmbench.machine.processes import Family, ProcessTree
from lstmbench.machine.settings import (
    Settings,
    resource_limits,
    restore_limits,
    resume,
    settings_of,
    was_stopped,
)
from lstmbench.records.record import Activity

#: Processor seconds while others train, and their share of that time, from which on a trial fails:
#: it slows the others. Less is in the record, and judged there.
MAX_SECONDS, MAX_SHARE = 0.5, 0.1
#: The share of the time that may be spent on looking at every thread of a worker.
LOOK_SHARE = 2e-3


@dataclass(frozen=True)
class Pause:
    """While others train: processor seconds that a worker spent, of so many seconds."""

    spent: float
    seconds: float

    @property
    def is_work(self) -> bool:
        """Whether that is more than a waiting process does."""
        return self.spent > MAX_SECONDS and self.spent > MAX_SHARE * self.seconds


@dataclass
class Baseline:
    """A worker's threads and limits as they were after it had computed itself.

    ``since``: who has computed since then, by label.
    """

    threads: dict[int, Settings]
    limits: tuple[tuple[int, int], ...]
    since: dict[str, Account] = field(default_factory=dict)


@dataclass
class Account:
    """One worker's processor seconds: while it is asked to compute, and between.

    ``given``: what it may use at most.
    """

    tree: ProcessTree
    label: str
    given: Settings
    between: Pause = Pause(0.0, 0.0)
    hindered: int = 0
    remarks: dict[str, None] = field(default_factory=dict)
    _baseline: Baseline | None = None
    _own: Settings | None = None
    _not_before: float = 0.0
    _rested: tuple[float, float] | None = None
    _began: float = 0.0

    def ready(self) -> None:
        """Training is about to begin: what was spent so far does not count."""
        self._own = Settings.of(self.tree.pid)
        self.tree.seconds(at_once=True)
        self._look_at_itself()
        self.rest()

    def begin(self) -> None:
        """The worker is about to be asked to compute, which ends a pause."""
        self._began = self.tree.seconds()
        if self._rested is not None:
            before, when = self._rested
            self.between = Pause(
                self.between.spent + self._began - before,
                self.between.seconds + time.monotonic() - when,
            )
            self._rested = None

    def lap(self) -> float:
        """Processor seconds since :meth:`begin`."""
        return self.tree.seconds() - self._began

    def rest(self) -> None:
        """The worker is idle again: others are next."""
        self._rested = self.tree.seconds(), time.monotonic()

    def remark(self, text: str) -> None:
        self.remarks[text] = None

    def changed_to(self) -> Settings | None:
        """What the worker gets now, if that is not what it got when it last rested."""
        before, self._own = self._own, Settings.of(self.tree.pid)
        return self._own if before != self._own else None

    def look(
        self, active: Account, accounts: Sequence[Account], by_others: Settings | None
    ) -> None:
        """See what happened to this worker while ``active``, one of ``accounts``, computed.

        ``by_others``: what ``active`` was changed to. Who is changed to the same is changed from
        elsewhere.
        """
        self._look_for_stops(active, accounts)
        if active is not self and self._baseline is not None:
            self._baseline.since[active.label] = active
        pid = self.tree.pid
        main = Settings.of(pid)
        known = self._baseline.threads.get(pid) if self._baseline else None
        if active is not self and main is not None and known is not None and main != known:
            self._not_before = 0.0
        if time.monotonic() < self._not_before:
            if active is self and main is not None and self._baseline is not None:
                # what it did to itself is not the doing of others; threads seldom do on their own
                threads = {**self._baseline.threads, pid: main}
                self._baseline = Baseline(threads, resource_limits(pid))
            return
        begin = time.monotonic()
        if active is self:
            self._look_at_itself()
        elif by_others is not None and main == by_others and self._baseline is not None:
            self._baseline = Baseline(settings_of([pid]), resource_limits(pid))
        else:
            self._look_at_others()
        self._not_before = time.monotonic() + (time.monotonic() - begin) / LOOK_SHARE

    def _look_for_stops(self, active: Account, accounts: Sequence[Account]) -> None:
        if not was_stopped(self.tree.pid):
            return
        self.hindered += 1
        resume(self.tree.pid)
        helped = [other for other in accounts if other is not self and other.tree.alive()]
        for culprit in [active] if active is not self else helped:
            culprit.remark(f"stopped {self.label}")

    def _look_at_itself(self) -> None:
        """Whether the worker, or what it started, takes more than it was given."""
        own = settings_of([self.tree.pid])
        found = {**own, **settings_of(self.tree.alive())}
        if not all(settings.is_within(self.given) for settings in found.values()):
            self.remark("took more processors, or a higher priority, than it was given")
        self._baseline = Baseline(own, resource_limits(self.tree.pid))

    def _look_at_others(self) -> None:
        """Whether this worker was changed by one of those that have computed since."""
        before, pid = self._baseline, self.tree.pid
        now = settings_of([pid])
        if before is None or pid not in now:
            return
        both = before.threads.keys() & now.keys()
        changed = {t: before.threads[t] for t in both if now[t] != before.threads[t]}
        limits = resource_limits(pid)
        if changed or limits != before.limits:
            self.hindered += 1
            restored = [settings.restore(thread) for thread, settings in changed.items()]
            restore_limits(pid, before.limits)
            if len(before.since) == 1:
                (culprit,) = before.since.values()
                culprit.remark(
                    f"changed the priority, the processors or the limits of {self.label}"
                )
            if not all(restored):  # what cannot be undone is not found again
                before = Baseline(settings_of([pid]), resource_limits(pid))
        self._baseline = Baseline(before.threads, before.limits)

    def forget_stops(self) -> None:
        """The host itself has stopped the worker."""
        was_stopped(self.tree.pid)

    def activity(self) -> Activity:
        """For the record."""
        return Activity(
            seconds=self.between.seconds,
            processor_seconds=self.between.spent,
            processes=len(self.tree.descendants),
            hindered=self.hindered,
            remarks=list(self.remarks),
        )


def look_around(active: Account, accounts: Sequence[Account]) -> None:
    """See what happened to the workers of ``accounts`` while ``active`` computed.

    A user who changes the priority of a whole run changes that of the active one, too.
    """
    by_others = active.changed_to()
    for account in accounts:
        account.look(active, accounts, by_others)


def open_account(
    pid: int, marker: str, family: Family, label: str, cpus: Sequence[int] | None
) -> Account:
    """For a worker that has just been started and was given ``cpus``.

    ``marker`` as in :class:`ProcessTree`.
    """
    own = Settings.of(0) or Settings(0, None, None)
    given = Settings(own.nice, own.policy, own.cpus if cpus is None else frozenset(cpus))
    return Account(ProcessTree(pid, family, marker), label, given)
