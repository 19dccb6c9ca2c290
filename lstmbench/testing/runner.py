"""Runs the checks of one backend, mode and device in a child and yields the outcomes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from lstmbench.backend import INTERFACE, BackendSpec
from lstmbench.machine import facts
from lstmbench.runner.channel import Launch, WorkerLost
from lstmbench.runner.local import LocalChannel
from lstmbench.runner.scratch import ScratchFolder
from lstmbench.testing.checks import CHECKS
from lstmbench.worker.messages import Check, Checked, KitLoaded, LoadKit

PASSED, FAILED, BLOCKED, SKIPPED = "passed", "failed", "blocked", "skipped"
EXPECTED, UNEXPECTED = "expected failure", "unexpected pass"
#: Asked of the specification itself, before any backend is built.
SPEC_CHECK = "spec_imports_no_framework"
NAMES = (SPEC_CHECK, *CHECKS)
SPEC_ADVICE = (
    "Keep the package's __init__ to the BackendSpec; import the framework in the module that "
    "the factory names."
)
IMPORT_ADVICE = "Make the spec's factory, 'module:attribute', importable in a fresh process."
#: For one check, compilation included.
SECONDS = 300.0


@dataclass(frozen=True)
class Outcome:
    """How one check ended; ``detail`` says what was expected and what it got."""

    check: str
    outcome: str
    detail: str = ""
    advice: str = ""

    @property
    def acceptable(self) -> bool:
        return self.outcome in (PASSED, SKIPPED, EXPECTED)


class _Child:
    """A child that is started anew after a check that killed it."""

    def __init__(self, spec: BackendSpec, device: str, mode: str, dtype: str, log: Path) -> None:
        threads = facts.physical_cores()
        self._launch = Launch(log, threads, spec.environment, module="lstmbench.testing.child")
        self._load = LoadKit(
            factory=spec.factory,
            imports=list(spec.imports),
            install=spec.install,
            device=device,
            mode=mode,
            dtype=dtype,
            threads=threads,
        )
        self._channel: LocalChannel | None = None

    def load(self) -> KitLoaded:
        """Start and import. Raises :class:`WorkerLost`."""
        self.close()
        return self._start()[1]

    def check(self, name: str) -> Checked:
        """Ask one check. Raises :class:`WorkerLost`; the next one gets a new child."""
        try:
            channel = self._channel or self._start()[0]
            return channel.ask(Check(name), SECONDS)
        except WorkerLost:
            self.close()
            raise

    def _start(self) -> tuple[LocalChannel, KitLoaded]:
        self._channel = LocalChannel(self._launch)
        return self._channel, self._channel.ask(self._load, SECONDS)

    def close(self) -> None:
        if self._channel is not None:
            self._channel.close()
            self._channel = None


def nothing_checked(outcomes: Iterable[Outcome]) -> bool:
    """Whether no backend was ever asked: the specification alone proves nothing."""
    return all(o.outcome == SKIPPED for o in outcomes if o.check != SPEC_CHECK)


def run_checks(spec: BackendSpec, device: str, mode: str, dtype: str) -> Iterator[Outcome]:
    """Outcomes in the order of the list; those expected to fail are named in the spec."""
    for outcome in _run(spec, device, mode, dtype):
        reason = spec.expected_failures.get(outcome.check)
        if reason is not None and outcome.outcome == FAILED:
            yield Outcome(outcome.check, EXPECTED, reason)
        elif reason is not None and outcome.outcome == PASSED:
            advice = "Take it out of the spec's expected_failures."
            yield Outcome(outcome.check, UNEXPECTED, f"expected to fail: {reason}", advice)
        else:
            yield outcome


def _run(spec: BackendSpec, device: str, mode: str, dtype: str) -> Iterator[Outcome]:
    with ScratchFolder() as folder:
        child = _Child(spec, device, mode, dtype, folder / "log")
        try:
            yield from _all(child, spec)
        finally:
            child.close()


def _all(child: _Child, spec: BackendSpec) -> Iterator[Outcome]:
    unusable: dict[str, str] = {}  # checks that failed or are blocked
    try:
        dragged_in = child.load().frameworks
    except WorkerLost as lost:
        if lost.reason == "unavailable":
            yield from (Outcome(name, SKIPPED, str(lost)) for name in NAMES)
            return
        yield Outcome(SPEC_CHECK, FAILED, str(lost), IMPORT_ADVICE)
        yield from (Outcome(name, BLOCKED, f"builds on {SPEC_CHECK}") for name in CHECKS)
        return
    if spec.interface != INTERFACE:
        wrong = f"expected interface {INTERFACE}, got {spec.interface}"
        yield Outcome(SPEC_CHECK, FAILED, wrong, "Write for the interface of this lstmbench.")
    elif no_checks := sorted(set(spec.expected_failures) - set(NAMES)):
        wrong = f"expected_failures names {', '.join(no_checks)}: there is no such check"
        yield Outcome(SPEC_CHECK, FAILED, wrong, f"The checks are: {', '.join(NAMES)}.")
    elif dragged_in:
        wrong = f"expected no framework at registration, got {', '.join(dragged_in)}"
        yield Outcome(SPEC_CHECK, FAILED, wrong, SPEC_ADVICE)
    else:
        yield Outcome(SPEC_CHECK, PASSED)
    unavailable = ""
    for name, check in CHECKS.items():
        blockers = [need for need in check.needs if need in unusable]
        if unavailable:
            yield Outcome(name, SKIPPED, unavailable)
            continue
        if blockers:
            unusable[name] = BLOCKED
            yield Outcome(name, BLOCKED, f"builds on {', '.join(blockers)}")
            continue
        try:
            failure = child.check(name).failure
        except WorkerLost as lost:
            if lost.reason == "unavailable":
                unavailable = str(lost)
                yield Outcome(name, SKIPPED, unavailable)
                continue
            failure = f"{lost.reason}: {lost}"
        if failure is None:
            yield Outcome(name, PASSED)
        else:
            unusable[name] = FAILED
            yield Outcome(name, FAILED, failure, check.advice)
