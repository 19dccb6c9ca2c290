"""The kit's entry for pytest: one test per check, device and mode."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

import pytest

from lstmbench.machine import facts
from lstmbench.plugin import manager
from lstmbench.testing.runner import NAMES, SKIPPED, Outcome, nothing_checked, run_checks


@cache
def _outcomes(backend: str, device: str, mode: str, dtype: str) -> Mapping[str, Outcome]:
    spec = manager.find_backend(manager.load(), backend)
    return {outcome.check: outcome for outcome in run_checks(spec, device, mode, dtype)}


class Conformance:
    """Subclass and name the ``backend``; ``--all-modes`` tests more than the default modes.

    Devices are those of this machine that the backend has modes for.
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
            all_modes = bool(metafunc.config.getoption("--all-modes", default=False))
            cases = [
                pytest.param(device, mode, name, id=f"{device}-{mode}-{name}")
                for device, mode in self.cases(all_modes)
                for name in NAMES
            ]
            metafunc.parametrize(("device", "mode", "check"), cases)

    def test_check(self, device: str, mode: str, check: str) -> None:
        outcome = _outcomes(self.backend, device, mode, "float32")[check]
        if outcome.outcome == SKIPPED:
            pytest.skip(outcome.detail)
        assert outcome.acceptable, f"{outcome.outcome}: {outcome.detail}. {outcome.advice}"

    def test_not_everything_was_skipped(self, request: pytest.FixtureRequest) -> None:
        """Being unavailable everywhere is no proof of anything."""
        cases = self.cases(bool(request.config.getoption("--all-modes", default=False)))
        outcomes = [
            outcome
            for device, mode in cases
            for outcome in _outcomes(self.backend, device, mode, "float32").values()
        ]
        why = outcomes[-1].detail if outcomes else "it has no mode for any device here"
        assert not nothing_checked(outcomes), f"{self.backend} was skipped everywhere: {why}"
