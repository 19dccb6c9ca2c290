"""Honest training passes at every place of it; each way of doing less is seen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from lstmbench import reference
from lstmbench.audit.auditor import Auditor
from lstmbench.audit.replay import Trained, train
from lstmbench.backend import ModelConfig, Parameters, TrainingConfig
from lstmbench.batches import Batches, partition

MODEL = ModelConfig(vocabulary_size=11, hidden_size=12, layers=1)
TRAINING = TrainingConfig(learning_rate=1.0, clip_norm=1.0, batch_size=4, steps=6)
IDS = np.random.default_rng(0).integers(0, 11, 4 * 6 * 9).astype(np.int32)
EPOCHS = [partition(IDS, 4, 6, offset) for offset in (0, 3)]


def train_32(
    start: Parameters, epochs: Sequence[Batches], training: TrainingConfig = TRAINING, **more: Any
) -> Trained:
    return train(start, epochs, training, **{"dtype": "float32", **more})


def honest(
    start: Parameters,
    epochs: Sequence[Batches] = EPOCHS,
    training: TrainingConfig = TRAINING,
    **more: Any,
) -> Trained:
    """float32 with every sum in another order: hidden units and rows stand backwards."""
    turned = [_upside_down(batches) for batches in epochs]
    trained = train_32(_mirror(start), turned, training, **more)
    return Trained(_mirror(trained.parameters), trained.nats)


def _mirror(parameters: Parameters) -> Parameters:
    hidden = parameters.output_kernel.shape[0]
    gates = np.arange(4 * hidden).reshape(4, hidden)[:, ::-1].ravel()
    arrays = []
    for name, array in parameters.items():
        if name.startswith("layer"):
            array = array[..., gates]
        if name.endswith("recurrent_kernel") or name == "output_kernel":
            array = array[::-1]
        arrays.append(np.ascontiguousarray(array))
    return Parameters.from_arrays(arrays)


def _upside_down(batches: Batches) -> Batches:
    return Batches(batches.inputs[:, ::-1], batches.targets[:, ::-1])


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("scale", [0.01, 0.1, 0.5])
def test_an_honest_segment_passes(seed: int, scale: float) -> None:
    start = reference.draw_parameters(MODEL, seed, scale=scale)
    verdict = Auditor(TRAINING, "float32").segment(start, EPOCHS, honest(start))
    assert verdict.comparison.beyond == []
    assert verdict.comparison.judged
    assert 0 < verdict.comparison.errors["parameters"] < 1e-5


@pytest.mark.parametrize("rate", [1e-6, 1e-3, 30.0, 1e4])
def test_honest_training_passes_at_any_rate_or_is_not_judged(rate: float) -> None:
    training = TrainingConfig(rate, 1.0, 4, 6)
    start = reference.draw_parameters(MODEL, 0, scale=0.1)
    claimed = honest(start, training=training)
    verdict = Auditor(training, "float32").segment(start, EPOCHS, claimed)
    assert verdict.comparison.beyond == []


def test_rounding_that_hides_everything_is_said() -> None:
    """Updates far below the parameters' last digit leave nothing to compare."""
    training = TrainingConfig(1e-9, 1.0, 4, 6)
    start = reference.draw_parameters(MODEL, 0, scale=0.1, bias_scale=0.1)
    trained = train_32(start, EPOCHS, training)
    comparison = Auditor(training, "float32").segment(start, EPOCHS, trained).comparison
    assert not comparison.judged
    assert comparison.beyond == []
    assert "loss 1" in comparison.allowed


def test_changes_drowned_by_rounding_are_judged_by_their_direction() -> None:
    training = TrainingConfig(3e-5, 1.0, 4, 6)
    start = reference.draw_parameters(MODEL, 0, scale=0.1, bias_scale=0.1)
    auditor = Auditor(training, "float32")
    claimed = honest(start, training=training)
    comparison = auditor.segment(start, EPOCHS, claimed).comparison
    assert "parameters" not in comparison.allowed
    assert comparison.judged
    assert comparison.beyond == []
    lazy = Trained(train_32(start, EPOCHS[:1], training).parameters, claimed.nats)
    assert "progress" in auditor.segment(start, EPOCHS, lazy).comparison.beyond


def _skips_a_window(start: Parameters) -> Trained:
    cut = [Batches(b.inputs[:-1], b.targets[:-1]) for b in EPOCHS]
    return Trained(train_32(start, cut).parameters, honest(start).nats)


def _skips_an_epoch(start: Parameters) -> Trained:
    return Trained(train_32(start, EPOCHS[:1]).parameters, honest(start).nats)


def _loses_its_state(start: Parameters) -> Trained:
    apart = [Batches(b.inputs[i : i + 1], b.targets[i : i + 1]) for b in EPOCHS for i in range(8)]
    return Trained(train_32(start, apart).parameters, honest(start).nats)


def _invents_its_loss(start: Parameters) -> Trained:
    trained = honest(start)
    return Trained(trained.parameters, (trained.nats[0], trained.nats[1] * 0.999))


def _rounds_to_half_precision(start: Parameters) -> Trained:
    parameters, nats = start.astype(np.float16), list[float]()
    for batches in EPOCHS:
        done = train_32(parameters, [batches])
        parameters, nats = done.parameters.astype(np.float16), [*nats, *done.nats]
    return Trained(parameters.astype(np.float32), tuple(nats))


def _trains_another_text(start: Parameters) -> Trained:
    return Trained(train_32(start, EPOCHS[::-1]).parameters, honest(start).nats)


