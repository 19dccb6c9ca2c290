"""The LSTM by hand, gradients derived by hand: back-propagation through time without autograd.

The equations are those of ``lstmbench.reference``. What makes them fast here:

- one product per step for all four gates, onto the input's part, which is a look-up in the first
  layer and one product over the whole window in the others;
- on the CPU, products by oneDNN, the library behind ``nn.LSTM``; ``torch.mm`` calls MKL, which
  keeps its best kernels for Intel's processors;
- in the backward loop only what depends on the next step: the gates' derivatives are taken for
  all steps beforehand, and the gradients of the kernels in one product each afterwards;
- buffers and their views by step are made once per shape, and ``inference_mode`` leaves autograd
  no bookkeeping.

Shapes: B batch, T steps, H hidden, V vocabulary; time first, ``[T, B, ...]``. The four gates
stand in the order o, i, f, g: the three sigmoids are neighbours, and so are the three gates that
the cell's gradient reaches.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lstmbench import LayerParameters, Parameters, Task, reference
from lstmbench_torch.common import Model, State, clip_and_step, one_hot

_FROM_CANONICAL = [3, 0, 1, 2]  # i, f, g, o -> o, i, f, g
_TO_CANONICAL = [1, 2, 3, 0]


@dataclass(frozen=True)
class _Layer:
    """Kernels ``[in, 4H]`` and ``[H, 4H]``, bias ``[4H]``."""

    input_kernel: Tensor
    recurrent_kernel: Tensor
    bias: Tensor


class _Tape:
    """What one layer's backward pass needs of a window, and the views of every step."""

    def __init__(self, like: Tensor, steps: int, batch: int, hidden: int) -> None:
        def buffer(steps: int, width: int = hidden) -> Tensor:
            return like.new_empty(steps, batch, width)

        self.sigmoids = buffer(steps, 3 * hidden)
        self.o, self.i, self.f = self.sigmoids.chunk(3, dim=-1)
        self.g = buffer(steps)
        self.cells = buffer(steps + 1)  # c_0 .. c_T
        self.tanh_cells = buffer(steps)
        self.hiddens = buffer(steps + 1)  # h_0 .. h_T
        self.d_raw = buffer(steps, 4 * hidden)  # dL/d(raw gates), first their derivatives
        self.through_cell = buffer(steps)  # dL/dh -> dL/dc
        #: h_1 .. h_T as rows, and h_0 .. h_{T-1}.
        self.outputs = self.hiddens[1:].flatten(0, 1)
        self.previous = self.hiddens[:-1].flatten(0, 1)
        self.forward = list(
            zip(
                self.sigmoids,
                self.o,
                self.i,
                self.f,
                self.g,
                self.cells[:-1],
                self.cells[1:],
                self.tanh_cells,
                self.hiddens[:-1],
                self.hiddens[1:],
                strict=True,
            )
        )
        self.backward = list(
            zip(
                self.d_raw,
                self.d_raw[..., :hidden],
                self.d_raw[..., hidden:].view(steps, batch, 3, hidden),
                self.f,
                self.through_cell,
                strict=True,
            )
        )

    def derive(self) -> None:
        """Fill ``d_raw`` and ``through_cell`` with all that no later step has a part in."""
        d_o, d_i, d_f, d_g = self.d_raw.chunk(4, dim=-1)
        # ATen's kernels for a * y * (1 - y) and a * (1 - y * y), one pass each
        sigmoid_backward = torch.ops.aten.sigmoid_backward.grad_input
        tanh_backward = torch.ops.aten.tanh_backward.grad_input
        sigmoid_backward(self.tanh_cells, self.o, grad_input=d_o)
        sigmoid_backward(self.g, self.i, grad_input=d_i)
        sigmoid_backward(self.cells[:-1], self.f, grad_input=d_f)
        tanh_backward(self.i, self.g, grad_input=d_g)
        tanh_backward(self.o, self.tanh_cells, grad_input=self.through_cell)


