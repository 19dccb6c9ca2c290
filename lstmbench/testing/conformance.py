"""The kit's entry for pytest: one test per check, device and mode."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

import pytest

from lstmbench.machine import facts
from lstmbench.plugin import manager
from lstmbench.testing.checks import CHECKS
from lstmbench.testing.outcome import NOT_CHECKED, SKIPPED, Outcome, nothing_checked
from lstmbench.testing.pytest_plugin import all_modes
from lstmbench.testing.runner import NAMES, Settings, run_checks


@cache
def _outcomes(
    backend: str, device: str, mode: str, names: tuple[str, ...]
) -> Mapping[str, Outcome]:
    spec = manager.find_backend(manager.load(), backend)
    found = run_checks(spec, device, mode, "float32", Settings(only=names))
    return {outcome.check: outcome for outcome in found}


def _names(config: pytest.Config) -> tuple[str, ...]:
    """The checks to run, in their order."""
    left_out = config.getoption("--lstmbench-no-features", default=False)
    features = {name for name, check in CHECKS.items() if check.features}
    return tuple(name for name in NAMES if not (left_out and name in features))


class Conformance:
    """Subclass and name the ``backend``.

    Tested are the default modes, or all of them with ``--lstmbench-all-modes``, on the devices of
    this machine that the backend has modes for. ``pytest -s`` shows what the backend prints.
    """

    backend: str

    @classmethod
    def cases(cls, all_modes: bool) -> list[tuple[str, str]]:
        """(device, mode) to test here."""
        spec = manager.find_backend(manager.load(), cls.backend)
        found = []
        for device in facts.devices():
            modes = spec.modes.get(device.partition(":")[0], ())
            found += [(device, mode) for mode in (modes if all_modes else modes[:1])]
        return found

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        if "check" in metafunc.fixturenames:
            cases = [
                pytest.param(device, mode, name, id=f"{device}-{mode}-{name}")
                for device, mode in self.cases(all_modes(metafunc.config))
                for name in _names(metafunc.config)
            ]
            metafunc.parametrize(("device", "mode", "check"), cases)

    def test_check(
        self, device: str, mode: str, check: str, request: pytest.FixtureRequest
    ) -> None:
        outcome = _outcomes(self.backend, device, mode, _names(request.config))[check]
        print(outcome.output, end="")
        if outcome.outcome in (SKIPPED, NOT_CHECKED):
            pytest.skip(outcome.detail)
        if not outcome.acceptable:
            told = f"{outcome.outcome}: {outcome.detail}. {outcome.advice}"
            # the kit's own frames say nothing of the backend
            pytest.fail("\n".join([told, *outcome.lines]), pytrace=False)

    def test_not_everything_was_skipped(self, request: pytest.FixtureRequest) -> None:
        """Being unavailable everywhere is no proof of anything."""
        outcomes = [
            outcome
            for device, mode in self.cases(all_modes(request.config))
            for outcome in _outcomes(self.backend, device, mode, _names(request.config)).values()
        ]
        why = outcomes[-1].detail if outcomes else "it has no mode for any device here"
        assert not nothing_checked(outcomes), f"{self.backend} was skipped everywhere: {why}"
