"""Runs the checks of one backend, mode and device in a child and yields the outcomes."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from lstmbench.backend import INTERFACE, INTERFACES, BackendSpec
from lstmbench.machine import facts
from lstmbench.runner.channel import Launch, WorkerLost
from lstmbench.runner.local import LocalChannel
from lstmbench.runner.scratch import ScratchFolder
from lstmbench.testing.checks import CHECKS
from lstmbench.testing.messages import Check, KitLoaded, LoadKit
from lstmbench.testing.outcome import (
    BLOCKED,
    EXPECTED,
    FAILED,
    NOT_CHECKED,
    PASSED,
    SKIPPED,
    SPEC_CHECK,
    TOO_SLOW,
    UNEXPECTED,
    Outcome,
)
from lstmbench.worker.messages import A, Request

NAMES = (SPEC_CHECK, *CHECKS)
SPEC_ADVICE = (
    "Keep the package's __init__ to the BackendSpec; import the framework in the module that "
    "the factory names."
)
IMPORT_ADVICE = "Make the spec's factory, 'module:attribute', importable in a fresh process."
IMPORTS_ADVICE = (
    "Name in imports the top-level modules of your framework; records state its version."
)
#: For one check, compilation included.
SECONDS = 300.0
SLOW_ADVICE = (
    "It may only be slow: --timeout SECONDS gives each check longer. The stack below says where it "
    "was then."
)
#: Of a check's seconds: then the child's stack goes to the log, before the child is killed.
STACK_AFTER = 0.95
#: Of the log of a child that died, shown with the failure.
LAST_LINES = 20


@dataclass(frozen=True)
class Settings:
    """How to check: only the checks named (all if none is), so many seconds for each.

    ``environment`` is set for the child on top of the spec's. ``log`` keeps what the backend
    prints; without one it goes with the scratch folder.
    """

    only: tuple[str, ...] = ()
    seconds: float = SECONDS
    environment: Mapping[str, str] = field(default_factory=dict)
    log: Path | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The checks that are run, in their order."""
        return tuple(name for name in NAMES if not self.only or name in (*self.only, SPEC_CHECK))


class Child:
    """A child that is started anew after a request that killed it."""

    def __init__(
        self, spec: BackendSpec, device: str, mode: str, dtype: str, settings: Settings, log: Path
    ) -> None:
        threads = facts.default_threads()
        environment = {**spec.environment, **settings.environment}
        self._launch = Launch(log, threads, environment, module="lstmbench.testing.child")
        self._load = LoadKit(
            factory=spec.factory,
            imports=list(spec.imports),
            install=spec.install,
            device=device,
            mode=mode,
            dtype=dtype,
            threads=threads,
            reference=spec.reference,
        )
        self._seconds = settings.seconds
        self._channel: LocalChannel | None = None
        self._shown = log.stat().st_size if log.exists() else 0

    def load(self) -> KitLoaded:
        """Start and import. Raises :class:`WorkerLost`."""
        self.close()
        return self._start()[1]

    @property
    def stack_after(self) -> float:
        """Seconds after which a child that still computes writes its stack to the log."""
        return STACK_AFTER * self._seconds

    def ask(self, request: Request[A]) -> A:
        """Ask something of a loaded child. Raises :class:`WorkerLost`; the next one gets a new."""
        try:
            channel = self._channel or self._start()[0]
            return channel.ask(request, self._seconds)
        except WorkerLost:
            self.close()
            raise

    def _start(self) -> tuple[LocalChannel, KitLoaded]:
        self._channel = LocalChannel(self._launch)
        return self._channel, self._channel.ask(self._load, self._seconds)

    def output(self) -> str:
        """What was printed since this was last asked."""
        if self._channel is not None:
            self._channel.drain_log()
        if not self._launch.log.exists():
            return ""
        with self._launch.log.open("rb") as log:
            log.seek(self._shown)
            new = log.read()
        self._shown += len(new)
        return new.decode(errors="replace")

    def close(self) -> None:
        if self._channel is not None:
            self._channel.close()
            self._channel = None


@contextmanager
def child_of(
    spec: BackendSpec, device: str, mode: str, dtype: str, settings: Settings
) -> Iterator[Child]:
    """A child, not yet loaded."""
    with ScratchFolder() as folder:
        log = settings.log or folder / "log"
        child = Child(spec, device, mode, dtype, settings, log)
        try:
            yield child
        finally:
            child.close()


def run_checks(
    spec: BackendSpec, device: str, mode: str, dtype: str, settings: Settings | None = None
) -> Generator[Outcome, None, None]:
    """Outcomes in the order of ``settings.names``, each as soon as its check has ended."""
    settings = settings or Settings()
    with child_of(spec, device, mode, dtype, settings) as child:
        yield from _Run(spec, mode, settings, child).outcomes()


