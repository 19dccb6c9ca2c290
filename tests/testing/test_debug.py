"""``lstmbench debug``: the first quantity that differs, and nothing behind it."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

PLUGIN = """
from lstmbench import BackendSpec, hookimpl

@hookimpl
def lstmbench_backends():
    yield BackendSpec(
        "mine", "", "broken_backends:{name}", {{"cpu": ("eager", "other")}},
        environment={{"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}},
    )
"""


@pytest.fixture
def debug(cli: Any) -> Callable[..., Any]:
    """Debugs a broken backend under the name ``mine``."""

    def run(name: str, *options: str) -> Any:
        cli.plugin("mine", PLUGIN.format(name=name))
        return cli("debug", "mine", *options)

    return run


def test_an_honest_backend_differs_nowhere(debug: Any) -> None:
    done = debug("NumpyBackend", "--layers", "2", "--learning-rate", "1e-5")
    assert done.returncode == 0, done.stdout
    assert done.stdout.count(": as expected") == 6
    assert "<--" not in done.stdout
    assert "Nothing differs at this size" in done.stdout


@pytest.mark.parametrize(
    ("name", "step", "said"),
    [
        ("SwappedGates", "evaluate(), one window", "read as input, cell, forget, output"),
        ("MeanForSum", "evaluate(), one window", "a mean over the window's 24 tokens"),
        ("BiasTwice", "clipping idle", "gradient of layer0.bias: got = 2.000 x expected"),
        ("GoesUphill", "clipping idle", "output_bias: got = -1.000 x expected"),
        ("NeverClips", "clipping at work", "got times 1"),
        ("StateNeverCarried", "evaluate(), two windows", "loss: got = "),
        ("TrainingStateNeverCarried", "train_epoch(), two windows", "layer0.recurrent_kernel"),
        ("Lossy", "load_parameters(), then parameters()", "layer0.input_kernel"),
    ],
)
def test_the_first_difference_ends_it(debug: Any, name: str, step: str, said: str) -> None:
    done = debug(name)
    assert done.returncode == 1, done.stdout + done.stderr
    titles = re.findall(r"^(.+): (as expected|differs)$", done.stdout, flags=re.MULTILINE)
    assert [how for _, how in titles] == ["as expected"] * (len(titles) - 1) + ["differs"]
    assert step in titles[-1][0]
    assert said in done.stdout


def test_a_crash_is_told_by_the_plugin_s_own_frames(debug: Any) -> None:
    done = debug("Asserts", "-s")
    assert done.returncode == 1
    assert "__init__() raised AssertionError: 16 is odd (broken_backends.py, line" in done.stdout
    assert "    | Traceback" in done.stdout


def test_a_backend_that_dies_or_hangs_is_one_line(debug: Any) -> None:
    for name, options, said in (
        ("DiesInTraining", (), "exit status 1"),
        ("Hangs", ("--timeout", "4"), "no answer within 4 s"),
    ):
        done = debug(name, *options)
        assert done.returncode == 2
        assert said in done.stderr
        assert len(done.stderr.splitlines()) == 1


def test_the_mode_is_the_default_or_the_one_named(cli: Any, debug: Any, one_line: Any) -> None:
    assert "mine:eager on cpu" in debug("NumpyBackend").stdout
    assert "mine:other on cpu" in cli("debug", "mine:other").stdout
    one_line(cli("debug", "mine:nosuch"), "nosuch")