def _is_not_finite(start: Parameters) -> Trained:
    trained = honest(start)
    trained.parameters.output_bias[0] = np.nan
    return trained


@pytest.mark.parametrize(
    "cheat",
    [
        *(_skips_a_window, _skips_an_epoch, _loses_its_state, _invents_its_loss),
        *(_rounds_to_half_precision, _trains_another_text, _is_not_finite),
    ],
)
def test_less_than_the_work_is_seen(cheat: Callable[[Parameters], Trained]) -> None:
    start = reference.draw_parameters(MODEL, 0, scale=0.1)
    verdict = Auditor(TRAINING, "float32").segment(start, EPOCHS, cheat(start))
    assert verdict.comparison.beyond


def test_one_copy_of_the_bias_is_what_the_reference_trains() -> None:
    start = reference.draw_parameters(MODEL, 0, scale=0.1).astype(np.float64)
    expected, loss = reference.train_epoch(start, EPOCHS[0], TRAINING)
    trained = train(start, EPOCHS[:1], TRAINING)
    assert trained.parameters.digest() == expected.digest()
    assert trained.nats == (loss.nats,)


def test_two_biases_are_two_parameters() -> None:
    """Training both of a pair moves their sum as ``bias_copies`` says, clipping included."""
    start = reference.draw_parameters(MODEL, 0, scale=0.5, bias_scale=0.5).astype(np.float64)
    sharp = TrainingConfig(1.0, 0.01, 4, 6)
    state = reference.zero_state(start, 4)
    _, gradient, _ = reference.gradients(start, EPOCHS[0].inputs[0], EPOCHS[0].targets[0], state)
    squares = sum(float(np.vdot(g, g)) for _, g in gradient.items())
    bias = gradient.layers[0].bias
    norm = np.sqrt(squares + float(np.vdot(bias, bias)))
    one = Batches(EPOCHS[0].inputs[:1], EPOCHS[0].targets[:1])
    trained = train(start, [one], sharp, bias_copies=2).parameters
    expected = start.layers[0].bias - 2 * bias * 0.01 / norm
    np.testing.assert_allclose(trained.layers[0].bias, expected, rtol=1e-12)
    expected = start.output_bias - gradient.output_bias * 0.01 / norm
    np.testing.assert_allclose(trained.output_bias, expected, rtol=1e-12)


def test_two_trained_biases_are_recognised_where_they_may_be() -> None:
    start = reference.draw_parameters(MODEL, 0, scale=0.1)
    twice = honest(start, bias_copies=2)
    auditor = Auditor(TRAINING, "float32")
    assert auditor.segment(start, EPOCHS, twice).comparison.beyond
    verdict = auditor.segment(start, EPOCHS, twice, bias_copies=(1, 2))
    assert (verdict.bias_copies, verdict.comparison.beyond) == (2, [])


def test_an_evaluation_is_claimed_as_it_is() -> None:
    parameters = reference.draw_parameters(MODEL, 0, scale=0.3)
    nats = reference.evaluate(parameters, EPOCHS[0]).nats
    auditor = Auditor(TRAINING, "float32")
    assert auditor.evaluation(parameters, EPOCHS[0], nats).beyond == []
    assert auditor.evaluation(parameters, EPOCHS[0], nats * 0.999).beyond == ["loss"]


def test_text_is_the_likeliest_but_for_ties() -> None:
    parameters = reference.draw_parameters(MODEL, 0, scale=0.5, bias_scale=0.5)
    auditor = Auditor(TRAINING, "float32")
    ids = reference.generate(parameters, [1, 2, 3], 20)
    assert auditor.continuation(parameters, [1, 2, 3], ids).beyond == []
    for place in range(20):
        other = [*ids]
        other[place] = (other[place] + 1) % 11
        assert auditor.continuation(parameters, [1, 2, 3], other).beyond == ["text"]
    tied = Parameters(
        parameters.layers, np.zeros_like(parameters.output_kernel), np.zeros(11, np.float32)
    )
    assert auditor.continuation(tied, [0], [3, 1, 4, 1, 5]).beyond == []


def test_a_training_is_not_done_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def counted(*arguments: Any) -> Trained:
        calls.append(arguments)
        return train(*arguments)

    monkeypatch.setattr("lstmbench.audit.auditor.train", counted)
    start = reference.draw_parameters(MODEL, 0, scale=0.1)
    auditor = Auditor(TRAINING, "float32")
    for _ in range(3):
        auditor.segment(start, EPOCHS, honest(start))
    assert len(calls) == 2


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_coarse_dtypes_show_gross_mistakes_only(dtype: str) -> None:
    start = reference.draw_parameters(MODEL, 0, scale=0.1)
    auditor = Auditor(TRAINING, dtype)
    # one that computes with rounded parameters, and one that rounds less
    for fine in (train(start, EPOCHS, TRAINING, dtype=dtype), honest(start)):
        assert auditor.segment(start, EPOCHS, fine).comparison.beyond == []
    assert auditor.segment(start, EPOCHS, _skips_an_epoch(start)).comparison.beyond


def test_float64_is_held_to_float64() -> None:
    start = reference.draw_parameters(MODEL, 0, scale=0.1).astype(np.float64)
    auditor = Auditor(TRAINING, "float64")
    fine = honest(start, dtype="float64")
    assert auditor.segment(start, EPOCHS, fine).comparison.beyond == []
    coarse = honest(start.astype(np.float32))
    assert auditor.segment(start, EPOCHS, coarse).comparison.beyond
