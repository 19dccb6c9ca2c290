"""The model and its training in NumPy, generic in dtype: what every backend must compute.

One layer, at time t, reading x_t with the state (h, c) of t-1::

    i = sigmoid(x_t Wi + h Ri + bi)       input gate
    f = sigmoid(x_t Wf + h Rf + bf)       forget gate
    g = tanh   (x_t Wg + h Rg + bg)       cell candidate
    o = sigmoid(x_t Wo + h Ro + bo)       output gate
    c_t = f * c + i * g
    h_t = o * tanh(c_t)

The first layer reads one-hot symbols, so that ``x_t W`` is a row of ``W``, or rows of an embedding;
the last one's h_t gives logits ``h_t V + d``; the loss is the cross-entropy, a mean over a window's
tokens or a sum over its steps of the mean over the batch. With tied weights ``V`` is the embedding
transposed, and both gradients add up. Gradients go back through the window (truncated
back-propagation through time) and move the parameters as :mod:`lstmbench.optimizers` says.
:mod:`lstmbench.dropout` says what is dropped, :mod:`lstmbench.initialisation` what training starts
from.

Sources: Hochreiter & Schmidhuber, "Long Short-Term Memory", Neural Computation 9 (1997); the
forget gate: Gers, Schmidhuber & Cummins, "Learning to Forget", Neural Computation 12 (2000); tied
weights: Press & Wolf, "Using the output embedding to improve language models" (2017).
Shapes: B batch, T steps, H hidden, E embedding, V vocabulary; time first inside, ``[T, B, ...]``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lstmbench.backend import EpochLoss, LayerParameters, Parameters, TrainingConfig
from lstmbench.batches import Batches
from lstmbench.cells import LSTM, Cell, CellState
from lstmbench.cells import sigmoid as sigmoid
from lstmbench.dropout import Dropout as Dropout
from lstmbench.initialisation import draw_initial as draw_initial
from lstmbench.initialisation import draw_parameters as draw_parameters
from lstmbench.initialisation import draw_tensors as draw_tensors
from lstmbench.optimizers import Optimizer as Optimizer
from lstmbench.optimizers import global_norm as global_norm
from lstmbench.optimizers import sgd_step as sgd_step
from lstmbench.optimizers import zeros_like as zeros_like

#: Per layer what its cell carries: (h, c) of the LSTM, each ``[B, H]``.
State = list[CellState]


@dataclass(frozen=True)
class Pass:
    """What the backward pass needs of a forward pass.

    ``inputs``: per layer what it read, ``[T, B, in]``, ``None`` for one-hot symbols; last what the
    output layer read. ``masks``: what each of these was multiplied by, if by anything. ``tapes``:
    what each layer's cell kept.
    """

    inputs: list[np.ndarray | None]
    masks: list[np.ndarray | None]
    tapes: list[Any]


def zero_state(parameters: Parameters, batch: int, cell: Cell = LSTM) -> State:
    """What the cell of every layer starts from, zeros."""
    hidden = parameters.output_kernel.shape[0]
    return [
        cell.zero_state(batch, hidden, parameters.output_kernel.dtype) for _ in parameters.layers
    ]


def forward(
    parameters: Parameters,
    ids: np.ndarray,
    state: State,
    cell: Cell = LSTM,
    dropout: Dropout | None = None,
) -> tuple[np.ndarray, Pass, State]:
    """Logits ``[T, B, V]`` of ids ``[B, T]``, what the backward pass needs, and each layer's state
    after the last step."""
    kept = Pass([], [], [])
    after: State = []

    def read(sequence: np.ndarray) -> np.ndarray:
        mask = dropout.mask(sequence) if dropout else None
        dropped: np.ndarray = sequence if mask is None else sequence * mask
        kept.masks.append(mask)
        kept.inputs.append(dropped)
        return dropped

    outputs = None if parameters.embedding is None else parameters.embedding[ids.T]
    for layer, before in zip(parameters.layers, state, strict=True):
        if outputs is None:
            kept.inputs.append(None)
            kept.masks.append(None)
            projected = layer.input_kernel[ids.T]
        else:
            projected = read(outputs) @ layer.input_kernel
        outputs, last, tape = cell.forward(layer, projected, before)
        kept.tapes.append(tape)
        after.append(last)
    assert outputs is not None
    logits = read(outputs) @ parameters.output_kernel + parameters.output_bias
    return logits, kept, after


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
    loss: str = "mean",
    dropout: Dropout | None = None,
) -> tuple[float, Parameters, State]:
    """Loss and its gradient on one window.

    ``inputs`` and ``targets`` are ids ``[B, T]``. Returns the *sum* of nats, the gradient of
    their *mean* over the window's tokens (with ``loss="sum"`` of their sum over steps, averaged
    over the batch), and the state to carry on (a constant for the next window).
    """
    logits, kept, state = forward(parameters, inputs, state, cell, dropout)
    nats, d_logits = _cross_entropy(logits, targets)
    np.put_along_axis(
        d_logits,
        targets.T[..., None],
        np.take_along_axis(d_logits, targets.T[..., None], axis=-1) - 1,
        axis=-1,
    )
    d_logits /= targets.size if loss == "mean" else len(targets)
    top = kept.inputs[-1]
    assert top is not None
    d_output_kernel = np.einsum("tbh,tbv->hv", top, d_logits, optimize=True)
    d_hiddens = _masked(d_logits @ parameters.output_kernel.T, kept.masks[-1])
    d_layers: list[LayerParameters] = []
    for index in reversed(range(len(parameters.layers))):
        layer, read = parameters.layers[index], kept.inputs[index]
        d_raw, gradient = cell.backward(layer, kept.tapes[index], d_hiddens)
        if read is None:
            d_input = np.zeros_like(layer.input_kernel)
            np.add.at(d_input, inputs.T, d_raw)
        else:
            d_input = np.einsum("tbh,tbg->hg", read, d_raw, optimize=True)
            d_hiddens = _masked(d_raw @ layer.input_kernel.T, kept.masks[index])
        own = {**gradient, "input_kernel": d_input}
        d_layers.insert(0, LayerParameters.from_tensors({n: own[n] for n in layer.tensors()}))
    d_embedding = None
    if parameters.embedding is not None:
        d_embedding = np.zeros_like(parameters.embedding)
        np.add.at(d_embedding, inputs.T, d_hiddens)
        if parameters.tied:  # one tensor, used twice
            d_embedding += d_output_kernel.T
            d_output_kernel = d_embedding.T
    d_output_bias = d_logits.sum(axis=(0, 1))
    slopes = Parameters(
        tuple(d_layers), d_output_kernel, d_output_bias, d_embedding, parameters.tied
    )
    return nats, slopes, state


def _masked(slopes: np.ndarray, mask: np.ndarray | None) -> np.ndarray:
    return slopes if mask is None else slopes * mask


def train_epoch(
    parameters: Parameters,
    batches: Batches,
    training: TrainingConfig,
    cell: Cell = LSTM,
    optimizer: Optimizer | None = None,
    dropout: Dropout | None = None,
) -> tuple[Parameters, EpochLoss]:
    """All windows in turn: zero state first, carried from window to window without gradient.

    ``optimizer`` holds what is kept from epoch to epoch; without one it begins anew. ``dropout``
    draws the masks, if ``training`` has any.
    """
    optimizer = optimizer or Optimizer(training)
    if dropout is None and training.dropout:
        dropout = Dropout(training.dropout, 0)
    state = zero_state(parameters, batches.inputs.shape[1], cell)
    total = 0.0
    for inputs, targets in batches:
        nats, gradient, state = gradients(
            parameters, inputs, targets, state, cell, training.loss, dropout
        )
        parameters = optimizer.step(parameters, gradient)
        total += nats
    return parameters, EpochLoss(total, batches.tokens)


def evaluate(parameters: Parameters, batches: Batches, cell: Cell = LSTM) -> EpochLoss:
    """The loss over all windows from zero state, nothing trained and nothing dropped."""
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
