"""Both entries of the kit: ``lstmbench check`` and the class for pytest."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import Any

import pytest

PLUGIN = """
from lstmbench import BackendSpec, hookimpl

@hookimpl
def lstmbench_backends():
    yield BackendSpec(
        "mine",
        "",
        {factory!r},
        {modes!r},
        imports={imports!r},
        install="pip install it",
        environment={{"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}},
        expected_failures={expected!r},
    )
"""
TEST = """
from lstmbench.testing import Conformance

class TestMine(Conformance):
    backend = "mine"
"""


@pytest.fixture
def entries(cli: Any) -> Any:
    """Installs ``mine``; returns what (check, pytest) say of it."""

    def install(
        factory: str,
        *options: str,
        modes: dict[str, tuple[str, ...]] | None = None,
        expected: dict[str, str] | None = None,
    ) -> tuple[Any, Any]:
        source = PLUGIN.format(
            factory=factory if ":" in factory else f"broken_backends:{factory}",
            modes=modes or {"cpu": ("eager",)},
            expected=expected or {},
            imports=("no_such_framework",) if "needy" in factory else (),
        )
        cli.plugin("mine", source)
        (cli.folder / "test_mine.py").write_text(TEST)
        command = [sys.executable, "-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider", *options]
        tested = subprocess.run(
            [*command, "test_mine.py"],
            cwd=cli.folder,
            env=cli.environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        mode = "all" if options else "default"
        return cli("check", "mine", "--mode", mode), tested

    return install


def counts(tested: Any) -> dict[str, int]:
    summary = tested.stdout.splitlines()[-1]
    return {what: int(n) for n, what in re.findall(r"(\d+) (passed|failed|skipped)", summary)}


def test_a_valid_backend_passes_both(entries: Any) -> None:
    checked, tested = entries("NumpyBackend")
    assert checked.returncode == 0, checked.stdout
    assert "passed" in checked.stdout
    assert not re.search("failed|blocked|skipped", checked.stdout)
    assert re.search(r"^  \d\d passed", checked.stdout, flags=re.MULTILINE)
    assert tested.returncode == 0, tested.stdout
    assert "failed" not in counts(tested)


def test_a_broken_backend_fails_both_and_is_told_what_to_do(entries: Any) -> None:
    checked, tested = entries("MeanForSum")
    assert checked.returncode == 1
    assert re.search(r"loss_is_a_sum +failed +.*expected", checked.stdout)
    assert "loss_is_a_sum: Return the sum of nats" in checked.stdout
    assert re.search(r"forward_loss +blocked +builds on loss_is_a_sum", checked.stdout)
    assert tested.returncode == 1
    assert "Return the sum of nats" in tested.stdout
    assert counts(tested)["failed"] > 2  # blocked is no pass either


@pytest.mark.parametrize("factory", ["NowhereToRun", "lstmbench_needy.backend:Model"])
def test_a_run_where_everything_was_skipped_fails_at_both(
    cli: Any, entries: Any, factory: str
) -> None:
    package = cli.site / "lstmbench_needy"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "backend.py").write_text("import no_such_framework\n")
    checked, tested = entries(factory)
    assert checked.returncode == 1, checked.stdout
    assert "Nothing was checked" in checked.stdout
    assert tested.returncode == 1, tested.stdout
    assert counts(tested)["failed"] == 1
    assert "was skipped everywhere" in tested.stdout


def test_a_backend_without_a_mode_here_fails_at_both(entries: Any) -> None:
    checked, tested = entries("NumpyBackend", modes={"tpu": ("eager",)})
    assert checked.returncode == 2
    assert tested.returncode == 1
    assert "no mode for any device here" in tested.stdout


def test_an_expected_failure_is_accepted_at_both(entries: Any) -> None:
    checked, tested = entries("Samples", expected={"greedy_generation": "a gambler"})
    assert checked.returncode == 0, checked.stdout
    assert re.search(r"greedy_generation +expected failure +\S+ s +a gambler", checked.stdout)
    assert tested.returncode == 0, tested.stdout


def test_an_unexpected_pass_fails_at_both(entries: Any) -> None:
    checked, tested = entries("NumpyBackend", expected={"clipping": "someone said so"})
    assert checked.returncode == 1
    assert re.search(r"clipping +unexpected pass", checked.stdout)
    assert tested.returncode == 1
    assert counts(tested)["failed"] == 1
    assert "someone said so" in tested.stdout


def test_all_modes_are_an_option(entries: Any) -> None:
    modes = {"cpu": ("eager", "other")}
    checked, tested = entries("NumpyBackend", "--lstmbench-all-modes", modes=modes)
    assert checked.returncode == 0, checked.stdout
    assert "mine:eager on cpu" in checked.stdout
    assert "mine:other on cpu" in checked.stdout
    assert tested.returncode == 0, tested.stdout
    assert counts(tested)["passed"] == checked.stdout.count(" passed ") + 1


def test_what_builds_on_an_expected_failure_is_reported_at_both(entries: Any) -> None:
    checked, tested = entries("BiasTwice", expected={"eager:one_step": "two biases"})
    assert checked.returncode == 0, checked.stdout
    assert re.search(r"clipping +not checked +builds on one_step", checked.stdout)
    assert tested.returncode == 0, tested.stdout
    assert counts(tested)["skipped"] > 3


def test_a_crash_is_told_at_both(entries: Any) -> None:
    checked, tested = entries("Asserts")
    for text in (checked.stdout, tested.stdout):
        assert "__init__() raised AssertionError: 16 is odd (broken_backends.py, line" in text
        assert "in __init__" in text
        told = [line for line in text.splitlines() if not line.startswith("SKIPPED")]
        assert not any("testing/conformance.py" in line for line in told)


def test_what_the_backend_prints_is_shown_at_both(cli: Any, entries: Any) -> None:
    checked, tested = entries("Prints", "-s")
    assert "training" not in checked.stdout.replace("training_", "")
    assert "training\nto stderr\n" in tested.stdout
    log = cli.folder / "printed"
    asked = ("--only", "training_answer", "--log", log)
    shown = cli("check", "mine:eager", "-s", *asked)
    assert "    | training\n    | to stderr\n" in shown.stdout
    assert f"What the backend printed: {log}" in shown.stdout
    assert "training\n" in log.read_text()


def test_one_check_alone(cli: Any, entries: Any) -> None:
    entries("MeanForSum")
    done = cli("check", "mine", "--only", "one_step", "--verbose", "--timeout", "60")
    assert done.returncode == 1
    rows = re.findall(r"^  (\w+) +(\w+) +[\d.]+ s", done.stdout, flags=re.MULTILINE)
    assert rows == [("spec_imports_no_framework", "passed"), ("one_step", "failed")]
    assert "One step with clipping idle changes every tensor" in done.stdout
    assert "    loss: got = 0.042 x expected (relative error" in done.stdout


def test_options_that_cannot_be_meant(cli: Any, one_line: Any) -> None:
    one_line(cli("check", "numpy", "--only", "one_stp"), "one_stp", "did you mean 'one_step'")
    one_line(cli("check", "numpy", "--timeout", "0"), "--timeout", "positive")
    one_line(cli("check", "numpy", "--env", "x"), "--env", "NAME=VALUE")


def test_an_unknown_backend_is_told_the_ways_to_one(cli: Any, one_line: Any) -> None:
    for command in ("check", "debug"):
        one_line(cli(command, "nosuch"), "'nosuch'", "numpy", "lstmbench list", "lstmbench new")
    one_line(cli("check", "torhc"), "did you mean 'torch'")
    one_line(cli("check", "torch"), "is not installed", "pip install")


def test_check_of_another_interface_is_refused(cli: Any, one_line: Any) -> None:
    source = PLUGIN.format(factory="x:y", modes={"cpu": ("eager",)}, expected={}, imports=())
    cli.plugin("mine", source.replace("imports=", "interface=3, imports="))
    one_line(cli("check", "mine"), "mine", "interface 3", "has 1 to 2")


def test_the_repository_s_own_backend_passes(cli: Any) -> None:
    done = cli("check", "numpy", "--dtype", "float64")
    assert done.returncode == 0, done.stdout
    assert done.stderr == ""
