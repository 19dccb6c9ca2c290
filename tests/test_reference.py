"""The reference against finite differences, and its pieces against their definitions."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lstmbench import reference
from lstmbench.backend import LOSSES, Initialisation, ModelConfig, Parameters, TrainingConfig
from lstmbench.batches import Batches, partition
from lstmbench.corpora.normalise import letters
from lstmbench.corpora.vocabulary import Vocabulary

MODELS = st.builds(
    ModelConfig,
    vocabulary_size=st.integers(2, 5),
    hidden_size=st.integers(1, 4),
    layers=st.integers(1, 3),
)
SEEDS = st.integers(0, 2**16)


@st.composite
def models_with_embedding(draw: st.DrawFn) -> ModelConfig:
    """With an embedding of any width, or tied weights."""
    model = draw(MODELS)
    if draw(st.booleans()):
        return replace(model, embedding_size=model.hidden_size, tied=True)
    return replace(model, embedding_size=draw(st.integers(1, 4)))


def exact(model: ModelConfig, seed: int, scale: float = 0.5) -> Parameters:
    return reference.draw_parameters(model, seed, scale, bias_scale=scale).astype(np.float64)


def window(model: ModelConfig, batch: int, steps: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    ids = np.random.default_rng(seed).integers(0, model.vocabulary_size, (2, batch, steps))
    return ids[0], ids[1]


def random_state(parameters: Parameters, batch: int, seed: int) -> reference.State:
    rng = np.random.default_rng(seed)
    shape = (batch, parameters.output_kernel.shape[0])
    return [(rng.normal(size=shape), rng.normal(size=shape)) for _ in parameters.layers]


def epoch(model: ModelConfig, windows: int, batch: int, steps: int, seed: int) -> Batches:
    rng = np.random.default_rng(seed)
    shape = (windows, batch, steps)
    inputs, targets = (rng.integers(0, model.vocabulary_size, shape, np.int32) for _ in range(2))
    return Batches(inputs, targets)


@settings(max_examples=50, deadline=None)
@given(
    st.one_of(MODELS, models_with_embedding()),
    st.integers(1, 3),
    st.integers(1, 4),
    SEEDS,
    st.sampled_from(LOSSES),
    st.sampled_from([0.0, 0.4]),
)
def test_gradients_agree_with_finite_differences(
    model: ModelConfig, batch: int, steps: int, seed: int, loss: str, dropped: float
) -> None:
    parameters = exact(model, seed)
    inputs, targets = window(model, batch, steps, seed)
    state = random_state(parameters, batch, seed)

    def gradients() -> tuple[float, Parameters, reference.State]:
        masks = reference.Dropout(dropped, seed)  # the same every time
        return reference.gradients(parameters, inputs, targets, state, loss=loss, dropout=masks)

    _, gradient, _ = gradients()

    def mean_loss() -> float:
        return gradients()[0] / (targets.size if loss == "mean" else batch)

    for (name, value), (_, slope) in zip(parameters.items(), gradient.items(), strict=True):
        assert slope.shape == value.shape, name
        direction = np.random.default_rng(seed).normal(size=value.shape)
        place, width = value.copy(), 1e-5
        value[...] = place + width * direction
        above = mean_loss()
        value[...] = place - width * direction
        below = mean_loss()
        value[...] = place
        measured = (above - below) / (2 * width)
        assert float(np.vdot(slope, direction)) == pytest.approx(measured, rel=1e-6, abs=1e-8), name


@settings(max_examples=25, deadline=None)
@given(MODELS, st.integers(1, 3), st.integers(2, 5), SEEDS)
def test_the_state_carries_everything_over_a_cut(
    model: ModelConfig, batch: int, steps: int, seed: int
) -> None:
    """One long window has the loss of two short ones, the state handed on."""
    parameters = exact(model, seed)
    inputs, targets = window(model, batch, steps, seed)
    whole, _, end = reference.gradients(
        parameters, inputs, targets, reference.zero_state(parameters, batch)
    )
    state, parts = reference.zero_state(parameters, batch), 0.0
    for cut in (slice(0, 1), slice(1, None)):
        nats, _, state = reference.gradients(parameters, inputs[:, cut], targets[:, cut], state)
        parts += nats
    assert parts == pytest.approx(whole, rel=1e-12)
    np.testing.assert_allclose(np.array(state), np.array(end), rtol=1e-12, atol=1e-15)


def test_the_equations_one_scalar_at_a_time() -> None:
    """One unit, one symbol after the other, written with ``math`` alone."""
    model = ModelConfig(vocabulary_size=3, hidden_size=1, layers=1)
    parameters = exact(model, 5)
    layer = parameters.layers[0]
    inputs, targets = np.array([[2, 0, 1]]), np.array([[0, 1, 2]])
    h = c = nats = 0.0
    for symbol, target in zip(inputs[0], targets[0], strict=True):
        raw = [
            layer.input_kernel[symbol, k] + h * layer.recurrent_kernel[0, k] + layer.bias[k]
            for k in range(4)
        ]
        i, f, o = (1 / (1 + math.exp(-raw[k])) for k in (0, 1, 3))
        c = f * c + i * math.tanh(raw[2])
        h = o * math.tanh(c)
        logits = [h * parameters.output_kernel[0, v] + parameters.output_bias[v] for v in range(3)]
        nats += math.log(sum(map(math.exp, logits))) - logits[target]
    got = reference.evaluate(parameters, Batches(inputs[None], targets[None]))
    assert got.nats == pytest.approx(nats, rel=1e-12)
    assert got.tokens == 3


@settings(max_examples=25, deadline=None)
@given(MODELS, st.floats(0.01, 100), SEEDS)
def test_clipping_bounds_the_norm_of_all_tensors_together(
    model: ModelConfig, clip: float, seed: int
) -> None:
    start, gradient = exact(model, seed), exact(model, seed + 1, scale=3.0)
    training = TrainingConfig(learning_rate=0.5, clip_norm=clip, batch_size=1, steps=1)
    moved = reference.sgd_step(start, gradient, training)
    changes = [(b - a).ravel() for (_, a), (_, b) in zip(start.items(), moved.items(), strict=True)]
    change = np.concatenate(changes)
    direction = np.concatenate([array.ravel() for _, array in gradient.items()])
    norm = float(np.linalg.norm(direction))
    assert reference.global_norm(gradient) == pytest.approx(norm, rel=1e-12)
    expected = -0.5 * min(1.0, clip / norm) * direction
    np.testing.assert_allclose(change, expected, rtol=1e-9, atol=1e-12)


def test_a_gradient_of_zero_moves_nothing() -> None:
    start = exact(ModelConfig(3, 2, 1), 0)
    zeros = Parameters.from_arrays([array * 0 for _, array in start.items()])
    moved = reference.sgd_step(start, zeros, TrainingConfig(1.0, 1.0, 1, 1))
    assert moved.digest() == start.digest()


def test_an_epoch_is_its_windows_one_after_the_other() -> None:
    model, training = ModelConfig(5, 3, 2), TrainingConfig(0.5, 0.1, 2, 4)
    start, batches = exact(model, 1), epoch(model, 3, 2, 4, seed=1)
    got, loss = reference.train_epoch(start, batches, training)
    parameters, state, total = start, reference.zero_state(start, 2), 0.0
    for inputs, targets in batches:
        nats, gradient, state = reference.gradients(parameters, inputs, targets, state)
        parameters = reference.sgd_step(parameters, gradient, training)
        total += nats
    assert got.digest() == parameters.digest()
    assert (loss.nats, loss.tokens) == (total, 24)


def test_training_and_evaluating_leave_the_parameters_given_untouched() -> None:
    model = ModelConfig(5, 3, 2)
    start, batches = exact(model, 1), epoch(model, 3, 2, 4, seed=1)
    before = start.digest()
    reference.train_epoch(start, batches, TrainingConfig(1.0, 1.0, 2, 4))
    reference.evaluate(start, batches)
    reference.generate(start, [1, 2], 3)
    assert start.digest() == before


def test_all_parameters_zero_guess_uniformly() -> None:
    model = ModelConfig(7, 3, 2)
    zeros = Parameters.from_arrays([array * 0 for _, array in exact(model, 0).items()])
    batches = epoch(model, 2, 3, 4, seed=0)
    assert reference.evaluate(zeros, batches).nats == pytest.approx(24 * math.log(7))


def test_generation_follows_the_largest_logit() -> None:
    model = ModelConfig(6, 4, 2)
    parameters = exact(model, 4, scale=1.0)
    got = reference.generate(parameters, [1, 2], 8)
    read = [1, 2]
    for chosen in got:
        losses = [
            reference.evaluate(
                parameters,
                Batches(np.array([[read]]), np.array([[[*read[1:], candidate]]])),
            ).nats
            for candidate in range(6)
        ]
        assert chosen == int(np.argmin(losses))
        read.append(chosen)
    assert all(type(i) is int for i in got)


def test_logits_too_large_for_exp_keep_the_loss_finite() -> None:
    start = exact(ModelConfig(4, 3, 1), 0)
    huge = Parameters.from_arrays([array * 1e4 for _, array in start.items()])
    batches = epoch(ModelConfig(4, 3, 1), 1, 2, 3, seed=0)
    with np.errstate(over="raise", invalid="raise"):
        assert math.isfinite(reference.evaluate(huge, batches).nats)


@given(st.one_of(MODELS, models_with_embedding()), SEEDS)
def test_shared_parameters_are_drawn_in_the_stated_order(model: ModelConfig, seed: int) -> None:
    drawn = reference.draw_parameters(model, seed)
    rng = np.random.default_rng(seed)
    for name, array in drawn.items():
        assert array.dtype == np.float32
        expected = np.zeros(array.shape) if "bias" in name else rng.normal(size=array.shape) * 0.01
        np.testing.assert_array_equal(array, expected.astype(np.float32), err_msg=name)


@given(st.one_of(MODELS, models_with_embedding()))
def test_the_formula_counts_the_parameters_drawn(model: ModelConfig) -> None:
    drawn = reference.draw_parameters(model, 0)
    assert model.parameter_count == sum(array.size for _, array in drawn.items())


def test_initial_parameters_are_drawn_as_asked() -> None:
    wanted = Initialisation("uniform", 0.25, 0.25, forget_bias=1.0)
    model = ModelConfig(40, 20, 2, embedding_size=30, initialisation=wanted)
    drawn = reference.draw_parameters(model, 3)
    assert [name for name, _ in drawn.items()][:2] == ["embedding", "layer0.input_kernel"]
    for name, array in drawn.items():
        if name.startswith("layer") and name.endswith("bias"):
            input_gate, forget_gate, *_ = np.split(array, 4)
            assert set(forget_gate) == {1.0}
            array = input_gate
        assert np.abs(array).max() <= 0.25, name
        assert np.abs(array).max() > 0.15, name
        assert abs(array.mean()) < 0.15, name


@given(models_with_embedding(), SEEDS)
def test_an_embedding_that_is_one_hot_changes_nothing(model: ModelConfig, seed: int) -> None:
    size = model.vocabulary_size
    plain = exact(replace(model, embedding_size=None, tied=False), seed)
    batches = epoch(model, 2, 2, 3, seed)
    with_one_hot = replace(plain, embedding=np.eye(size))
    assert reference.evaluate(with_one_hot, batches).nats == pytest.approx(
        reference.evaluate(plain, batches).nats, rel=1e-12
    )


@given(SEEDS, st.floats(0.05, 0.9))
def test_a_mask_keeps_the_mean_and_is_new_every_time(seed: int, rate: float) -> None:
    dropout, like = reference.Dropout(rate, seed), np.zeros((50, 60), np.float32)
    first, second = dropout.mask(like), dropout.mask(like)
    assert first is not None
    assert second is not None
    assert first.dtype == np.float32
    assert set(np.unique(first)) == {np.float32(0), 1 / np.float32(1 - rate)}
    share = float((first == 0).mean())
    assert abs(share - rate) < 6 * math.sqrt(rate * (1 - rate) / first.size)
    agree = float(((first == 0) == (second == 0)).mean())
    expected = rate**2 + (1 - rate) ** 2
    assert abs(agree - expected) < 6 * math.sqrt(expected * (1 - expected) / first.size)
    assert reference.Dropout(0.0, seed).mask(like) is None


def test_nothing_is_dropped_in_evaluation_and_generation() -> None:
    model = ModelConfig(6, 4, 2, embedding_size=3)
    start, batches = exact(model, 1), epoch(model, 2, 2, 3, seed=0)
    training = TrainingConfig(1.0, 1.0, 2, 3, dropout=0.5)
    before = reference.evaluate(start, batches).nats
    after, loss = reference.train_epoch(start, batches, replace(training, learning_rate=0.0))
    assert after.digest() == start.digest()
    assert loss.nats != before
    assert reference.evaluate(start, batches).nats == before


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_dtype_given_is_the_dtype_computed_in(dtype: str) -> None:
    model = ModelConfig(5, 3, 2)
    start = exact(model, 1).astype(dtype)
    moved, _ = reference.train_epoch(
        start, epoch(model, 2, 2, 3, seed=0), TrainingConfig(1.0, 0.01, 2, 3)
    )
    assert {str(array.dtype) for _, array in moved.items()} == {dtype}


def test_epoch_thirty_at_offset_zero_reads_as_in_the_frameworks(corpus_file: Path) -> None:
    text = letters(corpus_file.read_text())
    vocabulary = Vocabulary(text)
    batches = partition(vocabulary.encode(text)[:10_000], 32, 35)
    training = TrainingConfig(learning_rate=1.0, clip_norm=1.0, batch_size=32, steps=35)
    parameters = reference.draw_parameters(ModelConfig(len(vocabulary), 256, 1), seed=0)
    for _ in range(30):
        parameters, loss = reference.train_epoch(parameters, batches, training)
    assert math.exp(loss.nats / loss.tokens) == pytest.approx(16.7442, rel=1e-5)