class FusedModel(Model):
    """All gates of a layer in one kernel; every gradient written out."""

    def __init__(self, task: Task, device: torch.device, dtype: torch.dtype) -> None:
        self._task = task
        hidden, vocabulary = task.model.hidden_size, task.model.vocabulary_size

        def tensor(*shape: int) -> Tensor:
            return torch.zeros(shape, dtype=dtype, device=device)

        sizes = [task.model.input_size(layer) for layer in range(task.model.layers)]
        self._layers = [
            _Layer(tensor(size, 4 * hidden), tensor(hidden, 4 * hidden), tensor(4 * hidden))
            for size in sizes
        ]
        self._output_weight, self._output_bias = tensor(vocabulary, hidden), tensor(vocabulary)
        self._tapes: dict[torch.Size, list[_Tape]] = {}
        self._onednn = _has_onednn(device, dtype)
        self._mm: Callable[[Tensor, Tensor], Tensor] = torch.mm
        self._addmm: Callable[[Tensor, Tensor, Tensor], Tensor] = torch.addmm
        if self._onednn:
            self._mm, self._addmm = _onednn_mm, _onednn_addmm
        self.load(reference.draw_parameters(task.model, task.seed))

    @property
    def trained(self) -> list[Tensor]:
        layers = [
            tensor
            for layer in self._layers
            for tensor in (layer.input_kernel, layer.recurrent_kernel, layer.bias)
        ]
        return [*layers, self._output_weight, self._output_bias]

    def load(self, parameters: Parameters) -> None:
        for layer, values in zip(self._layers, parameters.layers, strict=True):
            for name, tensor in vars(layer).items():
                tensor.copy_(torch.tensor(_reorder(getattr(values, name), _FROM_CANONICAL)))
        self._output_weight.copy_(torch.tensor(parameters.output_kernel.T))
        self._output_bias.copy_(torch.tensor(parameters.output_bias))

    def export(self) -> Parameters:
        layers = tuple(
            LayerParameters(
                **{
                    name: _reorder(tensor.numpy(force=True), _TO_CANONICAL)
                    for name, tensor in vars(layer).items()
                }
            )
            for layer in self._layers
        )
        return Parameters(
            layers,
            self._output_weight.T.numpy(force=True).copy(),
            self._output_bias.numpy(force=True).copy(),
        )

    @torch.inference_mode()
    def train_window(self, x: Tensor, y: Tensor, state: State) -> tuple[Tensor, State]:
        logits, new_state = self.logits(x, state)
        tapes = self._tapes[x.shape]
        log_probabilities = logits.log_softmax(1)
        targets = y.reshape(-1, 1)
        loss = -log_probabilities.gather(1, targets).mean()
        d_logits = log_probabilities.exp_()
        d_logits.scatter_add_(1, targets, d_logits.new_full(targets.shape, -1.0))
        d_logits /= y.numel()
        gradients = [self._mm(d_logits.t(), tapes[-1].outputs), d_logits.sum(0)]
        d_hiddens = self._mm(d_logits, self._output_weight)
        for index in reversed(range(len(tapes))):
            layer, tape = self._layers[index], tapes[index]
            d_raw = self._backward(layer, tape, d_hiddens.view_as(tape.g))
            if index:
                d_input_kernel = self._mm(tapes[index - 1].outputs.t(), d_raw)
                d_hiddens = self._mm(d_raw, layer.input_kernel.t())
            else:
                d_input_kernel = _look_up_gradient(layer.input_kernel, x.flatten(), d_raw)
            d_recurrent_kernel = self._mm(tape.previous.t(), d_raw)
            gradients[:0] = [d_input_kernel, d_recurrent_kernel, d_raw.sum(0)]
        clip_and_step(self.trained, gradients, self._task.training)
        return loss, new_state

    @torch.inference_mode()
    def logits(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        tapes = self._tapes.get(x.shape)
        if tapes is None:
            steps, batch = x.shape
            hidden = self._task.model.hidden_size
            tapes = [_Tape(self._output_bias, steps, batch, hidden) for _ in self._layers]
            self._tapes[x.shape] = tapes
        for index, (layer, tape, h, c) in enumerate(zip(self._layers, tapes, *state, strict=True)):
            if index:
                projected = self._addmm(layer.bias, tapes[index - 1].outputs, layer.input_kernel)
            else:
                projected = (layer.input_kernel + layer.bias).index_select(0, x.flatten())
            tape.hiddens[0], tape.cells[0] = h, c
            self._forward(layer, tape, projected.view_as(tape.d_raw))
        logits = self._addmm(self._output_bias, tapes[-1].outputs, self._output_weight.t())
        h = torch.stack([tape.hiddens[-1] for tape in tapes])
        c = torch.stack([tape.cells[-1] for tape in tapes])
        return logits, (h, c)

    def _forward(self, layer: _Layer, tape: _Tape, projected: Tensor) -> None:
        """Fill the tape; ``projected`` is the input's part of the raw gates, ``[T, B, 4H]``."""
        split = 3 * self._task.model.hidden_size
        for start, views in zip(projected, tape.forward, strict=True):
            sigmoids, o, i, f, g, c_before, c, tanh_c, h_before, h = views
            raw = self._addmm(start, h_before, layer.recurrent_kernel)
            torch.sigmoid(raw[:, :split], out=sigmoids)
            g.copy_(raw[:, split:]).tanh_()  # tanh is slow on rows that are not adjacent
            torch.mul(f, c_before, out=c).addcmul_(i, g)
            torch.tanh(c, out=tanh_c)
            torch.mul(o, tanh_c, out=h)

    def _backward(self, layer: _Layer, tape: _Tape, d_hiddens: Tensor) -> Tensor:
        """From dL/dh_t, ``[T, B, H]``, to dL/d(raw gates), ``[T * B, 4H]``."""
        tape.derive()
        kernel = layer.recurrent_kernel.t()
        d_h = d_hiddens[-1]
        d_c = torch.zeros_like(d_h)
        d_c_of_gates = d_c.unsqueeze(1)
        for t in reversed(range(len(tape.backward))):
            d_raw, d_o, d_ifg, f, through_cell = tape.backward[t]
            d_c.addcmul_(d_h, through_cell)
            d_o.mul_(d_h)
            d_ifg.mul_(d_c_of_gates)
            d_c.mul_(f)
            if t:
                d_h = self._addmm(d_hiddens[t - 1], d_raw, kernel)
        return tape.d_raw.flatten(0, 1)

    def facts(self) -> dict[str, str]:
        products = "oneDNN" if self._onednn else "torch.addmm"
        return {"kernel": f"{products} products, ATen gates", "biases": "one per layer"}


def _reorder(array: np.ndarray, order: Sequence[int]) -> np.ndarray:
    """The four blocks of the last axis in another order."""
    blocks = array.reshape(*array.shape[:-1], 4, -1)
    return np.take(blocks, order, axis=-2).reshape(array.shape)


def _look_up_gradient(kernel: Tensor, ids: Tensor, d_raw: Tensor) -> Tensor:
    """Rows of ``d_raw`` added up by id, in an order that repeats itself."""
    if ids.device.type == "cpu":
        return torch.zeros_like(kernel).index_add_(0, ids, d_raw)
    # elsewhere index_add_ adds in any order
    return one_hot(ids, kernel.shape[0], kernel.dtype).t() @ d_raw


def _has_onednn(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether the product that Inductor uses for linear layers on the CPU is in this build."""
    return (
        device.type == "cpu"
        and dtype is torch.float32
        and torch.backends.mkldnn.is_available()
        and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    )


def _onednn_mm(a: Tensor, b: Tensor) -> Tensor:
    """``torch.mm`` by oneDNN."""
    product: Tensor = torch.ops.mkldnn._linear_pointwise.default(a, b.t(), None, "none", [], "")
    return product


def _onednn_addmm(start: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """``torch.addmm`` by oneDNN; ``start`` is a bias, or contiguous and of the result's shape."""
    linear = torch.ops.mkldnn._linear_pointwise
    total: Tensor
    if start.dim() == 1:
        total = linear.default(a, b.t(), start, "none", [], "")
    else:
        # a start that is not contiguous would cost oneDNN its fast kernel
        total = linear.binary(a, start, b.t(), None, "add")
    return total
