"""Epochs trained again by the reference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lstmbench import reference
from lstmbench.backend import Parameters, TrainingConfig
from lstmbench.batches import Batches
from lstmbench.cells import LSTM, Cell
from lstmbench.worker.parity_setting import rounded


@dataclass(frozen=True)
class Trained:
    """Parameters after some epochs, and the summed nats of each epoch."""

    parameters: Parameters
    nats: tuple[float, ...]


def train(
    start: Parameters,
    epochs: Sequence[Batches],
    training: TrainingConfig,
    bias_copies: int = 1,
    dtype: str = "float64",
    cell: Cell = LSTM,
) -> Trained:
    """Train ``epochs`` in ``dtype``: in 16 bits by float32 that is rounded at every update.

    ``bias_copies``: how many trained biases add up to the one of each layer. A framework with two
    trains both from its own initial parameters: their gradients are equal, so that their sum moves
    at twice the rate, and both count in the norm that is clipped.
    """
    parameters = rounded(start.astype("float64" if dtype == "float64" else "float32"), dtype)
    nats = []
    for batches in epochs:
        parameters, total = train_epoch(parameters, batches, training, bias_copies, dtype, cell)
        nats.append(total)
    return Trained(parameters, tuple(nats))


def train_epoch(
    parameters: Parameters,
    batches: Batches,
    training: TrainingConfig,
    bias_copies: int = 1,
    dtype: str = "float64",
    cell: Cell = LSTM,
) -> tuple[Parameters, float]:
    """One epoch, as :func:`train`: the parameters after it, and its summed nats."""
    state = reference.zero_state(parameters, batches.inputs.shape[1], cell)
    total = 0.0
    for inputs, targets in batches:
        loss, gradient, state = reference.gradients(parameters, inputs, targets, state, cell)
        parameters = rounded(_step(parameters, gradient, training, bias_copies), dtype)
        total += loss
    return parameters, total


def _step(
    parameters: Parameters, gradient: Parameters, training: TrainingConfig, bias_copies: int
) -> Parameters:
    if bias_copies == 1:
        return reference.sgd_step(parameters, gradient, training)
    copies = [bias_copies if _is_layer_bias(name) else 1 for name, _ in gradient.items()]
    squares = (
        count * np.vdot(array, array)
        for count, (_, array) in zip(copies, gradient.items(), strict=True)
    )
    norm = float(np.sqrt(sum(squares)))
    rate = training.learning_rate * min(1.0, training.clip_norm / norm if norm else 1.0)
    triples = zip(copies, parameters.items(), gradient.items(), strict=True)
    return parameters.like(
        [value - rate * count * change for count, (_, value), (_, change) in triples]
    )


def _is_layer_bias(name: str) -> bool:
    return name.startswith("layer") and name.endswith(".bias")
