"""Parity: an honest backend passes, and each kind of mistake is named."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from lstmbench_numpy.backend import NumpyBackend

from lstmbench import reference
from lstmbench.backend import (
    EpochLoss,
    LayerParameters,
    ModelConfig,
    Parameters,
    Task,
    TrainingConfig,
)
from lstmbench.batches import Batches, partition
from lstmbench.errors import Unavailable
from lstmbench.worker import parity
from lstmbench.worker.answers import InvalidAnswer
from lstmbench.worker.parity_setting import (
    affordable,
    first_gradient_size,
    probe_parameters,
    rarest_targets,
    rounded,
)

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


def text(tokens: int) -> np.ndarray:
    """A text whose next symbol can often be told, with few of the rarest."""
    rng = np.random.default_rng(0)
    return np.cumsum(rng.choice([1, 2], p=[0.9, 0.1], size=tokens)) % (VOCABULARY - 2) + 1


@pytest.fixture
def batches() -> Batches:
    return partition(text(400), 8, 10)


def probe_for(task: Task, batches: Batches) -> parity.Probe:
    return parity.make_probe(parity.choose_setting(task, batches))


def prove(
    backend: Callable[[Task], NumpyBackend], task: Task, batches: Batches, **seconds: float
) -> parity.ParityResult:
    """What the worker does."""
    setting = parity.choose_setting(task, batches, **seconds)  # type: ignore[arg-type]
    return parity.check(backend(setting.task), setting)


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
            norm = float(np.linalg.norm(slope))
            scale = min(1.0, self.task.training.clip_norm / norm) if norm else 1.0
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
    result = prove(backend, task(dtype, layers), batches)
    assert result.worst_difference is None
    assert result.worst <= result.tolerance == parity.TOLERANCE[dtype]
    assert result.shape == batches.inputs.shape
    assert not result.cut
    assert len(result.errors) == 2 * (1 + 3 * layers + 2)


class Permuted(NumpyBackend):
    """The same function with every layer's units in another order: float32 rounds otherwise."""

    def _orders(self) -> list[np.ndarray]:
        rng = np.random.default_rng(0)
        return [rng.permutation(self.task.model.hidden_size) for _ in self._parameters.layers]

    def _reordered(self, parameters: Parameters, orders: list[np.ndarray]) -> Parameters:
        hidden = self.task.model.hidden_size
        layers, below = [], np.arange(self.task.model.vocabulary_size)
        for layer, order in zip(parameters.layers, orders, strict=True):
            gates = np.concatenate([order + gate * hidden for gate in range(4)])
            layers.append(
                LayerParameters(
                    layer.input_kernel[below][:, gates],
                    layer.recurrent_kernel[order][:, gates],
                    layer.bias[gates],
                )
            )
            below = order
        return Parameters(tuple(layers), parameters.output_kernel[below], parameters.output_bias)

    def load_parameters(self, parameters: Parameters) -> None:
        super().load_parameters(self._reordered(parameters, self._orders()))

    def parameters(self) -> Parameters:
        inverse = [np.argsort(order) for order in self._orders()]
        return self._reordered(super().parameters(), inverse)


RATES = st.one_of(
    st.floats(-12, 6).map(lambda exponent: 10.0**exponent),
    st.sampled_from([1e-4, 1e-3, 0.1, 0.125, 1.0, 2.0, 10.0, 100.0, 1e6]),
)
#: What the command line accepts, at sizes that a test can afford.
SETTINGS = st.builds(
    lambda rate, clip, batch, steps, hidden, layers: replace(
        task(),
        model=ModelConfig(VOCABULARY, hidden, layers),
        training=TrainingConfig(rate, clip, batch, steps),
    ),
    rate=RATES,
    clip=st.sampled_from([1e-3, 0.5, 1.0, 5.0, math.inf]),
    batch=st.integers(1, 12),
    steps=st.integers(1, 24),
    hidden=st.sampled_from([1, 2, 3, 5, 8, 16, 40]),
    layers=st.sampled_from([1, 1, 1, 2, 3, 5, 12]),
    # deep models, narrow or in windows of a few tokens, cannot always be proven, and say so
).filter(
    lambda t: (
        t.model.layers == 1
        or (t.training.batch_size * t.training.steps >= 8 and t.model.layers <= t.model.hidden_size)
    )
)


def batches_for(setting: Task, windows: int) -> Batches:
    """At least so many windows, and 64 tokens: little passes through deep models in fewer."""
    training = setting.training
    windows = max(windows, math.ceil(64 / (training.batch_size * training.steps)))
    return partition(
        text(windows * training.batch_size * training.steps + training.steps + 1),
        training.batch_size,
        training.steps,
    )


