"""The conformance kit, proven by backends that are broken in one place each."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from lstmbench.backend import BackendSpec
from lstmbench.testing.checks import CHECKS
from lstmbench.testing.runner import (
    BLOCKED,
    EXPECTED,
    FAILED,
    NAMES,
    PASSED,
    SKIPPED,
    SPEC_CHECK,
    UNEXPECTED,
    Outcome,
    run_checks,
)

HERE = Path(__file__).parents[1]
#: The mistake, and the check that is meant for it.
MEANT = {
    "SwappedGates": "forward_loss",
    "StateNeverReset": "state_reset",
    "TrainingStateNeverReset": "state_reset",
    "StateNeverCarried": "state_carried",
    "TrainingStateNeverCarried": "several_steps",
    "MeanForSum": "loss_is_a_sum",
    "ClipsEachTensor": "clipping",
    "NeverClips": "clipping",
    "BiasTwice": "one_step",
    "ReturnsEarly": "epoch_is_finished",
    "TrainsOnEvaluation": "evaluate_changes_nothing",
    "EvaluatesByTraining": "evaluate_changes_nothing",
    "TooGood": "training_loss",
    "LossAfterTheStep": "training_loss",
    "TrainsInPrepare": "prepare_changes_nothing",
    "GoesUphill": "one_step",
    "SecondLayerUntrained": "several_layers",
    "Samples": "greedy_generation",
    "IgnoresTheSeed": "same_seed_same_result",
    "AlwaysAnotherSeed": "same_seed_same_result",
    "FixedSteps": "windows_split",
    "OneProductOnly": "matrix_product",
    "MultipliesItsKernel": "matrix_product",
    "AnyDevice": "absent_device",
    "WrongError": "absent_device",
}
#: The mistake, the check, and what it must say.
SAID = {
    "Incomplete": ("interface", ["generate"]),
    "NoBackend": ("interface", ["expected a lstmbench.Backend", "came NoBackend"]),
    "Dictionary": ("parameters_round_trip", ["expected Parameters", "came dict"]),
    "OneLayerShort": ("parameters_round_trip", ["expected tensors", "layer0.input_kernel"]),
    "Transposed": ("parameters_round_trip", ["output_kernel", "(16, 11)", "(11, 16)"]),
    "OtherDtype": ("parameters_round_trip", ["expected float32", "came float64"]),
    "NoArrays": ("parameters_round_trip", ["output_bias", "expected a NumPy array"]),
    "Lossy": ("parameters_round_trip", ["layer0.input_kernel", "changed"]),
    "Tuple": ("python_numbers", ["expected an EpochLoss", "got tuple"]),
    "NumpyLoss": ("python_numbers", ["nats as float", "got float64"]),
    "WindowsForTokens": ("python_numbers", ["expected 72 tokens", "got 3"]),
    "ArrayOfIds": ("python_numbers", ["expected a list of ints", "got array"]),
    "NumpyIds": ("python_numbers", ["expected a list of ints", "np.int64"]),
    "RepeatsThePrefix": ("python_numbers", ["expected 3 new ids", "got [1, 2, "]),
    "NoFacts": ("runtime_facts", ["kernel"]),
    "MiscountsParameters": ("runtime_facts", ["came 12"]),
    "DiesInTraining": ("python_numbers", ["exit", "status 1"]),
    "NoSuchClass": (SPEC_CHECK, ["NoSuchClass"]),
}


#: Two threads for matrices of this size only wait for each other.
ALONE = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


def spec(name: str, **changes: Any) -> BackendSpec:
    given = {"factory": f"broken_backends:{name}", "environment": ALONE, **changes}
    return BackendSpec(**{"name": "broken", "summary": "", "modes": {"cpu": ("eager",)}, **given})


@cache
def outcomes(name: str) -> dict[str, Outcome]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(HERE))
        return {o.check: o for o in run_checks(spec(name), "cpu", "eager", "float32")}


@pytest.fixture
def check(monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Outcome]]:
    """Runs the kit on a spec."""
    monkeypatch.setenv("PYTHONPATH", str(HERE))

    def run(spec: BackendSpec, device: str = "cpu") -> dict[str, Outcome]:
        return {o.check: o for o in run_checks(spec, device, "eager", "float32")}

    return run


def dependents(name: str) -> set[str]:
    """All checks that build on a check, directly or not."""
    found = {name}
    for other, asked in CHECKS.items():  # a check stands behind those that it needs
        if found & set(asked.needs):
            found.add(other)
    return found - {name}


def first_failure(came: dict[str, Outcome]) -> str | None:
    return next((o.check for o in came.values() if o.outcome == FAILED), None)


@pytest.mark.parametrize("name", ["NumpyBackend", "Open", "OffersNoProduct"])
def test_a_sound_backend_passes_every_check(name: str) -> None:
    came = outcomes(name)
    assert tuple(came) == NAMES
    wrong = {o.check: o.detail for o in came.values() if o.outcome != PASSED}
    assert not wrong


@pytest.mark.parametrize(("name", "meant"), MEANT.items(), ids=MEANT.keys())
def test_the_check_meant_for_a_mistake_is_the_first_to_fail(name: str, meant: str) -> None:
    came = outcomes(name)
    assert first_failure(came) == meant, came[str(first_failure(came))]
    assert came[meant].detail
    assert came[meant].advice


@pytest.mark.parametrize("name", [*MEANT, "NoSuchClass", "DiesInTraining"])
def test_what_builds_on_a_failed_check_is_blocked(name: str) -> None:
    came = outcomes(name)
    assert tuple(came) == NAMES
    failed = [o.check for o in came.values() if o.outcome == FAILED]
    blocked = {o.check for o in came.values() if o.outcome == BLOCKED}
    if failed == [SPEC_CHECK]:
        assert blocked == set(CHECKS)
        return
    assert blocked == set().union(*map(dependents, failed))
    for check in blocked:
        needs = came[check].detail.removeprefix("builds on ").split(", ")
        assert set(needs) <= set(failed) | blocked


@pytest.mark.parametrize(("name", "said"), SAID.items(), ids=SAID.keys())
def test_a_failure_says_what_was_expected_and_what_came(
    name: str, said: tuple[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(HERE))
    check, words = said
    with closing(run_checks(spec(name), "cpu", "eager", "float32")) as came:
        first = next(outcome for outcome in came if outcome.outcome == FAILED)
    assert first.check == check
    for word in words:
        assert word in first.detail
    assert first.advice


def test_a_check_that_kills_its_child_does_not_stop_the_others() -> None:
    came = outcomes("DiesInTraining")
    assert came["parameters_round_trip"].outcome == PASSED
    assert came["absent_device"].outcome == PASSED


def test_views_of_live_memory_are_not_copies() -> None:
    """``parameters()`` must not change when training goes on."""
    assert first_failure(outcomes("Views")) is not None


def test_an_unavailable_backend_is_skipped_not_passed() -> None:
    came = outcomes("NowhereToRun")
    assert {o.outcome for o in came.values()} <= {SKIPPED, PASSED}
    assert "no such accelerator" in came["interface"].detail
    assert all(came[name].outcome == SKIPPED for name in CHECKS)


def test_an_expected_failure_is_acceptable_with_its_reason(check: Any) -> None:
    came = check(spec("Samples", expected_failures={"greedy_generation": "it is a gambler"}))
    outcome = came["greedy_generation"]
    assert (outcome.outcome, outcome.detail) == (EXPECTED, "it is a gambler")
    assert all(o.acceptable for o in came.values())


def test_an_unexpected_pass_is_not_acceptable(check: Any) -> None:
    came = check(spec("NumpyBackend", expected_failures={"clipping": "someone said so"}))
    outcome = came["clipping"]
    assert outcome.outcome == UNEXPECTED
    assert not outcome.acceptable
    assert "someone said so" in outcome.detail
    assert "expected_failures" in outcome.advice
    assert sum(not o.acceptable for o in came.values()) == 1


def test_another_failure_than_the_expected_one_is_not_acceptable(check: Any) -> None:
    came = check(spec("Samples", expected_failures={"absent_device": "no"}))
    assert not came["greedy_generation"].acceptable
    assert not came["absent_device"].acceptable


def test_an_expected_failure_of_a_check_that_is_none_is_not_acceptable(check: Any) -> None:
    came = check(spec("NumpyBackend", expected_failures={"clippping": "a slip of the pen"}))
    assert any(not o.acceptable and "clippping" in o.detail for o in came.values())


def test_another_interface_version_is_named(check: Any) -> None:
    outcome = check(spec("NumpyBackend", interface=2))[SPEC_CHECK]
    assert outcome.outcome == FAILED
    assert "expected interface 1, got 2" in outcome.detail


@pytest.fixture
def mine(cli: Any) -> Any:
    """A framework, and a plugin's package that imports it at registration."""
    (cli.site / "framework_of_mine.py").write_text("")
    package = cli.site / "lstmbench_mine"
    package.mkdir()
    (package / "__init__.py").write_text("import framework_of_mine\n")
    (package / "backend.py").write_text("from lstmbench_numpy.backend import NumpyBackend\n")
    (package / "needy.py").write_text("import no_such_framework\n")
    return cli


