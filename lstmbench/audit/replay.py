"""Epochs trained again by the reference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lstmbench import reference
from lstmbench.backend import Parameters, TrainingConfig
from lstmbench.batches import Batches
from lstmbench.cells import LSTM, Cell
from lstmbench.dropout import Dropout
from lstmbench.optimizers import Optimizer
from lstmbench.worker.parity_setting import rounded


@dataclass(frozen=True)
class Trained:
    """Parameters after some epochs, the summed nats of each epoch, and what the optimizer keeps."""

    parameters: Parameters
    nats: tuple[float, ...]
    moments: tuple[Parameters, ...] = ()


@dataclass(frozen=True)
class Course:
    """What decides training beside parameters and text.

    ``rates``: the learning rate of each epoch; none, if it is always the protocol's. ``moments``:
    what the optimizer kept after the ``updates`` before. ``seed``: of the masks of dropout.
    """

    rates: tuple[float, ...] = ()
    moments: tuple[Parameters, ...] = ()
    updates: int = 0
    seed: int = 0


def train(
    start: Parameters,
    epochs: Sequence[Batches],
    training: TrainingConfig,
    bias_copies: int = 1,
    dtype: str = "float64",
    cell: Cell = LSTM,
    course: Course = Course(),
) -> Trained:
    """Train ``epochs`` in ``dtype``: in 16 bits by float32 that computes with rounded parameters.

    ``bias_copies`` as in :class:`lstmbench.optimizers.Optimizer`.
    """
    kind = "float64" if dtype == "float64" else "float32"
    parameters = start.astype(kind)
    kept = [moment.astype(kind) for moment in course.moments]
    optimizer = Optimizer(training, kept, course.updates, bias_copies)
    dropout = Dropout(training.dropout, course.seed)
    nats = []
    for index, batches in enumerate(epochs):
        if course.rates:
            optimizer.learning_rate = course.rates[index]
        parameters, total = train_epoch(parameters, batches, optimizer, dtype, cell, dropout)
        nats.append(total)
    return Trained(parameters, tuple(nats), optimizer.moments)


def train_epoch(
    parameters: Parameters,
    batches: Batches,
    optimizer: Optimizer,
    dtype: str = "float64",
    cell: Cell = LSTM,
    dropout: Dropout | None = None,
) -> tuple[Parameters, float]:
    """One epoch, as :func:`train`: the parameters after it, and its summed nats."""
    state = reference.zero_state(parameters, batches.inputs.shape[1], cell)
    total = 0.0
    for inputs, targets in batches:
        loss, gradient, state = reference.gradients(
            rounded(parameters, dtype),
            inputs,
            targets,
            state,
            cell,
            optimizer.training.loss,
            dropout,
        )
        parameters = optimizer.step(parameters, gradient)
        total += loss
    return parameters, total