@settings(max_examples=40)
@given(setting=SETTINGS, windows=st.integers(1, 6))
@example(setting=replace(task(), training=TrainingConfig(1e-4, 1.0, 8, 10)), windows=4)
@example(setting=replace(task(), training=TrainingConfig(100.0, 1.0, 8, 10)), windows=4)
@example(setting=replace(task(), model=ModelConfig(VOCABULARY, 8, 5)), windows=4)
@example(setting=replace(task(), model=ModelConfig(VOCABULARY, 4, 40)), windows=2)
@example(
    setting=replace(
        task(),
        model=ModelConfig(VOCABULARY, 40, 12),
        training=TrainingConfig(2.5462226027025212e-05, 0.001, 3, 3),
    ),
    windows=1,
)
def test_correct_float32_is_admitted_at_every_setting(setting: Task, windows: int) -> None:
    probe = probe_for(setting, batches_for(setting, windows))
    for backend in (NumpyBackend, Permuted):
        result = parity.compare(backend(probe.setting.task), probe)
        assert result.worst_difference is None, result
        assert all(result.tolerance < value <= 0.01 for value in result.allowed.values())


class FixedRate(Altered):
    """Has the learning rate of the default protocol built in."""

    def step(self, start: Parameters, gradient: Parameters) -> Parameters:
        fixed = replace(self.task.training, learning_rate=1.0)
        return reference.sgd_step(start, gradient, fixed)


@settings(max_examples=40)
@given(setting=SETTINGS, windows=st.integers(2, 6))
@example(setting=replace(task(), training=TrainingConfig(1e-4, 1.0, 8, 10)), windows=4)
@example(setting=replace(task(), model=ModelConfig(VOCABULARY, 8, 5)), windows=4)
def test_a_mistake_shows_at_every_setting(setting: Task, windows: int) -> None:
    mistakes = [BiasTwice, StateLost, LossTooGood]
    if math.isfinite(setting.training.clip_norm):
        mistakes += [NoClipping, ClippedOneByOne]
    if not math.isclose(setting.training.learning_rate, 1.0, rel_tol=0.1):
        mistakes.append(FixedRate)
    probe = probe_for(setting, batches_for(setting, windows))
    for backend in mistakes:
        result = parity.compare(backend(probe.setting.task), probe)
        assert result.worst_difference is not None, backend


def test_a_learning_rate_that_allows_a_proof_is_the_trial_s_own(batches: Batches) -> None:
    for rate, proven in {1.0: 1.0, 0.125: 0.125, 2.0: 2.0, 1e-4: 1.6384, 100.0: 1.5625}.items():
        asked = replace(task(), training=replace(task().training, learning_rate=rate))
        setting = parity.choose_setting(asked, batches)
        assert setting.task.training.learning_rate == pytest.approx(proven)
        assert replace(setting.task, training=asked.training) == asked


@pytest.mark.parametrize(("clip", "kept"), [(1.0, True), (math.inf, True), (1e-3, False)])
def test_clipping_acts_in_one_pass_only(clip: float, kept: bool, batches: Batches) -> None:
    asked = replace(task(), training=replace(task().training, clip_norm=clip))
    setting = parity.choose_setting(asked, batches)
    chosen = setting.task.training.clip_norm
    assert (chosen == clip) == kept
    rare = rarest_targets(batches, VOCABULARY)
    exact = setting.start.astype(np.float64)
    norms = [first_gradient_size(exact, passed) for passed in (batches, rare)]
    assert norms[0] < chosen
    assert chosen < norms[1] or clip == math.inf


