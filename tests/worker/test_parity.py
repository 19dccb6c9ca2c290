"""Parity: an honest backend passes, and each kind of mistake is named."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lstmbench_numpy.backend import NumpyBackend

from lstmbench import reference
from lstmbench.backend import EpochLoss, ModelConfig, Parameters, Task, TrainingConfig
from lstmbench.batches import Batches, partition
from lstmbench.worker import parity

VOCABULARY = 12


def task(dtype: str = "float32", layers: int = 1) -> Task:
    return Task(
        ModelConfig(VOCABULARY, 64, layers),
        TrainingConfig(1.0, 1.0, 8, 10),
        device="cpu",
        mode="eager",
        dtype=dtype,
        threads=1,
        seed=0,
    )


@pytest.fixture
def batches() -> Batches:
    """A text whose next symbol can often be told, with few of the rarest."""
    rng = np.random.default_rng(0)
    text = np.cumsum(rng.choice([1, 2], p=[0.9, 0.1], size=400)) % (VOCABULARY - 2) + 1
    return partition(text, 8, 10)


class Altered(NumpyBackend):
    """The reference with another step."""

    def step(self, start: Parameters, gradient: Parameters) -> Parameters:
        return reference.sgd_step(start, gradient, self.task.training)

    def next_state(self, state: reference.State) -> reference.State:
        return state

    def train_epoch(self, batches: Batches) -> EpochLoss:
        parameters, total = self._parameters, 0.0
        state = reference.zero_state(parameters, batches.inputs.shape[1])
        for inputs, targets in batches:
            nats, gradient, state = reference.gradients(parameters, inputs, targets, state)
            parameters, state = self.step(parameters, gradient), self.next_state(state)
            total += nats
        self._parameters = parameters
        return EpochLoss(total, batches.tokens)


class BiasTwice(Altered):
    def step(self, start: Parameters, gradient: Parameters) -> Parameters:
        arrays = [a for _, a in super().step(start, gradient).items()]
        arrays[2] = arrays[2] + (arrays[2] - start.layers[0].bias)
        return Parameters.from_arrays(arrays)


class NoClipping(Altered):
    def step(self, start: Parameters, gradient: Parameters) -> Parameters:
        free = TrainingConfig(self.task.training.learning_rate, 1e9, 1, 1)
        return reference.sgd_step(start, gradient, free)


class ClippedOneByOne(Altered):
    def step(self, start: Parameters, gradient: Parameters) -> Parameters:
        moved = []
        for (_, value), (_, slope) in zip(start.items(), gradient.items(), strict=True):
            scale = min(1.0, self.task.training.clip_norm / float(np.linalg.norm(slope)))
            moved.append(value - self.task.training.learning_rate * scale * slope)
        return Parameters.from_arrays(moved)


class StateLost(Altered):
    def next_state(self, state: reference.State) -> reference.State:
        return [(h * 0, c * 0) for h, c in state]


class LossTooGood(NumpyBackend):
    def train_epoch(self, batches: Batches) -> EpochLoss:
        loss = super().train_epoch(batches)
        return EpochLoss(0.99 * loss.nats, loss.tokens)


class NotANumber(NumpyBackend):
    def train_epoch(self, batches: Batches) -> EpochLoss:
        loss = super().train_epoch(batches)
        self._parameters.output_bias[0] = math.nan
        return loss


class Misshapen(NumpyBackend):
    def parameters(self) -> Parameters:
        good = super().parameters()
        return Parameters(good.layers, good.output_kernel.T, good.output_bias)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("backend", [NumpyBackend, Altered])
def test_the_reference_itself_is_admitted(
    backend: Callable[[Task], NumpyBackend], dtype: str, layers: int, batches: Batches
) -> None:
    result = parity.check(backend(task(dtype, layers)), batches)
    assert result.first_difference is None
    assert result.worst <= result.tolerance == parity.TOLERANCE[dtype]
    assert result.shape == batches.inputs.shape
    assert not result.cut
    assert len(result.errors) == 2 * (1 + 3 * layers + 2)


@pytest.mark.parametrize("learning_rate", [10.0, 0.1, 0.01, 0.001])
def test_an_honest_backend_is_admitted_at_any_learning_rate(
    learning_rate: float, batches: Batches
) -> None:
    small = replace(task(), training=replace(task().training, learning_rate=learning_rate))
    assert parity.check(NumpyBackend(small), batches).first_difference is None


@pytest.mark.parametrize("backend", [BiasTwice, NoClipping, ClippedOneByOne])
@pytest.mark.parametrize("learning_rate", [0.1, 0.01, 0.001])
def test_a_mistake_shows_at_any_learning_rate(
    backend: Callable[[Task], NumpyBackend], learning_rate: float, batches: Batches
) -> None:
    small = replace(task(), training=replace(task().training, learning_rate=learning_rate))
    assert parity.check(backend(small), batches).first_difference is not None


def test_rounding_explains_little_and_only_where_changes_are_small(batches: Batches) -> None:
    usual = parity.check(NumpyBackend(task()), batches)
    assert all(value < 3 * usual.tolerance for value in usual.allowed.values())
    small = replace(task(), training=replace(task().training, learning_rate=0.001))
    result = parity.check(NumpyBackend(small), batches)
    assert result.allowed
    assert set(result.allowed) <= set(result.errors)
    assert all(result.tolerance < value <= 0.01 for value in result.allowed.values())
    assert not any("loss" in quantity for quantity in result.allowed)


@pytest.mark.parametrize("layers", [2, 4])
def test_an_honest_backend_is_admitted_with_several_small_layers(
    layers: int, batches: Batches
) -> None:
    deep = replace(task(), model=ModelConfig(VOCABULARY, 16, layers))
    assert parity.check(NumpyBackend(deep), batches).first_difference is None


@pytest.mark.parametrize(
    ("backend", "first"),
    [
        (BiasTwice, "text: loss"),
        (StateLost, "text: loss"),
        (NoClipping, "clipped: loss"),
        (ClippedOneByOne, "clipped: loss"),
        (LossTooGood, "text: loss"),
        (NotANumber, "text: output_bias"),
        (Misshapen, "text: output_kernel"),
    ],
)
def test_a_mistake_is_named_by_the_first_quantity_that_differs(
    backend: Callable[[Task], NumpyBackend], first: str, batches: Batches
) -> None:
    result = parity.check(backend(task()), batches)
    assert result.first_difference == first
    # far beyond the tolerance: no honest rounding comes near
    assert result.worst > 30 * result.tolerance


def test_one_window_is_enough_to_see_a_doubled_bias(batches: Batches) -> None:
    one = Batches(batches.inputs[:1], batches.targets[:1])
    result = parity.check(BiasTwice(task()), one)
    assert result.first_difference == "text: layer0.bias"
    assert result.errors["text: layer0.bias"] == pytest.approx(1.0, rel=1e-3)


def test_the_protocol_s_clipping_acts_in_the_second_pass_only(batches: Batches) -> None:
    start = parity.probe_parameters(task().model).astype(np.float64)
    rare = parity.rarest_targets(batches, VOCABULARY)
    norms = []
    for passed in (batches, rare):
        state = reference.zero_state(start, 8)
        _, gradient, _ = reference.gradients(start, passed.inputs[0], passed.targets[0], state)
        norms.append(reference.global_norm(gradient))
    assert norms[0] < 1.0 < norms[1]


def test_rare_targets_are_only_in_the_first_window(batches: Batches) -> None:
    rare = parity.rarest_targets(batches, VOCABULARY)
    assert (rare.targets[0] == VOCABULARY - 1).all()
    np.testing.assert_array_equal(rare.targets[1:], batches.targets[1:])
    np.testing.assert_array_equal(rare.inputs, batches.inputs)
    assert not (batches.targets[0] == VOCABULARY - 1).all()


def test_probe_parameters_are_large_biases_too() -> None:
    for name, array in parity.probe_parameters(ModelConfig(28, 256, 1)).items():
        assert array.dtype == np.float32
        assert float(array.std()) == pytest.approx(0.1, rel=0.35), name


@pytest.mark.parametrize("hidden", [512, 1024])
@pytest.mark.parametrize(
    ("backend", "honest"), [(NumpyBackend, True), (StateLost, False), (NoClipping, False)]
)
def test_wide_models_are_told_from_mistakes_too(
    backend: Callable[[Task], NumpyBackend], honest: bool, hidden: int
) -> None:
    """Over many steps, in which a chaotic state would blow up rounding."""
    rng = np.random.default_rng(1)
    text = np.cumsum(rng.choice([1, 2], p=[0.9, 0.1], size=8 * 5 * 36)) % (VOCABULARY - 2) + 1
    wide = replace(task(), model=ModelConfig(VOCABULARY, hidden, 1))
    result = parity.check(backend(wide), partition(text, 8, 35))
    assert (result.first_difference is None) == honest


def test_what_the_reference_cannot_afford_is_cut_and_said(batches: Batches) -> None:
    result = parity.check(NumpyBackend(task()), batches, reference_seconds=1e-9)
    assert result.cut
    assert result.first_difference is None
    # two windows, so that a lost state still shows
    assert result.shape == (2, 1, 1)
    assert parity.check(StateLost(task()), batches, reference_seconds=1e-9).first_difference


@given(
    windows=st.integers(1, 6),
    batch=st.integers(1, 6),
    steps=st.integers(1, 6),
    seconds=st.floats(0, 1e-3),
)
def test_a_cut_keeps_a_corner_of_the_batches(
    windows: int, batch: int, steps: int, seconds: float
) -> None:
    ids = np.arange(windows * batch * steps, dtype=np.int32).reshape(windows, batch, steps)
    whole = Batches(ids, ids + 1)
    kept = parity.affordable(whole, ModelConfig(100, 64, 1), seconds)
    w, b, s = kept.inputs.shape
    assert w >= min(windows, 2)
    np.testing.assert_array_equal(kept.inputs, ids[:w, :b, :s])
    np.testing.assert_array_equal(kept.targets, kept.inputs + 1)


@pytest.mark.parametrize(
    ("change", "expected", "error"),
    [
        ([3.0, 4.0], [3.0, 4.0], 0.0),
        ([3.0, 4.5], [3.0, 4.0], 0.1),
        ([0.0], [0.0], 0.0),
        ([1.0], [0.0], math.inf),
        ([math.nan], [1.0], math.inf),
        ([math.inf], [1.0], math.inf),
        ([1.0, 1.0], [1.0], math.inf),
    ],
)
def test_relative_errors(change: list[float], expected: list[float], error: float) -> None:
    came = parity.relative_error(np.array(change), np.array(expected))
    assert came == pytest.approx(error)


def test_not_a_number_is_the_worst_of_all(batches: Batches) -> None:
    result = parity.check(NotANumber(task()), batches)
    assert result.worst == math.inf
