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
from lstmbench.testing.outcome import (
    BLOCKED,
    EXPECTED,
    FAILED,
    NOT_CHECKED,
    PASSED,
    REFERENCE_CHECK,
    SKIPPED,
    SPEC_CHECK,
    TOO_SLOW,
    UNEXPECTED,
    Outcome,
    nothing_checked,
)
from lstmbench.testing.runner import NAMES, Settings, run_checks

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
    "Deferred": "epoch_is_finished",
    "Dispatched": "epoch_is_finished",
    "StepDeferred": "update_is_finished",
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
    "OneMatmulOnly": "matrix_product",
    "MultipliesItsKernel": "matrix_product",
    "AnyDevice": "absent_device",
    "WrongError": "absent_device",
}
#: The mistake, the check, and what it must say.
SAID = {
    "Incomplete": ("interface", ["generate"]),
    "NoBackend": ("interface", ["expected a lstmbench.Backend", "got NoBackend"]),
    "Dictionary": ("parameters_round_trip", ["expected Parameters", "got dict"]),
    "OneLayerShort": ("parameters_round_trip", ["expected tensors", "layer0.input_kernel"]),
    "Transposed": ("parameters_round_trip", ["output_kernel", "(16, 11)", "(11, 16)"]),
    "OtherDtype": ("parameters_round_trip", ["expected float32", "got float64"]),
    "NoArrays": ("parameters_round_trip", ["output_bias", "expected a NumPy array"]),
    "Lossy": ("parameters_round_trip", ["layer0.input_kernel", "changed"]),
    "Tuple": ("training_answer", ["expected an EpochLoss", "tuple"]),
    "NumpyLoss": ("training_answer", ["nats as float", "float64"]),
    "WindowsForTokens": ("training_answer", ["expected 72 tokens", " 3"]),
    "ArrayOfIds": ("generation_answer", ["expected a list of ints", "array"]),
    "NumpyIds": ("generation_answer", ["expected a list of ints", "np.int64"]),
    "RepeatsThePrefix": ("generation_answer", ["expected 3 new ids", " [1, 2, "]),
    "NoFacts": ("runtime_facts", ["kernel"]),
    "MiscountsParameters": ("runtime_facts", ["got 12"]),
    "DiesInTraining": ("training_answer", ["exit", "status 1"]),
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
        patch.syspath_prepend(str(HERE))
        return {o.check: o for o in run_checks(spec(name), "cpu", "eager", "float32")}


@pytest.fixture
def check(monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Outcome]]:
    """Runs the kit on a spec."""
    monkeypatch.syspath_prepend(str(HERE))

    def run(spec: BackendSpec, mode: str = "eager", **settings: Any) -> dict[str, Outcome]:
        checked = run_checks(spec, "cpu", mode, "float32", Settings(**settings))
        return {o.check: o for o in checked}

    return run


def dependents(name: str) -> set[str]:
    """All checks that build on a check, directly or not."""
    found = {name}
    for other, asked in CHECKS.items():  # a check stands behind those that it needs
        if found & set(asked.needs):
            found.add(other)
    return found - {name}


def first_failure(got: dict[str, Outcome]) -> str | None:
    return next((o.check for o in got.values() if o.outcome == FAILED), None)


@pytest.mark.parametrize("name", ["NumpyBackend", "Open", "OffersNoMatmul"])
def test_a_valid_backend_passes_every_check(name: str) -> None:
    got = outcomes(name)
    assert tuple(got) == NAMES
    wrong = {o.check: o.detail for o in got.values() if o.outcome not in (PASSED, NOT_CHECKED)}
    assert not wrong
    left_out = {o.check for o in got.values() if o.outcome == NOT_CHECKED}
    assert left_out == {name for name, check in CHECKS.items() if check.features}


@pytest.mark.parametrize(("name", "meant"), MEANT.items(), ids=MEANT.keys())
def test_the_check_meant_for_a_mistake_is_the_first_to_fail(name: str, meant: str) -> None:
    got = outcomes(name)
    assert first_failure(got) == meant, got[str(first_failure(got))]
    assert got[meant].detail
    assert got[meant].advice


