"""What is proposed for a name that is none."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lstmbench.plugin.names import MEANT, nearest, unknown

BACKENDS = ("jax", "keras", "numpy", "tf-scratch", "torch", "torch-scratch")


@pytest.mark.parametrize(
    ("name", "names", "hint"),
    [
        ("gpu", ("cpu", "cuda:0", "mps"), "did you mean 'cuda:0' or 'mps'?"),
        ("GPU", ("cpu", "mps"), "did you mean 'mps'?"),
        ("tensorflow", BACKENDS, "did you mean 'keras' or 'tf-scratch'?"),
        ("pytorch", BACKENDS, "did you mean 'torch' or 'torch-scratch'?"),
        ("nunpy", BACKENDS, "did you mean 'numpy'?"),
        ("tensorflow", ("numpy",), "there are: numpy"),
    ],
)
def test_what_is_meant_is_proposed(name: str, names: tuple[str, ...], hint: str) -> None:
    assert str(unknown("backend", name, names)) == f"unknown backend {name!r}: {hint}"


@given(st.sampled_from([*MEANT, "torhc"]) | st.text(max_size=5), st.sets(st.sampled_from(BACKENDS)))
def test_only_what_there_is_is_proposed(name: str, names: set[str]) -> None:
    assert set(nearest(name, sorted(names))) <= names


@pytest.mark.parametrize(
    "command", [("run", "--backends", "numpy", "--devices"), ("check", "numpy", "--device")]
)
def test_commands_say_it(call: Any, one_line: Any, command: tuple[str, ...]) -> None:
    one_line(call(*command, "gpu"), "unknown device 'gpu': did you mean 'cuda:0' or 'mps'?")
