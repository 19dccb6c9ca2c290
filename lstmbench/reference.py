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
from lstmbench.cells import LSTM, Cell, CellState, Shapes, parameters_of, tensor_shapes
from lstmbench.cells import sigmoid as sigmoid

#: Per layer what its cell carries: (h, c) of the LSTM, each ``[B, H]``.
State = list[CellState]


def draw_parameters(
    model: ModelConfig,
    seed: int,
    scale: float = 0.01,
    bias_scale: float = 0.0,
    cell: Cell = LSTM,
) -> Parameters:
    """The ``shared`` initial parameters of a model, as :func:`draw_tensors`."""
    return draw_tensors(tensor_shapes(cell, model), seed, scale, bias_scale)


def draw_tensors(
    shapes: Shapes, seed: int, scale: float = 0.01, bias_scale: float = 0.0
) -> Parameters:
    """Normal(0, scale) in float32, layer by layer, output last.

    Biases, and what is no kernel, are zero unless ``bias_scale`` is given, in which case they are
    drawn too.
    """
    rng = np.random.default_rng(seed)

    def draw(name: str, shape: tuple[int, ...]) -> np.ndarray:
        size = scale if name.endswith("kernel") else bias_scale
        if not size:
            return np.zeros(shape, np.float32)
        return (rng.normal(size=shape) * size).astype(np.float32)

    return parameters_of(shapes, [draw(name, shape) for name, shape in shapes.items()])


def zero_state(parameters: Parameters, batch: int, cell: Cell = LSTM) -> State:
    """What the cell of every layer starts from, zeros."""
    hidden = parameters.output_kernel.shape[0]
    return [
        cell.zero_state(batch, hidden, parameters.output_kernel.dtype) for _ in parameters.layers
    ]


def forward(
    parameters: Parameters, ids: np.ndarray, state: State, cell: Cell = LSTM
) -> tuple[np.ndarray, list[tuple[np.ndarray, Any]], State]:
    """Logits ``[T, B, V]`` of ids ``[B, T]``; of each layer its outputs ``[T, B, H]`` with what its
    backward pass needs, and its state after the last step."""
    passes: list[tuple[np.ndarray, Any]] = []
    after: State = []
    for layer, before in zip(parameters.layers, state, strict=True):
        kernel = layer.input_kernel
        projected = passes[-1][0] @ kernel if passes else kernel[ids.T]
        outputs, last, tape = cell.forward(layer, projected, before)
        passes.append((outputs, tape))
        after.append(last)
    logits = passes[-1][0] @ parameters.output_kernel + parameters.output_bias
    return logits, passes, after


def _cross_entropy(logits: np.ndarray, targets: np.ndarray) -> tuple[float, np.ndarray]:
    """Sum of nats over targets ``[B, T]``, and the probabilities ``[T, B, V]``."""
    shifted = logits - logits.max(axis=-1, keepdims=True)
    log_sum = np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    log_probabilities = shifted - log_sum
    chosen = np.take_along_axis(log_probabilities, targets.T[..., None], axis=-1)
    return float(-chosen.sum(dtype=np.float64)), np.exp(log_probabilities)


def gradients(
    parameters: Parameters,
    inputs: np.ndarray,
    targets: np.ndarray,
    state: State,
    cell: Cell = LSTM,
) -> tuple[float, Parameters, State]:
    """Loss and its gradient on one window.

    ``inputs`` and ``targets`` are ids ``[B, T]``. Returns the *sum* of nats, the gradient of
    their *mean* over the window's tokens, and the state to carry on (a constant for the next
    window).
    """
    logits, passes, state = forward(parameters, inputs, state, cell)
    nats, d_logits = _cross_entropy(logits, targets)
    np.put_along_axis(
        d_logits,
        targets.T[..., None],
        np.take_along_axis(d_logits, targets.T[..., None], axis=-1) - 1,
        axis=-1,
    )
    d_logits /= targets.size
    d_output_kernel = np.einsum("tbh,tbv->hv", passes[-1][0], d_logits, optimize=True)
    d_hiddens = d_logits @ parameters.output_kernel.T
    d_layers: list[LayerParameters] = []
    for index in reversed(range(len(parameters.layers))):
        layer = parameters.layers[index]
        d_raw, gradient = cell.backward(layer, passes[index][1], d_hiddens)
        if index == 0:
            d_input = np.zeros_like(layer.input_kernel)
            np.add.at(d_input, inputs.T, d_raw)
        else:
            d_input = np.einsum("tbh,tbg->hg", passes[index - 1][0], d_raw, optimize=True)
            d_hiddens = d_raw @ layer.input_kernel.T
        own = {**gradient, "input_kernel": d_input}
        d_layers.insert(0, LayerParameters.from_tensors({n: own[n] for n in layer.tensors()}))
    return nats, Parameters(tuple(d_layers), d_output_kernel, d_logits.sum(axis=(0, 1))), state


def global_norm(parameters: Parameters) -> float:
    """Euclidean norm over all tensors together."""
    return float(np.sqrt(sum(np.vdot(array, array) for _, array in parameters.items())))


def sgd_step(parameters: Parameters, gradient: Parameters, training: TrainingConfig) -> Parameters:
    """Clip all tensors together to ``clip_norm``, then move against the gradient."""
    norm = global_norm(gradient)
    rate = training.learning_rate * min(1.0, training.clip_norm / norm if norm else 1.0)
    return parameters.like(
        [
            value - rate * change
            for (_, value), (_, change) in zip(parameters.items(), gradient.items(), strict=True)
        ]
    )


def train_epoch(
    parameters: Parameters, batches: Batches, training: TrainingConfig, cell: Cell = LSTM
) -> tuple[Parameters, EpochLoss]:
    """All windows in turn: zero state first, carried from window to window without gradient."""
    state = zero_state(parameters, batches.inputs.shape[1], cell)
    total = 0.0
    for inputs, targets in batches:
        nats, gradient, state = gradients(parameters, inputs, targets, state, cell)
        parameters = sgd_step(parameters, gradient, training)
        total += nats
    return parameters, EpochLoss(total, batches.tokens)


def evaluate(parameters: Parameters, batches: Batches, cell: Cell = LSTM) -> EpochLoss:
    """The loss over all windows from zero state, nothing trained."""
    state = zero_state(parameters, batches.inputs.shape[1], cell)
    total = 0.0
    for inputs, targets in batches:
        logits, _, state = forward(parameters, inputs, state, cell)
        total += _cross_entropy(logits, targets)[0]
    return EpochLoss(total, batches.tokens)


def generate(
    parameters: Parameters, prefix: Sequence[int], length: int, cell: Cell = LSTM
) -> list[int]:
    """Greedy continuation of ``prefix`` from zero state: the likeliest symbol, ``length`` times."""
    ids: Any = np.asarray([prefix], dtype=np.int32)
    state = zero_state(parameters, 1, cell)
    out: list[int] = []
    for _ in range(length):
        logits, _, state = forward(parameters, ids, state, cell)
        out.append(int(logits[-1, 0].argmax()))
        ids = np.asarray([[out[-1]]], dtype=np.int32)
    return out