@pytest.mark.parametrize("name", [*MEANT, "NoSuchClass", "DiesInTraining"])
def test_what_builds_on_a_failed_check_is_blocked(name: str) -> None:
    got = outcomes(name)
    assert tuple(got) == NAMES
    failed = [o.check for o in got.values() if o.outcome == FAILED]
    blocked = {o.check for o in got.values() if o.outcome == BLOCKED}
    if failed == [SPEC_CHECK]:
        assert blocked == set(CHECKS)  # nothing is asked of a class that is not there
        return
    lacking = {name for name, check in CHECKS.items() if check.features}
    assert blocked == set().union(*map(dependents, failed)) - lacking
    for check in blocked:
        needs = got[check].detail.removeprefix("builds on ").split(", ")
        assert set(needs) <= set(failed) | blocked


@pytest.mark.parametrize(("name", "said"), SAID.items(), ids=SAID.keys())
def test_a_failure_says_what_was_expected_and_what_it_got(
    name: str, said: tuple[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(HERE))
    check, words = said
    with closing(run_checks(spec(name), "cpu", "eager", "float32")) as got:
        first = next(outcome for outcome in got if outcome.outcome == FAILED)
    assert first.check == check
    for word in words:
        assert word in first.detail
    assert first.advice


def test_a_check_that_kills_its_child_does_not_stop_the_others() -> None:
    got = outcomes("DiesInTraining")
    assert got["parameters_round_trip"].outcome == PASSED
    assert got["absent_device"].outcome == PASSED


def test_views_of_live_memory_are_not_copies() -> None:
    """``parameters()`` must not change when training goes on."""
    assert first_failure(outcomes("Views")) == "parameters_are_copies"


def test_an_unavailable_backend_is_skipped_not_passed() -> None:
    got = outcomes("NowhereToRun")
    assert {o.outcome for o in got.values()} <= {SKIPPED, PASSED}
    assert "no such accelerator" in got["interface"].detail
    asked = [o for o in got.values() if o.check not in (SPEC_CHECK, REFERENCE_CHECK)]
    assert {o.outcome for o in asked} == {SKIPPED}
    assert nothing_checked(got.values())


def test_an_expected_failure_is_acceptable_with_its_reason(check: Any) -> None:
    got = check(spec("Samples", expected_failures={"greedy_generation": "it is a gambler"}))
    outcome = got["greedy_generation"]
    assert (outcome.outcome, outcome.detail) == (EXPECTED, "it is a gambler")
    assert all(o.acceptable for o in got.values())


def test_an_unexpected_pass_is_not_acceptable(check: Any) -> None:
    got = check(spec("NumpyBackend", expected_failures={"clipping": "someone said so"}))
    outcome = got["clipping"]
    assert outcome.outcome == UNEXPECTED
    assert not outcome.acceptable
    assert "someone said so" in outcome.detail
    assert "expected_failures" in outcome.advice
    assert sum(not o.acceptable for o in got.values()) == 1


def test_what_builds_on_an_expected_failure_is_reported_and_not_failed(check: Any) -> None:
    got = check(spec("BiasTwice", expected_failures={"one_step": "two biases"}))
    assert (got["one_step"].outcome, got["one_step"].detail) == (EXPECTED, "two biases")
    waiting = {o.check for o in got.values() if o.outcome == NOT_CHECKED}
    assert waiting == dependents("one_step") | {n for n, c in CHECKS.items() if c.features}
    assert "one_step, which is expected to fail" in got["clipping"].detail
    assert all(o.acceptable for o in got.values())


def test_what_builds_on_another_failure_too_is_blocked(check: Any) -> None:
    asked = {"only": ("one_step", "state_carried", "clipping", "several_steps")}
    expected = spec("BiasTwiceAndStateLost", expected_failures={"one_step": "two biases"})
    got = check(expected, **asked)
    assert got["clipping"].outcome == NOT_CHECKED
    assert got["state_carried"].outcome == FAILED
    assert got["several_steps"].outcome == BLOCKED


@pytest.mark.parametrize(("mode", "outcome"), [("slow", EXPECTED), ("eager", FAILED)])
def test_a_failure_can_be_expected_of_one_mode(check: Any, mode: str, outcome: str) -> None:
    reasons = {"slow:greedy_generation": "this mode gambles"}
    offered = {"cpu": ("eager", "slow")}
    samples = spec("Samples", expected_failures=reasons, modes=offered)
    assert check(samples, mode, only=("greedy_generation",))["greedy_generation"].outcome == outcome


@pytest.mark.parametrize("key", ["clippping", "eager:clippping", "egaer:clipping"])
def test_an_expectation_of_what_is_none_is_not_acceptable(check: Any, key: str) -> None:
    got = check(spec("NumpyBackend", expected_failures={key: "a slip"}), only=("interface",))
    assert not got[SPEC_CHECK].acceptable
    assert key.rpartition(":")[2] in got[SPEC_CHECK].detail


def test_only_some_checks_are_run(check: Any) -> None:
    got = check(spec("MeanForSum"), only=("one_step", "matrix_product"))
    assert tuple(got) == (SPEC_CHECK, "one_step", "matrix_product")
    # what it builds on has not been asked
    assert got["one_step"].outcome == FAILED


@pytest.mark.parametrize(
    ("method", "failing"),
    [
        ("train_epoch", "training_answer"),
        ("evaluate", "evaluation_answer"),
        ("generate", "generation_answer"),
        ("runtime", "runtime_facts"),
        ("prepare", "parameters_round_trip"),
        ("__init__", "interface"),
    ],
)
def test_a_crash_is_told_by_the_plugin_s_own_frames(check: Any, method: str, failing: str) -> None:
    crashing = spec("Crashes", environment={**ALONE, "CRASH_IN": method})
    got = check(crashing)
    assert first_failure(got) == failing
    outcome = got[failing]
    assert outcome.detail.startswith(f"{method}() raised NameError: name 'undefined_name'")
    assert "(broken_backends.py, line " in outcome.detail
    assert "plugin's own" in outcome.advice
    told = "\n".join(outcome.lines)
    assert "in _compute" in told
    assert "undefined_name" in told
    assert "lstmbench/testing" not in told
    assert "Traceback" in outcome.output


def test_an_assertion_of_the_plugin_is_a_crash_too(check: Any) -> None:
    got = check(spec("Asserts"), only=("interface",))["interface"]
    assert got.detail.startswith("__init__() raised AssertionError: 16 is odd")


def test_what_is_printed_comes_with_the_check_that_printed_it(check: Any) -> None:
    got = check(spec("Prints"), only=("training_answer", "evaluation_answer"))
    assert got["training_answer"].output == "training\nto stderr\n"
    assert got["evaluation_answer"].output == ""


def test_the_log_is_kept_where_it_is_asked_for(check: Any, tmp_path: Path) -> None:
    check(spec("Prints"), only=("training_answer",), log=tmp_path / "log")
    assert "training\n" in (tmp_path / "log").read_text()


def test_the_environment_is_set_for_the_child(check: Any) -> None:
    got = check(spec("Crashes"), only=("interface",), environment={"CRASH_IN": "__init__"})
    assert got["interface"].outcome == FAILED


def test_slow_is_called_slow(check: Any) -> None:
    hanging = spec("Hangs", expected_failures={"evaluation_answer": "hangs as well"})
    asked = ("training_answer", "parameters_are_copies", "evaluation_answer", "absent_device")
    got = check(hanging, only=asked, seconds=3.0)
    slow = got["training_answer"]
    assert slow.outcome == TOO_SLOW
    assert not slow.acceptable
    assert "no answer within 3 s" in slow.detail
    assert "--timeout" in slow.advice
    assert "in train_epoch" in "\n".join(slow.lines)
    assert got["parameters_are_copies"].outcome == BLOCKED
    assert got["evaluation_answer"].outcome == EXPECTED
    assert got["absent_device"].outcome == PASSED


def test_a_loss_that_is_no_number_is_not_blamed_on_its_type(check: Any) -> None:
    got = check(spec("LossIsNan"), only=("training_answer",))["training_answer"]
    assert "the loss is nan" in got.detail
    assert "lstmbench debug" in got.advice


@pytest.mark.parametrize(
    ("name", "failing", "said"),
    [
        ("SwappedGates", "forward_loss", "fits the gates read as input, cell, forget, output"),
        ("TargetsReread", "forward_loss", "targets of [batch, steps] read as [steps, batch]"),
        ("BiasTwice", "one_step", "layer0.bias: got = 2.000 x expected, cosine 1.000"),
        ("GoesUphill", "one_step", "layer0.bias: got = -1.000 x expected, cosine -1.000"),
        ("SumForMean", "one_step", "output_bias: got = 24.000 x expected, cosine 1.000"),
        ("SecondLayerUntrained", "several_layers", "layer1.bias: got zero: nothing has changed"),
    ],
)
def test_a_difference_is_explained(check: Any, name: str, failing: str, said: str) -> None:
    got = check(spec(name), only=(failing,))[failing]
    assert got.outcome == FAILED
    assert said in "\n".join(got.lines)


def test_the_worst_tensor_is_named_first(check: Any) -> None:
    got = check(spec("BiasTwice"), only=("one_step",))["one_step"]
    assert "1 of 6 quantities" in got.detail
    assert "most of all layer0.bias: got = 2.000 x expected" in got.detail


def test_another_failure_than_the_expected_one_is_not_acceptable(check: Any) -> None:
    got = check(spec("Samples", expected_failures={"absent_device": "no"}))
    assert not got["greedy_generation"].acceptable
    assert not got["absent_device"].acceptable


def test_imports_that_the_backend_does_not_need_are_not_acceptable(check: Any) -> None:
    got = check(spec("NumpyBackend", imports=("numpy", "theano")), only=("interface",))
    assert got[SPEC_CHECK].outcome == FAILED
    assert "imports names theano" in got[SPEC_CHECK].detail
    assert got["interface"].outcome == PASSED


def test_another_interface_version_is_named(check: Any) -> None:
    outcome = check(spec("NumpyBackend", interface=3))[SPEC_CHECK]
    assert outcome.outcome == FAILED
    assert "expected interface 2 or an earlier one, got 3" in outcome.detail


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
    monkeypatch.syspath_prepend(str(mine.site))
    eager = spec("", factory="lstmbench_mine.backend:NumpyBackend", imports=("framework_of_mine",))
    got = next(run_checks(eager, "cpu", "eager", "float32"))
    assert (got.check, got.outcome) == (SPEC_CHECK, FAILED)
    assert "got framework_of_mine" in got.detail
    assert "factory" in got.advice


def test_a_missing_framework_skips_everything(mine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(mine.site))
    needy = spec(
        "",
        factory="lstmbench_mine.needy:Model",
        imports=("no_such_framework",),
        install="pip install it",
    )
    got = list(run_checks(needy, "cpu", "eager", "float32"))
    assert {o.outcome for o in got} == {SKIPPED}
    assert {o.detail for o in got} == {"no_such_framework is not installed: pip install it"}


@pytest.mark.parametrize("name", CHECKS)
def test_every_check_says_what_it_asserts_and_what_to_do(name: str) -> None:
    assert CHECKS[name].summary
    assert len(CHECKS[name].advice) > 20


def test_no_scratch_folder_is_left(check: Any, tmp_path: Path, monkeypatch: Any) -> None:
    import tempfile

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    check(spec("DiesInTraining"))
    assert list(tmp_path.iterdir()) == []
