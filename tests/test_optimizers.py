"""Updates against their published definitions, one number at a time."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lstmbench import reference
from lstmbench.backend import MOMENTS, ModelConfig, Parameters, TrainingConfig
from lstmbench.optimizers import Optimizer, clipped_to_value, global_norm

MODEL = ModelConfig(3, 2, 2, embedding_size=2)
TRAINING = TrainingConfig(0.1, math.inf, 1, 1)
SEEDS = st.integers(0, 2**16)


def drawn(seed: int, scale: float = 1.0) -> Parameters:
    return reference.draw_parameters(MODEL, seed, scale, scale).astype(np.float64)


def adam(slopes: list[float]) -> Iterator[float]:
    """Steps for a rate of one: Kingma & Ba (2015), algorithm 1."""
    m = v = 0.0
    for t, g in enumerate(slopes, 1):
        m = 0.9 * m + 0.1 * g
        v = 0.999 * v + 0.001 * g**2
        yield m / (1 - 0.9**t) / (math.sqrt(v / (1 - 0.999**t)) + 1e-8)


def rmsprop(slopes: list[float]) -> Iterator[float]:
    """Steps for a rate of one: rmsprop.lua with alpha 0.95."""
    v = 0.0
    for g in slopes:
        v = 0.95 * v + 0.05 * g**2
        yield g / (math.sqrt(v) + 1e-8)


def sgd(slopes: list[float]) -> Iterator[float]:
    yield from slopes


@pytest.mark.parametrize("rule", [sgd, adam, rmsprop])
@given(seed=SEEDS, updates=st.integers(1, 10))
def test_every_number_moves_as_published(rule: object, seed: int, updates: int) -> None:
    optimizer = Optimizer(replace(TRAINING, optimizer=rule.__name__))  # type: ignore[attr-defined]
    start = parameters = drawn(seed)
    gradients = [drawn(seed + 1 + number) for number in range(updates)]
    for gradient in gradients:
        parameters = optimizer.step(parameters, gradient)
    for (name, before), (_, after) in zip(start.items(), parameters.items(), strict=True):
        slopes = [dict(gradient.items())[name].flat[0] for gradient in gradients]
        moved = sum(rule(slopes))  # type: ignore[operator]
        assert after.flat[0] == pytest.approx(before.flat[0] - 0.1 * moved, rel=1e-9), name
    assert optimizer.updates == updates
    assert len(optimizer.moments) == len(MOMENTS[rule.__name__])  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", MOMENTS)
@given(seed=SEEDS, clip=st.floats(0.01, 10))
def test_what_is_clipped_is_what_the_optimizer_gets(name: str, seed: int, clip: float) -> None:
    start, gradient = drawn(seed), drawn(seed + 1)
    scale = min(1.0, clip / global_norm(gradient))
    scaled = gradient.like([scale * array for _, array in gradient.items()])
    training = replace(TRAINING, optimizer=name)
    one = Optimizer(replace(training, clip_norm=clip)).step(start, gradient)
    other = Optimizer(training).step(start, scaled)
    for (_, a), (_, b) in zip(one.items(), other.items(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9)


@given(seed=SEEDS, bound=st.floats(0.01, 3))
def test_values_are_clipped_one_by_one(seed: int, bound: float) -> None:
    gradient = drawn(seed)
    for (_, before), (_, after) in zip(
        gradient.items(), clipped_to_value(gradient, bound).items(), strict=True
    ):
        assert np.abs(after).max() <= bound
        np.testing.assert_array_equal(
            after[np.abs(before) <= bound], before[np.abs(before) <= bound]
        )
        np.testing.assert_array_equal(np.sign(after), np.sign(before))


@pytest.mark.parametrize("name", MOMENTS)
def test_a_second_trained_bias_doubles_what_the_sum_moves(name: str) -> None:
    """Two biases whose gradients are equal, each moved by itself."""
    start, gradient = drawn(0), drawn(1)
    training = replace(TRAINING, optimizer=name)
    one = dict(Optimizer(training).step(start, gradient).items())
    two = dict(Optimizer(training, bias_copies=2).step(start, gradient).items())
    for key, before in start.items():
        times = 2 if key in ("layer0.bias", "layer1.bias") else 1
        np.testing.assert_allclose(two[key] - before, times * (one[key] - before), rtol=1e-9)
    assert global_norm(gradient, 2) > global_norm(gradient)


@pytest.mark.parametrize("name", MOMENTS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_dtype_given_is_kept(name: str, dtype: str) -> None:
    optimizer = Optimizer(replace(TRAINING, optimizer=name, clip_norm=0.5))
    moved = optimizer.step(drawn(0).astype(dtype), drawn(1).astype(dtype))
    kept = [array for each in (moved, *optimizer.moments) for _, array in each.items()]
    assert {str(array.dtype) for array in kept} == {dtype}


@pytest.mark.parametrize("name", MOMENTS)
def test_a_gradient_of_zero_moves_nothing(name: str) -> None:
    start = drawn(0)
    optimizer = Optimizer(replace(TRAINING, optimizer=name, clip_norm=1.0))
    assert optimizer.step(start, reference.zeros_like(start)).digest() == start.digest()
