"""Each feature's checks, proven by backends that are broken in one place each."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from lstmbench_numpy import FEATURES
from lstmbench_numpy.backend import NumpyBackend

from lstmbench import backend
from lstmbench.backend import BackendSpec
from lstmbench.testing.checks import CHECKS
from lstmbench.testing.lab import CheckContext
from lstmbench.testing.outcome import NOT_CHECKED
from lstmbench.testing.runner import Settings, run_checks


def load_broken() -> ModuleType:
    """The module of broken backends, which stands above this folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(Path(__file__).parents[1]))
        return importlib.import_module("broken_features")


BROKEN = load_broken()
MEANT: dict[Any, str] = BROKEN.MEANT
#: Of features.
CHECKED = [name for name, check in CHECKS.items() if check.features]


def run(kind: Any, name: str) -> None:
    CHECKS[name].run(CheckContext(kind, "cpu", "eager", "float32", 1))


@pytest.mark.parametrize("name", CHECKED)
@pytest.mark.parametrize("kind", [NumpyBackend, BROKEN.Open])
def test_a_valid_backend_passes(kind: Any, name: str) -> None:
    run(kind, name)


@pytest.mark.parametrize("name", CHECKED)
def test_the_reference_passes_in_float64(name: str) -> None:
    CHECKS[name].run(CheckContext(NumpyBackend, "cpu", "eager", "float64", 1))


@pytest.mark.parametrize(
    ("kind", "meant"), MEANT.items(), ids=lambda item: getattr(item, "__name__", "")
)
def test_the_check_meant_for_a_mistake_fails_and_what_it_builds_on_does_not(
    kind: Any, meant: str
) -> None:
    for name in CHECKS[meant].needs:
        run(kind, name)
    with pytest.raises(AssertionError) as failed:
        run(kind, meant)
    assert str(failed.value)


def test_every_check_of_a_feature_finds_something() -> None:
    assert set(MEANT.values()) == set(CHECKED)


def test_every_feature_is_checked_and_the_example_has_all() -> None:
    asked = {feature for check in CHECKS.values() for feature in check.features}
    assert asked == set(backend.FEATURES) == set(FEATURES)


def test_what_a_backend_lacks_is_not_checked() -> None:
    spec = BackendSpec(
        name="plain",
        summary="",
        factory="lstmbench_numpy.backend:NumpyBackend",
        modes={"cpu": ("eager",)},
        features=("embedding",),
    )
    only = ("embedding", "tied_weights", "dropout_loss")
    got = {o.check: o for o in run_checks(spec, "cpu", "eager", "float32", Settings(only=only))}
    assert got["embedding"].outcome == "passed"
    assert got["tied_weights"].outcome == got["dropout_loss"].outcome == NOT_CHECKED
    assert got["tied_weights"].detail == "plain has no tied"
    assert got["dropout_loss"].detail == "plain has no dropout"
