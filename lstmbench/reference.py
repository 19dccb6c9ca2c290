"""The model and its training in NumPy, generic in dtype: what every backend must compute.

One layer, at time t, reading x_t with the state (h, c) of t-1::

    i = sigmoid(x_t Wi + h Ri + bi)       input gate
    f = sigmoid(x_t Wf + h Rf + bf)       forget gate
    g = tanh   (x_t Wg + h Rg + bg)       cell candidate
    o = sigmoid(x_t Wo + h Ro + bo)       output gate
    c_t = f * c + i * g
    h_t = o * tanh(c_t)

The first layer reads one-hot symbols, so that ``x_t W`` is a row of ``W``; the last one's h_t
gives logits ``h_t V + d``; the loss is the mean cross-entropy over a window's tokens. Gradients
go back through the window (truncated back-propagation through time), are clipped together to a
global norm (Pascanu et al. 2013), and one SGD step follows.

Sources: Hochreiter & Schmidhuber, "Long Short-Term Memory", Neural Computation 9 (1997); the
forget gate: Gers, Schmidhuber & Cummins, "Learning to Forget", Neural Computation 12 (2000).
Shapes: B batch, T steps, H hidden, V vocabulary; time comes first inside, ``[T, B, ...]``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lstmbench.backend import (
    EpochLoss,
    LayerParameters,
    ModelConfig,
    Parameters,
    TrainingConfig,
)
from lstmbench.batches import Batches

#: Per layer (h, c), each ``[B, H]``.
State = list[tuple[np.ndarray, np.ndarray]]


def draw_parameters(
    model: ModelConfig, seed: int, scale: float = 0.01, bias_scale: float = 0.0
) -> Parameters:
    """The ``shared`` initial parameters: normal(0, scale) in float32, layer by layer, output last.

    Biases are zero unless ``bias_scale`` is given, in which case they are drawn too.
    """
    rng = np.random.default_rng(seed)

    def draw(*shape: int) -> np.ndarray:
        return (rng.normal(size=shape) * scale).astype(np.float32)

    def bias(size: int) -> np.ndarray:
        if not bias_scale:
            return np.zeros(size, np.float32)
        return (rng.normal(size=size) * bias_scale).astype(np.float32)

    hidden = model.hidden_size
    layers = tuple(
        LayerParameters(
            draw(model.input_size(layer), 4 * hidden), draw(hidden, 4 * hidden), bias(4 * hidden)
        )
        for layer in range(model.layers)
    )
    return Parameters(layers, draw(hidden, model.vocabulary_size), bias(model.vocabulary_size))


def zero_state(parameters: Parameters, batch: int) -> State:
    """(h, c) of zeros for every layer."""
    hidden = parameters.output_kernel.shape[0]
    zeros = np.zeros((batch, hidden), parameters.output_kernel.dtype)
    return [(zeros, zeros) for _ in parameters.layers]


def sigmoid(x: np.ndarray) -> np.ndarray:
    # through tanh: exact at both ends, where exp would overflow
    return 0.5 * (np.tanh(0.5 * x) + 1)


@dataclass
class _Tape:
    """What one layer's backward pass needs, each ``[T, B, ...]``."""

    gates: np.ndarray  # activated i, f, g, o: [T, B, 4, H]
    cells: np.ndarray  # c_0 .. c_T: [T + 1, B, H]
    hiddens: np.ndarray  # h_0 .. h_T


def _layer_forward(
    layer: LayerParameters, projected: np.ndarray, state: tuple[np.ndarray, np.ndarray]
) -> _Tape:
    """``projected`` is the input's part of all gates, ``[T, B, 4H]``."""
    steps, batch, _ = projected.shape
    hidden = layer.recurrent_kernel.shape[0]
    tape = _Tape(
        gates=np.empty((steps, batch, 4, hidden), projected.dtype),
        cells=np.empty((steps + 1, batch, hidden), projected.dtype),
        hiddens=np.empty((steps + 1, batch, hidden), projected.dtype),
    )
    tape.hiddens[0], tape.cells[0] = state
    for t in range(steps):
        raw = projected[t] + tape.hiddens[t] @ layer.recurrent_kernel + layer.bias
        raw = raw.reshape(batch, 4, hidden)
        gates = tape.gates[t]
        gates[:] = sigmoid(raw)
        gates[:, 2] = np.tanh(raw[:, 2])
        i, f, g, o = (gates[:, k] for k in range(4))
        tape.cells[t + 1] = f * tape.cells[t] + i * g
        tape.hiddens[t + 1] = o * np.tanh(tape.cells[t + 1])
    return tape


