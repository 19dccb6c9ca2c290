"""What one recurrent layer computes, in NumPy and generic in dtype: the LSTM, or a plugin's own.

Everything around a cell is the same for all: the first layer reads one-hot symbols, so that the
input's part of its sums is a row of ``input_kernel``, or an embedding; the last layer's outputs
give logits through a linear layer; the loss is in :mod:`lstmbench.reference`, clipping and updates
in :mod:`lstmbench.optimizers`.
Shapes: B batch, T steps, H hidden, V vocabulary, G what all gates of a cell have together.
"""

from __future__ import annotations

import importlib
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lstmbench.backend import LAYER_TENSORS, LayerParameters, ModelConfig, Parameters

#: The arrays that a cell carries from step to step, each ``[B, H]``.
CellState = tuple[np.ndarray, ...]
#: Trained tensors of a model by name, in the order of ``Parameters.items``.
Shapes = Mapping[str, tuple[int, ...]]


class Cell(ABC):
    """One recurrent layer: its tensors, a pass through time, and the gradients of that pass.

    A plugin that brings its own model subclasses this in a module that imports NumPy only, and
    names the class in ``BackendSpec.reference``.
    """

    #: How many arrays are carried from step to step; a GRU has one, an LSTM two.
    carried = 1

    @abstractmethod
    def shapes(self, inputs: int, hidden: int) -> Mapping[str, tuple[int, ...]]:
        """Every trained tensor of a layer that reads ``inputs`` values, in canonical order.

        ``input_kernel`` ``[inputs, G]``, ``recurrent_kernel`` and ``bias`` come first, then any
        others by names of their own. Kernels are drawn at random, all others start at zero.
        """

    @abstractmethod
    def forward(
        self, layer: LayerParameters, projected: np.ndarray, state: CellState
    ) -> tuple[np.ndarray, CellState, Any]:
        """Through time: outputs ``[T, B, H]``, the last state, and what ``backward`` needs.

        ``projected`` ``[T, B, G]`` is the input times ``input_kernel``.
        """

    @abstractmethod
    def backward(
        self, layer: LayerParameters, tape: Any, slopes: np.ndarray
    ) -> tuple[np.ndarray, Mapping[str, np.ndarray]]:
        """From the loss's slopes by the outputs ``[T, B, H]`` to those by ``projected``
        ``[T, B, G]``, and the gradient of each tensor but ``input_kernel``, by name.

        No gradient flows into the state that the window began with.
        """

    def operations(self, inputs: int, hidden: int) -> float:
        """Multiplications and additions per token, forward: of the matmuls, unless overridden."""
        kernels = [s for name, s in self.shapes(inputs, hidden).items() if name.endswith("kernel")]
        return 2.0 * sum(math.prod(shape) for shape in kernels)

    def zero_state(self, batch: int, hidden: int, dtype: Any) -> CellState:
        """What a layer starts from."""
        return tuple(np.zeros((batch, hidden), dtype) for _ in range(self.carried))


