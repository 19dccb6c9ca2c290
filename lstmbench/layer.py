"""The recurrent layers alone, in NumPy and generic in dtype: what every backend must compute.

No embedding, no output, no loss: inputs ``[T, B, in]`` go through all layers from zero state, and
slopes ``[T, B, H]``, the gradients by the last layer's outputs, go back. The equations are those of
:mod:`lstmbench.reference`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lstmbench.backend import LayerParameters, LayerResult, ModelConfig
from lstmbench.cells import LSTM, Cell, Shapes, tensor_shapes


def layer_pass(
    layers: Sequence[LayerParameters],
    inputs: np.ndarray,
    slopes: np.ndarray | None = None,
    cell: Cell = LSTM,
) -> LayerResult:
    """Outputs of ``inputs`` and, with ``slopes``, the gradients of the sum of outputs times
    slopes."""
    read, tapes = [inputs], []
    for layer in layers:
        hidden = layer.recurrent_kernel.shape[0]
        state = cell.zero_state(inputs.shape[1], hidden, inputs.dtype)
        outputs, _, tape = cell.forward(layer, read[-1] @ layer.input_kernel, state)
        read.append(outputs)
        tapes.append(tape)
    outputs = read.pop()
    if slopes is None:
        return LayerResult(outputs)
    gradients: list[LayerParameters] = []
    for layer, below, tape in zip(reversed(layers), reversed(read), reversed(tapes), strict=True):
        d_raw, own = cell.backward(layer, tape, slopes)
        flat = d_raw.reshape(-1, d_raw.shape[-1])
        d_kernel = below.reshape(-1, below.shape[-1]).T @ flat
        slopes = (flat @ layer.input_kernel.T).reshape(below.shape)
        gradients.insert(0, LayerParameters.from_tensors({"input_kernel": d_kernel, **own}))
    return LayerResult(outputs, slopes, tuple(gradients))


def result_shapes(
    model: ModelConfig, steps: int, batch: int, backward: bool, cell: Cell = LSTM
) -> dict[str, tuple[int, ...]]:
    """Of a result's arrays by name, in the order of :meth:`LayerResult.items`."""
    shapes: dict[str, tuple[int, ...]] = {"outputs": (steps, batch, model.hidden_size)}
    if backward:
        shapes["inputs"] = (steps, batch, model.input_size(0))
        shapes |= layer_shapes(tensor_shapes(cell, model))
    return shapes


def layer_shapes(shapes: Shapes) -> dict[str, tuple[int, ...]]:
    """Those of a model's tensors that are the recurrent layers'."""
    return {name: shape for name, shape in shapes.items() if name.startswith("layer")}