def test_a_framework_imported_at_registration_is_named(
    mine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(mine.site))
    eager = spec("", factory="lstmbench_mine.backend:NumpyBackend", imports=("framework_of_mine",))
    came = next(run_checks(eager, "cpu", "eager", "float32"))
    assert (came.check, came.outcome) == (SPEC_CHECK, FAILED)
    assert "got framework_of_mine" in came.detail
    assert "factory" in came.advice


def test_a_missing_framework_skips_everything(mine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(mine.site))
    needy = spec(
        "",
        factory="lstmbench_mine.needy:Model",
        imports=("no_such_framework",),
        install="pip install it",
    )
    came = list(run_checks(needy, "cpu", "eager", "float32"))
    assert {o.outcome for o in came} == {SKIPPED}
    assert {o.detail for o in came} == {"no_such_framework is not installed: pip install it"}


@pytest.mark.parametrize("name", CHECKS)
def test_every_check_says_what_it_asserts_and_what_to_do(name: str) -> None:
    assert CHECKS[name].summary
    assert len(CHECKS[name].advice) > 20


def test_no_scratch_folder_is_left(check: Any, tmp_path: Path, monkeypatch: Any) -> None:
    import tempfile

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    check(spec("DiesInTraining"))
    assert list(tmp_path.iterdir()) == []