def test_rounding_explains_little_and_only_where_changes_are_small(batches: Batches) -> None:
    assert prove(NumpyBackend, task(), batches).allowed == {}
    small = replace(task(), training=replace(task().training, learning_rate=0.125))
    result = prove(NumpyBackend, small, batches)
    assert result.allowed
    assert set(result.allowed) <= set(result.errors)
    assert all(result.tolerance < value < 1e-3 for value in result.allowed.values())
    assert not any("loss" in quantity for quantity in result.allowed)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_what_cannot_be_proven_is_said_and_nothing_is_trained(
    dtype: str, batches: Batches, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = replace(task(dtype), model=ModelConfig(VOCABULARY, 1, 1000))
    short = Batches(batches.inputs[:2, :1, :2], batches.targets[:2, :1, :2])
    setting = parity.choose_setting(asked, short)
    backend = NumpyBackend(setting.task)
    monkeypatch.setattr(NumpyBackend, "train_epoch", lambda *_: pytest.fail("trained"))
    with pytest.raises(Unavailable, match=f"1000 layers of 1 in {dtype}.*fewer layers") as said:
        parity.check(backend, setting)
    assert ("--dtype float64" in str(said.value)) == (dtype != "float64")


def test_where_rounding_grows_fewer_windows_are_proven(
    batches: Batches, monkeypatch: pytest.MonkeyPatch
) -> None:
    grown = parity.rounding_errors

    def more_with_windows(asked: parity.Pass, *rest: Any) -> dict[str, float]:
        factor = 1e4 if asked.batches.windows > 2 else 1
        return {name: factor * error for name, error in grown(asked, *rest).items()}

    monkeypatch.setattr(parity, "rounding_errors", more_with_windows)
    assert batches.windows == 4
    result = prove(NumpyBackend, task(), batches)
    assert (result.shape, result.cut) == ((2, 8, 10), True)
    assert result.worst_difference is None


@pytest.mark.parametrize("value", [1.0, -0.1, 3.0e38, 1e-40, 0.0])
def test_bfloat16_is_the_upper_half_of_float32(value: float) -> None:
    given = reference.draw_parameters(ModelConfig(2, 1, 1), 0)
    given.output_bias[:] = value
    ((*_, (_, got)),) = [rounded(given, "bfloat16").items()]
    assert (got.view(np.uint32) & 0xFFFF == 0).all()
    np.testing.assert_allclose(got, np.float32(value), rtol=2**-8, atol=1e-40)


@pytest.mark.parametrize(
    ("backend", "worst"),
    [
        (BiasTwice, "layer0.bias"),
        (NoClipping, "layer0.bias"),
        (LossTooGood, "loss"),
        (NotANumber, "output_bias"),
        (Misshapen, "output_kernel"),
    ],
)
def test_a_mistake_is_named_by_the_quantity_that_differs_most(
    backend: Callable[[Task], NumpyBackend], worst: str, batches: Batches
) -> None:
    result = prove(backend, task(), batches)
    named = result.worst_difference
    assert named is not None
    assert named.partition(": ")[2] == worst
    assert result.errors[named] == result.worst
    # far beyond the tolerance: no honest rounding comes near
    assert result.worst > 30 * result.tolerance


def test_one_window_is_enough_to_see_a_doubled_bias(batches: Batches) -> None:
    one = Batches(batches.inputs[:1], batches.targets[:1])
    result = prove(BiasTwice, task(), one)
    assert result.worst_difference in ("text: layer0.bias", "clipped: layer0.bias")
    assert result.errors["text: layer0.bias"] == pytest.approx(1.0, rel=1e-3)


def test_tensors_that_are_missing_are_named(batches: Batches) -> None:
    class Short(NumpyBackend):
        def parameters(self) -> Parameters:
            return replace(super().parameters(), layers=())

    with pytest.raises(InvalidAnswer, match=r"expected the tensors .*layer0\.bias"):
        prove(Short, task(), batches)


def test_rare_targets_are_only_in_the_first_window(batches: Batches) -> None:
    rare = rarest_targets(batches, VOCABULARY)
    assert (rare.targets[0] == VOCABULARY - 1).all()
    np.testing.assert_array_equal(rare.targets[1:], batches.targets[1:])
    np.testing.assert_array_equal(rare.inputs, batches.inputs)
    assert not (batches.targets[0] == VOCABULARY - 1).all()


def test_probe_parameters_are_large_biases_too() -> None:
    for name, array in probe_parameters(ModelConfig(28, 256, 1)).items():
        assert array.dtype == np.float32
        assert float(array.std()) == pytest.approx(0.1, rel=0.35), name


@pytest.mark.parametrize("hidden", [512, 1024])
def test_wide_models_are_told_from_mistakes_too(hidden: int) -> None:
    """Over many steps, in which a chaotic state would blow up rounding."""
    wide = replace(task(), model=ModelConfig(VOCABULARY, hidden, 1))
    probe = probe_for(wide, partition(text(4 * 3 * 36), 4, 35))
    for backend, honest in ((NumpyBackend, True), (StateLost, False), (NoClipping, False)):
        result = parity.compare(backend(probe.setting.task), probe)
        assert (result.worst_difference is None) == honest


def test_what_the_reference_cannot_afford_is_cut_and_said(batches: Batches) -> None:
    result = prove(NumpyBackend, task(), batches, reference_seconds=1e-9)
    assert result.cut
    assert result.worst_difference is None
    # two windows, so that a lost state still shows
    assert result.shape == (2, 1, 1)
    assert prove(StateLost, task(), batches, reference_seconds=1e-9).worst_difference


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
    kept = affordable(whole, ModelConfig(100, 64, 1), seconds)
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
    got = parity.relative_error(np.array(change), np.array(expected))
    assert got == pytest.approx(error)


def test_not_a_number_is_the_worst_of_all(batches: Batches) -> None:
    result = prove(NotANumber, task(), batches)
    assert result.worst == math.inf
