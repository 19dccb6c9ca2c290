"""The hand-derived gradients against the automatic ones of the installed frameworks, float64."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from lstmbench import reference
from lstmbench.backend import ModelConfig, Parameters

pytestmark = pytest.mark.frameworks

VOCABULARY, BATCH, STEPS = 7, 3, 5


def loss(ops: dict[str, Any], arrays: Any, inputs: Any, targets: Any, layers: int) -> Any:
    """Mean cross-entropy of one window, written once for all array libraries."""
    *kernels, output_kernel, output_bias = arrays
    xs = [ops["one_hot"](inputs[:, t]) for t in range(STEPS)]
    hidden = output_kernel.shape[0]
    for layer in range(layers):
        kernel, recurrent, bias = kernels[3 * layer : 3 * layer + 3]
        h = c = ops["zeros"]((BATCH, hidden))
        hs = []
        for x in xs:
            raw = x @ kernel + h @ recurrent + bias
            i, f, g, o = (raw[:, k * hidden : (k + 1) * hidden] for k in range(4))
            c = ops["sigmoid"](f) * c + ops["sigmoid"](i) * ops["tanh"](g)
            h = ops["sigmoid"](o) * ops["tanh"](c)
            hs.append(h)
        xs = hs
    total = 0.0
    for t, h in enumerate(xs):
        logs = ops["log_softmax"](h @ output_kernel + output_bias)
        total = total - ops["sum"](logs * ops["one_hot"](targets[:, t]))
    return total / (BATCH * STEPS)


def torch_gradients(arrays: list[np.ndarray], *window: Any) -> list[np.ndarray]:
    import torch

    eye = torch.eye(VOCABULARY, dtype=torch.float64)
    ops = {
        "sum": torch.sum,
        "one_hot": lambda ids: eye[torch.from_numpy(ids)],
        "zeros": lambda shape: torch.zeros(shape, dtype=torch.float64),
        "sigmoid": torch.sigmoid,
        "tanh": torch.tanh,
        "log_softmax": lambda x: torch.log_softmax(x, -1),
    }
    leaves = [torch.tensor(a, requires_grad=True) for a in arrays]
    loss(ops, leaves, *window).backward()
    return [leaf.grad.numpy() for leaf in leaves]


def jax_gradients(arrays: list[np.ndarray], *window: Any) -> list[np.ndarray]:
    import jax

    jax.config.update("jax_enable_x64", True)
    jnp = jax.numpy
    ops = {
        "sum": jnp.sum,
        "one_hot": lambda ids: jnp.eye(VOCABULARY)[ids],
        "zeros": jnp.zeros,
        "sigmoid": jax.nn.sigmoid,
        "tanh": jnp.tanh,
        "log_softmax": jax.nn.log_softmax,
    }
    gradients = jax.grad(lambda leaves: loss(ops, leaves, *window))([jnp.array(a) for a in arrays])
    return [np.asarray(g) for g in gradients]


def tensorflow_gradients(arrays: list[np.ndarray], *window: Any) -> list[np.ndarray]:
    import tensorflow as tf

    ops = {
        "one_hot": lambda ids: tf.one_hot(ids, VOCABULARY, dtype=tf.float64),
        "zeros": lambda shape: tf.zeros(shape, tf.float64),
        "sigmoid": tf.sigmoid,
        "tanh": tf.tanh,
        "log_softmax": tf.nn.log_softmax,
        "sum": tf.reduce_sum,
    }
    leaves = [tf.Variable(a) for a in arrays]
    with tf.GradientTape() as tape:
        value = loss(ops, leaves, *window)
    return [tf.convert_to_tensor(g).numpy() for g in tape.gradient(value, leaves)]


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("automatic", [torch_gradients, jax_gradients, tensorflow_gradients])
def test_hand_derived_gradients_are_the_automatic_ones(
    automatic: Callable[..., list[np.ndarray]], layers: int
) -> None:
    framework = automatic.__name__.removesuffix("_gradients")
    assert importlib.util.find_spec(framework), f"{framework} belongs to this environment"
    model = ModelConfig(VOCABULARY, 6, layers)
    parameters = reference.draw_parameters(model, 5, scale=0.5, bias_scale=0.5).astype(np.float64)
    rng = np.random.default_rng(1)
    inputs, targets = rng.integers(0, VOCABULARY, (2, BATCH, STEPS))
    _, ours, _ = reference.gradients(
        parameters, inputs, targets, reference.zero_state(parameters, BATCH)
    )
    theirs = automatic([a for _, a in parameters.items()], inputs, targets, layers)
    for (name, mine), other in zip(ours.items(), theirs, strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-9, atol=1e-12, err_msg=name)
    assert isinstance(ours, Parameters)