class _Run:
    """The checks of one mode."""

    def __init__(self, spec: BackendSpec, mode: str, settings: Settings, child: Child) -> None:
        self._spec = spec
        self._mode = mode
        self._settings = settings
        self._child = child
        #: Checks that cannot be built on, and whether only expected failures are behind that.
        self._unusable: dict[str, bool] = {}
        #: Why nothing can be asked any more.
        self._unavailable = ""
        self._importable = True

    def outcomes(self) -> Iterator[Outcome]:
        for name in self._settings.names:
            begin = time.perf_counter()
            outcome = self._against_spec(
                self._spec_check() if name == SPEC_CHECK else self._check(name)
            )
            if outcome.outcome in (FAILED, TOO_SLOW, BLOCKED):
                self._unusable[name] = False
            elif outcome.outcome in (EXPECTED, NOT_CHECKED):
                self._unusable[name] = True
            run = outcome.outcome not in (BLOCKED, NOT_CHECKED, SKIPPED)
            yield replace(
                outcome,
                seconds=time.perf_counter() - begin if run else None,
                output=outcome.output + self._child.output(),
            )

    def _against_spec(self, outcome: Outcome) -> Outcome:
        """The outcome in the light of the spec's ``expected_failures``."""
        expected = self._spec.expected_failures
        name = outcome.check
        reason = expected.get(f"{self._mode}:{name}", expected.get(name))
        if reason is not None and outcome.outcome in (FAILED, TOO_SLOW):
            return replace(outcome, outcome=EXPECTED, detail=reason, advice="")
        if reason is not None and outcome.outcome == PASSED:
            advice = "Take it out of the spec's expected_failures."
            return Outcome(name, UNEXPECTED, f"expected to fail: {reason}", advice)
        return outcome

    def _spec_check(self) -> Outcome:
        spec = self._spec
        try:
            loaded = self._child.load()
        except WorkerLost as lost:
            self._importable = lost.reason == "unavailable"
            return self._lost(SPEC_CHECK, lost, IMPORT_ADVICE)
        if spec.interface not in INTERFACES:
            got = f"expected interface {INTERFACE} or an earlier one, got {spec.interface}"
            return Outcome(SPEC_CHECK, FAILED, got, "Write for the interface of this lstmbench.")
        if fault := _no_such_check(spec):
            advice = f"Name CHECK or MODE:CHECK; the checks are: {', '.join(NAMES)}."
            return Outcome(SPEC_CHECK, FAILED, fault, advice)
        if loaded.frameworks:
            got = f"expected no framework at registration, got {', '.join(loaded.frameworks)}"
            return Outcome(SPEC_CHECK, FAILED, got, SPEC_ADVICE)
        if loaded.missing:
            got = f"imports names {', '.join(loaded.missing)}, but the backend works without it"
            return Outcome(SPEC_CHECK, FAILED, got, IMPORTS_ADVICE)
        return Outcome(SPEC_CHECK, PASSED)

    def _check(self, name: str) -> Outcome:
        if self._unavailable:
            return Outcome(name, SKIPPED, self._unavailable)
        if not self._importable:
            return Outcome(name, BLOCKED, f"builds on {SPEC_CHECK}")
        check = CHECKS[name]
        absent = [feature for feature in check.features if feature not in self._spec.features]
        if absent:
            return Outcome(name, NOT_CHECKED, f"{self._spec.name} has no {' and no '.join(absent)}")
        blockers = [need for need in check.needs if need in self._unusable]
        if blockers:
            expected = all(self._unusable[need] for need in blockers)
            why = ", which is expected to fail" if expected else ""
            detail = f"builds on {', '.join(blockers)}{why}"
            return Outcome(name, NOT_CHECKED if expected else BLOCKED, detail)
        try:
            failure = self._child.ask(Check(name, self._child.stack_after)).failure
        except WorkerLost as lost:
            return self._lost(name, lost, check.advice)
        if failure is None:
            return Outcome(name, PASSED)
        advice = failure.advice or check.advice
        return Outcome(name, FAILED, failure.message, advice, tuple(failure.lines))

    def _lost(self, name: str, lost: WorkerLost, advice: str) -> Outcome:
        """The outcome of a check that ended its child."""
        if lost.reason == "unavailable":
            self._unavailable = str(lost)
            return Outcome(name, SKIPPED, self._unavailable)
        output = self._child.output()
        lines = tuple(output.splitlines()[-LAST_LINES:])
        if lost.reason == "timeout":
            return Outcome(name, TOO_SLOW, str(lost), SLOW_ADVICE, lines, output)
        return Outcome(name, FAILED, f"{lost.reason}: {lost}", advice, lines, output)


def _no_such_check(spec: BackendSpec) -> str | None:
    """What is wrong with the keys of ``expected_failures``, or ``None``."""
    modes = {mode for offered in spec.modes.values() for mode in offered}
    for key in spec.expected_failures:
        mode, _, check = key.rpartition(":")
        if check not in NAMES:
            return f"expected_failures names {check}: there is no such check"
        if mode and mode not in modes:
            return f"expected_failures names {key}: there is no such mode"
    return None