def tensor_shapes(cell: Cell, model: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Every trained tensor of a model by its name, such as ``layer0.bias``: an embedding first, the
    output last."""
    vocabulary = model.vocabulary_size
    shapes: dict[str, tuple[int, ...]] = {}
    if model.embedding_size is not None:
        shapes["embedding"] = (vocabulary, model.embedding_size)
    for index in range(model.layers):
        own = cell.shapes(model.input_size(index), model.hidden_size)
        names = dict.fromkeys((*LAYER_TENSORS, *own))
        shapes |= {f"layer{index}.{name}": tuple(own[name]) for name in names}
    if not model.tied:
        shapes["output_kernel"] = (model.hidden_size, vocabulary)
    return {**shapes, "output_bias": (vocabulary,)}


def count(shapes: Shapes) -> int:
    """Trainable scalars."""
    return sum(math.prod(shape) for shape in shapes.values())


def parameters_of(shapes: Shapes, arrays: Sequence[np.ndarray]) -> Parameters:
    """Arrays in the order of ``shapes``, under their names."""
    first = [name.removeprefix("layer0.") for name in shapes if name.startswith("layer0.")]
    return Parameters.from_arrays(
        arrays,
        [name for name in first if name not in LAYER_TENSORS],
        embedding="embedding" in shapes,
        tied="output_kernel" not in shapes,
    )


def operations_per_token(cell: Cell, model: ModelConfig) -> float:
    """Multiplications and additions of a model's matmuls, forward.

    A look-up costs none: of an embedding, or else of the first layer's input.
    """
    hidden = model.hidden_size
    first = cell.operations(model.input_size(0), hidden)
    looked_up = 2.0 * math.prod(cell.shapes(model.vocabulary_size, hidden)["input_kernel"])
    if model.embedding_size is not None:
        looked_up = 0.0
    above = (model.layers - 1) * cell.operations(hidden, hidden)
    return first - looked_up + above + 2.0 * hidden * model.vocabulary_size


def load_cell(reference: str) -> Cell:
    """The cell that ``"module:attribute"`` names; the LSTM for an empty name.

    Imports that module, and nothing else of a plugin but its package. Raises ``ImportError``,
    ``AttributeError``, or ``TypeError`` for what makes no :class:`Cell`.
    """
    if not reference:
        return LSTM
    module, _, attribute = reference.partition(":")
    made = getattr(importlib.import_module(module), attribute)()
    if not isinstance(made, Cell):
        raise TypeError(f"{reference} made a {type(made).__name__}, not a lstmbench.Cell")
    return made


def sigmoid(x: np.ndarray) -> np.ndarray:
    # through tanh: exact at both ends, where exp would overflow
    half: np.ndarray = 0.5 * (np.tanh(0.5 * x) + 1)
    return half


@dataclass
class _Tape:
    """What one layer's backward pass needs, each ``[T, B, ...]``."""

    gates: np.ndarray  # activated i, f, g, o: [T, B, 4, H]
    cells: np.ndarray  # c_0 .. c_T: [T + 1, B, H]
    hiddens: np.ndarray  # h_0 .. h_T


class LstmCell(Cell):
    """The LSTM, as the docstring of :mod:`lstmbench.reference` states it."""

    carried = 2

    def shapes(self, inputs: int, hidden: int) -> Mapping[str, tuple[int, ...]]:
        return {
            "input_kernel": (inputs, 4 * hidden),
            "recurrent_kernel": (hidden, 4 * hidden),
            "bias": (4 * hidden,),
        }

    def forward(
        self, layer: LayerParameters, projected: np.ndarray, state: CellState
    ) -> tuple[np.ndarray, CellState, Any]:
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
        return tape.hiddens[1:], (tape.hiddens[-1], tape.cells[-1]), tape

    def backward(
        self, layer: LayerParameters, tape: Any, slopes: np.ndarray
    ) -> tuple[np.ndarray, Mapping[str, np.ndarray]]:
        steps, batch, _, hidden = tape.gates.shape
        d_raw = np.empty_like(tape.gates)
        d_h = np.zeros((batch, hidden), tape.gates.dtype)
        d_c = np.zeros_like(d_h)
        for t in reversed(range(steps)):
            i, f, g, o = (tape.gates[t, :, k] for k in range(4))
            tanh_c = np.tanh(tape.cells[t + 1])
            d_h = d_h + slopes[t]
            d_c = d_c + d_h * o * (1 - tanh_c**2)
            d_raw[t, :, 0] = d_c * g * i * (1 - i)
            d_raw[t, :, 1] = d_c * tape.cells[t] * f * (1 - f)
            d_raw[t, :, 2] = d_c * i * (1 - g**2)
            d_raw[t, :, 3] = d_h * tanh_c * o * (1 - o)
            d_c = d_c * f
            d_h = d_raw[t].reshape(batch, 4 * hidden) @ layer.recurrent_kernel.T
        flat = d_raw.reshape(steps * batch, 4 * hidden)
        d_recurrent = tape.hiddens[:-1].reshape(steps * batch, hidden).T @ flat
        gradient = {"recurrent_kernel": d_recurrent, "bias": d_raw.sum(axis=(0, 1)).reshape(-1)}
        return flat.reshape(steps, batch, 4 * hidden), gradient


#: The cell that this project is about.
LSTM = LstmCell()
