"""Initial parameters, drawn in float32 from one generator: the same for every backend."""

from __future__ import annotations

import numpy as np

from lstmbench.backend import Initialisation, ModelConfig, Parameters
from lstmbench.cells import LSTM, Cell, Shapes, parameters_of, tensor_shapes


def draw_parameters(
    model: ModelConfig,
    seed: int,
    scale: float | None = None,
    bias_scale: float = 0.0,
    cell: Cell = LSTM,
) -> Parameters:
    """The ``shared`` initial parameters of a model; with ``scale``, others for proofs, from
    normal(0, ``scale``) and normal(0, ``bias_scale``)."""
    shapes = tensor_shapes(cell, model)
    if scale is None:
        return draw_initial(shapes, seed, model.initialisation)
    return draw_tensors(shapes, seed, scale, bias_scale)


def draw_tensors(
    shapes: Shapes, seed: int, scale: float = 0.01, bias_scale: float = 0.0
) -> Parameters:
    """Normal(0, scale) in float32: embedding, layer by layer, output last.

    Biases, and what is no kernel, are zero unless ``bias_scale`` is given, in which case they are
    drawn too.
    """
    return draw_initial(shapes, seed, Initialisation(scale=scale, bias_scale=bias_scale))


def draw_initial(shapes: Shapes, seed: int, wanted: Initialisation) -> Parameters:
    """As ``wanted`` says, in the order of :func:`draw_tensors`."""
    rng = np.random.default_rng(seed)

    def draw(name: str, shape: tuple[int, ...]) -> np.ndarray:
        scale = wanted.scale if name.endswith(("kernel", "embedding")) else wanted.bias_scale
        if not scale:
            return np.zeros(shape, np.float32)
        if wanted.distribution == "uniform":
            return rng.uniform(-scale, scale, size=shape).astype(np.float32)
        return (rng.normal(size=shape) * scale).astype(np.float32)

    drawn = parameters_of(shapes, [draw(name, shape) for name, shape in shapes.items()])
    if wanted.forget_bias is not None:
        for layer in drawn.layers:
            hidden = layer.recurrent_kernel.shape[0]
            layer.bias[hidden : 2 * hidden] = wanted.forget_bias
    return drawn
