"""What a group's workers spend and do, seen from outside: the account that no worker can write."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from lstmbench.machine.processes import Family, ProcessTree, Settings, was_stopped
from lstmbench.records.record import Activity

#: Processor seconds while others train, and their share of that time, from which on a trial fails:
#: it slows the others. Less is in the record, and judged there.
MAX_SECONDS, MAX_SHARE = 0.5, 0.1


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
class Account:
    """One worker's processor seconds: while it is asked to compute, and between."""

    tree: ProcessTree
    label: str
    between: Pause = Pause(0.0, 0.0)
    stopped: int = 0
    remarks: dict[str, None] = field(default_factory=dict)
    _settings: Settings | None = None
    _rested: tuple[float, float] | None = None
    _began: float = 0.0

    def ready(self) -> None:
        """Training is about to begin: what was spent so far does not count."""
        self._settings = Settings.of(self.tree.pid)
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

    def look(self, active: Account, accounts: Sequence[Account]) -> None:
        """See what happened to this worker while ``active``, one of ``accounts``, computed."""
        if was_stopped(self.tree.pid):
            self.stopped += 1
            with contextlib.suppress(OSError):
                os.kill(self.tree.pid, signal.SIGCONT)  # it may still be stopped
            others = [account for account in accounts if account is not self]
            helped = [account for account in others if account.tree.alive()]
            for culprit in [active] if active is not self else helped:
                culprit.remark(f"stopped {self.label}")
        now, before = Settings.of(self.tree.pid), self._settings
        if now is None or before is None or now == before:
            return
        if active is not self:
            active.remark(f"changed the priority or the processors of {self.label}")
            before.restore(self.tree.pid)
        elif not now.is_within(before):
            self.remark("took more processors, or a higher priority, than it was given")

    def forget_stops(self) -> None:
        """The host itself has stopped the worker."""
        was_stopped(self.tree.pid)

    def activity(self) -> Activity:
        """For the record."""
        return Activity(
            seconds=self.between.seconds,
            processor_seconds=self.between.spent,
            processes=len(self.tree.descendants),
            stopped=self.stopped,
            remarks=list(self.remarks),
        )


def open_account(pid: int, marker: str, family: Family, label: str) -> Account:
    """For a worker that has just been started; ``marker`` as in :class:`ProcessTree`."""
    return Account(ProcessTree(pid, family, marker), label)
