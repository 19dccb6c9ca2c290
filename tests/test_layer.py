"""The reference of the recurrent layers alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lstmbench import reference
from lstmbench.backend import LayerParameters, ModelConfig, Parameters
from lstmbench.layer import layer_pass, result_shapes

SIZES = st.integers(1, 3)


def drawn(model: ModelConfig, steps: int, batch: int) -> tuple[Parameters, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(5)
    parameters = reference.draw_parameters(model, 1, 0.5, 0.5).astype(np.float64)
    inputs = rng.normal(size=(steps, batch, model.input_size(0)))
    return parameters, inputs, rng.normal(size=(steps, batch, model.hidden_size))


@given(SIZES, SIZES, SIZES, SIZES, SIZES)
def test_gradients_are_those_of_finite_differences(
    steps: int, batch: int, width: int, hidden: int, layers: int
) -> None:
    model = ModelConfig(2, hidden, layers, width)
    parameters, inputs, slopes = drawn(model, steps, batch)
    result = layer_pass(parameters.layers, inputs, slopes)

    def total(read: np.ndarray, layers: Sequence[LayerParameters]) -> float:
        return float(np.sum(layer_pass(layers, read).outputs * slopes))

    rng, step = np.random.default_rng(7), 1e-5
    by_name = dict(result.items())
    towards = rng.normal(size=inputs.shape)
    ends = [total(inputs + sign * step * towards, parameters.layers) for sign in (1, -1)]
    expected = (ends[0] - ends[1]) / (2 * step)
    assert np.sum(by_name["inputs"] * towards) == pytest.approx(expected, rel=1e-5, abs=1e-8)
    for name, array in parameters.items():
        if not name.startswith("layer"):
            continue
        towards = rng.normal(size=array.shape)
        ends = []
        for sign in (1, -1):
            moved = [a + sign * step * towards if n == name else a for n, a in parameters.items()]
            ends.append(total(inputs, parameters.like(moved).layers))
        expected = (ends[0] - ends[1]) / (2 * step)
        assert np.sum(by_name[name] * towards) == pytest.approx(expected, rel=1e-5, abs=1e-8), name


@given(SIZES, SIZES, SIZES, SIZES, SIZES, st.booleans())
def test_a_result_has_the_shapes_that_are_asked_of_backends(
    steps: int, batch: int, width: int, hidden: int, layers: int, backward: bool
) -> None:
    model = ModelConfig(2, hidden, layers, width)
    parameters, inputs, slopes = drawn(model, steps, batch)
    result = layer_pass(parameters.layers, inputs, slopes if backward else None)
    got = {name: array.shape for name, array in result.items()}
    assert got == result_shapes(model, steps, batch, backward)


def test_outputs_are_those_of_the_model_that_looks_its_inputs_up() -> None:
    model = ModelConfig(6, 4, 2, 3)
    parameters, _, _ = drawn(model, 5, 2)
    ids = np.random.default_rng(0).integers(0, 6, (2, 5), dtype=np.int32)
    assert parameters.embedding is not None
    found = layer_pass(parameters.layers, parameters.embedding[ids.T]).outputs
    state = reference.zero_state(parameters, 2)
    logits, _, _ = reference.forward(parameters, ids, state)
    assert np.allclose(found @ parameters.output_kernel + parameters.output_bias, logits)