def _layer_backward(
    layer: LayerParameters, tape: _Tape, d_hiddens: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """From dL/dh_t ``[T, B, H]`` to dL/d(raw gates) ``[T, B, 4H]`` and dL/dR."""
    steps, batch, _, hidden = tape.gates.shape
    d_raw = np.empty_like(tape.gates)
    d_h = np.zeros((batch, hidden), tape.gates.dtype)
    d_c = np.zeros_like(d_h)
    for t in reversed(range(steps)):
        i, f, g, o = (tape.gates[t, :, k] for k in range(4))
        tanh_c = np.tanh(tape.cells[t + 1])
        d_h = d_h + d_hiddens[t]
        d_c = d_c + d_h * o * (1 - tanh_c**2)
        d_raw[t, :, 0] = d_c * g * i * (1 - i)
        d_raw[t, :, 1] = d_c * tape.cells[t] * f * (1 - f)
        d_raw[t, :, 2] = d_c * i * (1 - g**2)
        d_raw[t, :, 3] = d_h * tanh_c * o * (1 - o)
        d_c = d_c * f
        d_h = d_raw[t].reshape(batch, 4 * hidden) @ layer.recurrent_kernel.T
    flat = d_raw.reshape(steps * batch, 4 * hidden)
    d_recurrent = tape.hiddens[:-1].reshape(steps * batch, hidden).T @ flat
    return flat.reshape(steps, batch, 4 * hidden), d_recurrent


def forward(
    parameters: Parameters, ids: np.ndarray, state: State
) -> tuple[np.ndarray, list[_Tape], State]:
    """Logits ``[T, B, V]`` of ids ``[B, T]``, the tapes, and the state after the last step."""
    tapes: list[_Tape] = []
    for index, layer in enumerate(parameters.layers):
        if index == 0:
            projected = layer.input_kernel[ids.T]
        else:
            projected = tapes[-1].hiddens[1:] @ layer.input_kernel
        tapes.append(_layer_forward(layer, projected, state[index]))
    logits = tapes[-1].hiddens[1:] @ parameters.output_kernel + parameters.output_bias
    return logits, tapes, [(tape.hiddens[-1], tape.cells[-1]) for tape in tapes]


def _cross_entropy(logits: np.ndarray, targets: np.ndarray) -> tuple[float, np.ndarray]:
    """Sum of nats over targets ``[B, T]``, and the probabilities ``[T, B, V]``."""
    shifted = logits - logits.max(axis=-1, keepdims=True)
    log_sum = np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    log_probabilities = shifted - log_sum
    chosen = np.take_along_axis(log_probabilities, targets.T[..., None], axis=-1)
    return float(-chosen.sum(dtype=np.float64)), np.exp(log_probabilities)


def gradients(
    parameters: Parameters, inputs: np.ndarray, targets: np.ndarray, state: State
) -> tuple[float, Parameters, State]:
    """Loss and its gradient on one window.

    ``inputs`` and ``targets`` are ids ``[B, T]``. Returns the *sum* of nats, the gradient of
    their *mean* over the window's tokens, and the state to carry on (a constant for the next
    window).
    """
    logits, tapes, state = forward(parameters, inputs, state)
    nats, d_logits = _cross_entropy(logits, targets)
    np.put_along_axis(
        d_logits,
        targets.T[..., None],
        np.take_along_axis(d_logits, targets.T[..., None], axis=-1) - 1,
        axis=-1,
    )
    d_logits /= targets.size
    top = tapes[-1].hiddens[1:]
    d_output_kernel = np.einsum("tbh,tbv->hv", top, d_logits, optimize=True)
    d_hiddens = d_logits @ parameters.output_kernel.T
    d_layers: list[LayerParameters] = []
    for index in reversed(range(len(parameters.layers))):
        layer = parameters.layers[index]
        d_raw, d_recurrent = _layer_backward(layer, tapes[index], d_hiddens)
        if index == 0:
            d_input = np.zeros_like(layer.input_kernel)
            np.add.at(d_input, inputs.T, d_raw)
        else:
            below = tapes[index - 1].hiddens[1:]
            d_input = np.einsum("tbh,tbg->hg", below, d_raw, optimize=True)
            d_hiddens = d_raw @ layer.input_kernel.T
        d_layers.insert(0, LayerParameters(d_input, d_recurrent, d_raw.sum(axis=(0, 1))))
    return nats, Parameters(tuple(d_layers), d_output_kernel, d_logits.sum(axis=(0, 1))), state


def global_norm(parameters: Parameters) -> float:
    """Euclidean norm over all tensors together."""
    return float(np.sqrt(sum(np.vdot(array, array) for _, array in parameters.items())))


def sgd_step(parameters: Parameters, gradient: Parameters, training: TrainingConfig) -> Parameters:
    """Clip all tensors together to ``clip_norm``, then move against the gradient."""
    norm = global_norm(gradient)
    rate = training.learning_rate * min(1.0, training.clip_norm / norm if norm else 1.0)
    return Parameters.from_arrays(
        [
            value - rate * change
            for (_, value), (_, change) in zip(parameters.items(), gradient.items(), strict=True)
        ]
    )


def train_epoch(
    parameters: Parameters, batches: Batches, training: TrainingConfig
) -> tuple[Parameters, EpochLoss]:
    """All windows in turn: zero state first, carried from window to window without gradient."""
    state = zero_state(parameters, batches.inputs.shape[1])
    total = 0.0
    for inputs, targets in batches:
        nats, gradient, state = gradients(parameters, inputs, targets, state)
        parameters = sgd_step(parameters, gradient, training)
        total += nats
    return parameters, EpochLoss(total, batches.tokens)


def evaluate(parameters: Parameters, batches: Batches) -> EpochLoss:
    """The loss over all windows from zero state, nothing trained."""
    state = zero_state(parameters, batches.inputs.shape[1])
    total = 0.0
    for inputs, targets in batches:
        logits, _, state = forward(parameters, inputs, state)
        total += _cross_entropy(logits, targets)[0]
    return EpochLoss(total, batches.tokens)


def generate(parameters: Parameters, prefix: Sequence[int], length: int) -> list[int]:
    """Greedy continuation of ``prefix`` from zero state: the likeliest symbol, ``length`` times."""
    ids: Any = np.asarray([prefix], dtype=np.int32)
    state = zero_state(parameters, 1)
    out: list[int] = []
    for _ in range(length):
        logits, _, state = forward(parameters, ids, state)
        out.append(int(logits[-1, 0].argmax()))
        ids = np.asarray([[out[-1]]], dtype=np.int32)
    return out
