"""The cells: what is correct, in NumPy. Imports no framework, for host and auditor load it too.

Shapes: B batch, T steps, H hidden; ``projected`` is the input's part of all gates.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from lstmbench import Cell, LayerParameters
from lstmbench.cells import CellState, sigmoid

Backward = tuple[np.ndarray, Mapping[str, np.ndarray]]


class GruCell(Cell):
    """Gated recurrent units, the reset gate applied after the matmul, as cuDNN has it::

        r, z = sigmoid(x W + h R + b)        of the first two thirds: reset and update gate
        n = tanh(x Wn + bn + r * (h Rn + u))
        h_t = (1 - z) * n + z * h

    Source: Cho et al., "Learning phrase representations using RNN encoder-decoder" (2014).
    """

    def shapes(self, inputs: int, hidden: int) -> Mapping[str, tuple[int, ...]]:
        return {
            "input_kernel": (inputs, 3 * hidden),
            "recurrent_kernel": (hidden, 3 * hidden),
            "bias": (3 * hidden,),
            "recurrent_bias": (hidden,),
        }

    def forward(
        self, layer: LayerParameters, projected: np.ndarray, state: CellState
    ) -> tuple[np.ndarray, CellState, Any]:
        steps, batch, _ = projected.shape
        hidden = layer.recurrent_kernel.shape[0]
        gates = np.empty((steps, batch, 3, hidden), projected.dtype)
        inner = np.empty((steps, batch, hidden), projected.dtype)
        hiddens = np.empty((steps + 1, batch, hidden), projected.dtype)
        (hiddens[0],) = state
        for t in range(steps):
            own = (projected[t] + layer.bias).reshape(batch, 3, hidden)
            back = (hiddens[t] @ layer.recurrent_kernel).reshape(batch, 3, hidden)
            inner[t] = back[:, 2] + layer.extra["recurrent_bias"]
            gates[t, :, :2] = sigmoid(own[:, :2] + back[:, :2])
            gates[t, :, 2] = np.tanh(own[:, 2] + gates[t, :, 0] * inner[t])
            _, z, n = (gates[t, :, k] for k in range(3))
            hiddens[t + 1] = (1 - z) * n + z * hiddens[t]
        return hiddens[1:], (hiddens[-1],), (gates, inner, hiddens)

    def backward(self, layer: LayerParameters, tape: Any, slopes: np.ndarray) -> Backward:
        gates, inner, hiddens = tape
        steps, batch, _, hidden = gates.shape
        d_own = np.empty_like(gates)
        d_back = np.empty_like(gates)
        d_h = np.zeros((batch, hidden), gates.dtype)
        for t in reversed(range(steps)):
            r, z, n = (gates[t, :, k] for k in range(3))
            d_h = d_h + slopes[t]
            d_n = d_h * (1 - z) * (1 - n**2)
            d_own[t, :, 0] = d_n * inner[t] * r * (1 - r)
            d_own[t, :, 1] = d_h * (hiddens[t] - n) * z * (1 - z)
            d_own[t, :, 2] = d_n
            d_back[t] = d_own[t]
            d_back[t, :, 2] = d_n * r
            flat = d_back[t].reshape(batch, 3 * hidden)
            d_h = d_h * z + flat @ layer.recurrent_kernel.T
        return d_own.reshape(steps, batch, 3 * hidden), {
            "recurrent_kernel": np.einsum(
                "tbh,tbg->hg", hiddens[:-1], d_back.reshape(steps, batch, 3 * hidden), optimize=True
            ),
            "bias": d_own.sum(axis=(0, 1)).reshape(-1),
            "recurrent_bias": d_back[:, :, 2].sum(axis=(0, 1)),
        }


class PeepholeCell(Cell):
    """The LSTM whose gates see the cell: input and forget gate the last one, output gate the new::

        i = sigmoid(x Wi + h Ri + bi + p0 * c)
        f = sigmoid(x Wf + h Rf + bf + p1 * c)
        o = sigmoid(x Wo + h Ro + bo + p2 * c_t)

    Source: Gers & Schmidhuber, "Recurrent nets that time and count" (2000).
    """

    carried = 2

    def shapes(self, inputs: int, hidden: int) -> Mapping[str, tuple[int, ...]]:
        return {
            "input_kernel": (inputs, 4 * hidden),
            "recurrent_kernel": (hidden, 4 * hidden),
            "bias": (4 * hidden,),
            "peepholes": (3, hidden),
        }

    def forward(
        self, layer: LayerParameters, projected: np.ndarray, state: CellState
    ) -> tuple[np.ndarray, CellState, Any]:
        steps, batch, _ = projected.shape
        hidden = layer.recurrent_kernel.shape[0]
        peepholes = layer.extra["peepholes"]
        gates = np.empty((steps, batch, 4, hidden), projected.dtype)
        hiddens = np.empty((steps + 1, batch, hidden), projected.dtype)
        cells = np.empty_like(hiddens)
        hiddens[0], cells[0] = state
        for t in range(steps):
            raw = projected[t] + hiddens[t] @ layer.recurrent_kernel + layer.bias
            raw = raw.reshape(batch, 4, hidden)
            gates[t, :, :2] = sigmoid(raw[:, :2] + peepholes[:2] * cells[t][:, None])
            gates[t, :, 2] = np.tanh(raw[:, 2])
            i, f, g = (gates[t, :, k] for k in range(3))
            cells[t + 1] = f * cells[t] + i * g
            gates[t, :, 3] = sigmoid(raw[:, 3] + peepholes[2] * cells[t + 1])
            hiddens[t + 1] = gates[t, :, 3] * np.tanh(cells[t + 1])
        return hiddens[1:], (hiddens[-1], cells[-1]), (gates, cells, hiddens)

    def backward(self, layer: LayerParameters, tape: Any, slopes: np.ndarray) -> Backward:
        gates, cells, hiddens = tape
        steps, batch, _, hidden = gates.shape
        peepholes = layer.extra["peepholes"]
        d_raw = np.empty_like(gates)
        d_peepholes = np.zeros_like(peepholes)
        d_h = np.zeros((batch, hidden), gates.dtype)
        d_c = np.zeros_like(d_h)
        for t in reversed(range(steps)):
            i, f, g, o = (gates[t, :, k] for k in range(4))
            tanh_c = np.tanh(cells[t + 1])
            d_h = d_h + slopes[t]
            d_raw[t, :, 3] = d_h * tanh_c * o * (1 - o)
            d_c = d_c + d_h * o * (1 - tanh_c**2) + d_raw[t, :, 3] * peepholes[2]
            d_raw[t, :, 0] = d_c * g * i * (1 - i)
            d_raw[t, :, 1] = d_c * cells[t] * f * (1 - f)
            d_raw[t, :, 2] = d_c * i * (1 - g**2)
            d_peepholes[:2] += (d_raw[t, :, :2] * cells[t][:, None]).sum(axis=0)
            d_peepholes[2] += (d_raw[t, :, 3] * cells[t + 1]).sum(axis=0)
            d_c = d_c * f + (d_raw[t, :, :2] * peepholes[:2]).sum(axis=1)
            d_h = d_raw[t].reshape(batch, 4 * hidden) @ layer.recurrent_kernel.T
        flat = d_raw.reshape(steps, batch, 4 * hidden)
        return flat, {
            "recurrent_kernel": np.einsum("tbh,tbg->hg", hiddens[:-1], flat, optimize=True),
            "bias": d_raw.sum(axis=(0, 1)).reshape(-1),
            "peepholes": d_peepholes,
        }
