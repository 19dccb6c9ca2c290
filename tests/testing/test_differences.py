"""What is said of a tensor that differs, and of a loss that fits a common mistake."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lstmbench import reference
from lstmbench.backend import ModelConfig
from lstmbench.testing.differences import difference
from lstmbench.testing.explain import GATES, fitting_mistakes, with_gates
from lstmbench.testing.lab import random_batches

EXPECTED = np.array([3.0, 4.0])


@pytest.mark.parametrize(
    ("got", "said"),
    [
        ([6.0, 8.0], "w: got = 2.000 x expected, cosine 1.000 (relative error 1.0e+00)"),
        ([-3.0, -4.0], "w: got = -1.000 x expected, cosine -1.000 (relative error 2.0e+00)"),
        ([4.0, -3.0], "w: another direction, 1.000 times as long as expected, cosine 0.000"),
        ([3e-6, 4e-6], "w: got = 1e-06 x expected, cosine 1.000"),
        ([0.0, 0.0], "w: got zero: nothing has changed"),
        ([3.0, np.nan], "w: 1 of 2 values are not finite"),
        ([3.0, 4.0, 5.0], "w: expected shape (2,), got (3,)"),
    ],
)
def test_a_tensor_is_told_by_factor_and_direction(got: list[float], said: str) -> None:
    assert str(difference("w", np.array(got), EXPECTED)).startswith(said)


def test_a_number_has_no_direction() -> None:
    assert str(difference("loss", np.array(3.0), np.array(2.0))) == (
        "loss: got = 1.500 x expected (relative error 5.0e-01)"
    )


def test_what_should_be_zero_is_told_by_its_size() -> None:
    assert "expected zero, got a norm of 5" in str(difference("w", EXPECTED, 0 * EXPECTED))


@given(factor=st.floats(0.02, 900).map(lambda f: round(f, 3)), sign=st.sampled_from([-1, 1]))
def test_a_factor_is_found(factor: float, sign: int) -> None:
    found = difference("w", sign * factor * EXPECTED, EXPECTED)
    assert found.scale == pytest.approx(sign * factor)
    assert found.cosine == pytest.approx(sign)


MODEL = ModelConfig(11, 16, 2)
START = reference.draw_parameters(MODEL, 3, scale=0.3, bias_scale=0.3)
WINDOW = random_batches(1, 4, 6)


@pytest.mark.parametrize("order", list(permutations(range(4)))[1:])
def test_each_order_of_the_gates_is_recognised(order: tuple[int, ...]) -> None:
    nats = reference.evaluate(with_gates(START, order), WINDOW).nats
    names = ", ".join(GATES[gate] for gate in order)
    assert f"this loss fits the gates read as {names}" in fitting_mistakes(
        START, WINDOW, nats, 1e-4
    )


def test_the_right_loss_fits_no_mistake() -> None:
    nats = reference.evaluate(START.astype(np.float64), WINDOW).nats
    assert fitting_mistakes(START, WINDOW, nats, 1e-4) == []


def test_a_mean_is_recognised() -> None:
    nats = reference.evaluate(START.astype(np.float64), WINDOW).nats
    (said,) = fitting_mistakes(START, WINDOW, nats / 24, 1e-4)
    assert "24 tokens" in said
