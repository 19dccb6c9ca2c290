"""The LSTM by hand, gradients derived by hand: back-propagation through time without autograd.

The equations are those of ``lstmbench.reference``. What makes them fast here:

- the batch comes last, ``[H, B]``: a tall kernel times a narrow state multiplies faster on a CPU
  than the same product transposed, and each gate is one block of memory;
- a step's operand is h, the input and a one on top of each other, so that one product makes all
  raw gates, and one product after the loop the gradients of both kernels and the bias;
- in the backward loop only what depends on the next step: the gates' derivatives are taken for
  all steps beforehand;
- buffers and their views by step are made once per shape, and ``inference_mode`` leaves autograd
  no bookkeeping.

Shapes: B batch, T steps, H hidden, V vocabulary; time first, ``[T, ..., B]``. The four gates
stand in the order o, i, f, g: the three sigmoids are adjacent, and so are the three gates that
the cell's gradient reaches.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from lstmbench import Parameters, Task, reference
from lstmbench_torch.common import Kept, Layers, Model, State
from lstmbench_torch.updates import Updater

_FROM_CANONICAL = [3, 0, 1, 2]  # i, f, g, o -> o, i, f, g
_TO_CANONICAL = [1, 2, 3, 0]


class _Tape:
    """What one layer's backward pass needs of a window, and the views of every step."""

    def __init__(self, like: Tensor, inputs: int, steps: int, batch: int, hidden: int) -> None:
        def buffer(steps: int, height: int = hidden) -> Tensor:
            return like.new_empty(steps, height, batch)

        self.operands = buffer(steps + 1, hidden + inputs + 1)  # h_(t-1), x_t, 1
        self.operands[:, -1] = 1
        self.hiddens = self.operands[:, :hidden]  # h_0 .. h_T
        self.inputs = self.operands[:-1, hidden:-1]
        self.raw = like.new_empty(4 * hidden, batch)
        self.sigmoids = buffer(steps, 3 * hidden)
        self.o, self.i, self.f = self.sigmoids.chunk(3, dim=1)
        self.g = buffer(steps)
        self.cells = buffer(steps + 1)  # c_0 .. c_T
        self.tanh_cells = buffer(steps)
        self.d_raw = buffer(steps, 4 * hidden)  # dL/d(raw gates), first their derivatives
        self.through_cell = buffer(steps)  # dL/dh -> dL/dc
        self.forward = list(
            zip(
                self.operands[:-1],
                self.sigmoids,
                self.o,
                self.i,
                self.f,
                self.g,
                self.cells[:-1],
                self.cells[1:],
                self.tanh_cells,
                self.hiddens[1:],
                strict=True,
            )
        )
        self.backward = list(
            zip(
                self.d_raw,
                self.d_raw[:, :hidden],
                self.d_raw[:, hidden:].view(steps, 3, hidden, batch),
                self.f,
                self.through_cell,
                strict=True,
            )
        )

    def differentiate(self) -> None:
        """Fill ``d_raw`` and ``through_cell`` with all that no later step has a part in."""
        d_o, d_i, d_f, d_g = self.d_raw.chunk(4, dim=1)
        # ATen's kernels for a * y * (1 - y) and a * (1 - y * y), one pass each
        sigmoid_backward = torch.ops.aten.sigmoid_backward.grad_input
        tanh_backward = torch.ops.aten.tanh_backward.grad_input
        sigmoid_backward(self.tanh_cells, self.o, grad_input=d_o)
        sigmoid_backward(self.g, self.i, grad_input=d_i)
        sigmoid_backward(self.cells[:-1], self.f, grad_input=d_f)
        tanh_backward(self.i, self.g, grad_input=d_g)
        tanh_backward(self.o, self.tanh_cells, grad_input=self.through_cell)


class FusedModel(Model):
    """A layer is one kernel, ``[4H, H + in + 1]``: recurrent, input, bias side by side."""

    def __init__(self, task: Task, device: torch.device, dtype: torch.dtype) -> None:
        self._task = task
        self._hidden, vocabulary = task.model.hidden_size, task.model.vocabulary_size

        def tensor(*shape: int) -> Tensor:
            return torch.zeros(shape, dtype=dtype, device=device)

        self._inputs = [task.model.input_size(layer) for layer in range(task.model.layers)]
        self._kernels = [
            tensor(4 * self._hidden, self._hidden + inputs + 1) for inputs in self._inputs
        ]
        size = task.model.embedding_size
        self._embedding = None if size is None else tensor(vocabulary, size)
        tied = self._embedding if task.model.tied else None
        self._output_weight = tensor(vocabulary, self._hidden) if tied is None else tied
        self._output_bias = tensor(vocabulary)
        self._tapes: dict[torch.Size, list[_Tape]] = {}
        self.updater = Updater(task, device, dtype)
        self.load(reference.draw_parameters(task.model, task.seed))

    @property
    def trained(self) -> list[Tensor]:
        first = [] if self._embedding is None else [self._embedding]
        output = [] if self._task.model.tied else [self._output_weight]
        return [*first, *self._kernels, *output, self._output_bias]

    def load(self, parameters: Parameters) -> None:
        for kernel, layer in zip(self._kernels, parameters.layers, strict=True):
            rows = np.concatenate(
                [layer.recurrent_kernel, layer.input_kernel, layer.bias[np.newaxis]]
            )
            kernel.copy_(torch.tensor(_reorder(rows, _FROM_CANONICAL).T))
        if self._embedding is not None:
            self._embedding.copy_(torch.tensor(parameters.embedding))
        self._output_weight.copy_(torch.tensor(parameters.output_kernel.T))
        self._output_bias.copy_(torch.tensor(parameters.output_bias))

    def export(self, kept: Kept | None = None) -> Parameters:
        def of(tensor: Tensor) -> np.ndarray:
            return (tensor if kept is None else kept[tensor]).numpy(force=True)

        arrays = [] if self._embedding is None else [of(self._embedding).copy()]
        for kernel in self._kernels:
            arrays += self._canonical(kernel if kept is None else kept[kernel])
        if not self._task.model.tied:
            arrays.append(of(self._output_weight).T.copy())
        arrays.append(of(self._output_bias).copy())
        return Parameters.of_model(self._task.model, arrays)

    @torch.inference_mode()
    def train_window(self, x: Tensor, y: Tensor, state: State) -> tuple[Tensor, State]:
        logits, new_state = self.logits(x, state, training=True)
        tapes = self._tapes[x.shape]
        log_probabilities = logits.log_softmax(1)
        targets = y.reshape(-1, 1)
        loss = -log_probabilities.gather(1, targets).mean()
        d_logits = log_probabilities.exp_()
        d_logits.scatter_add_(1, targets, d_logits.new_full(targets.shape, -1.0))
        d_logits /= y.numel() if self._task.training.loss == "mean" else y.shape[1]
        d_output = torch.mm(d_logits.t(), self._top.t())
        gradients = [d_logits.sum(0)] if self._task.model.tied else [d_output, d_logits.sum(0)]
        masks = [None if mask is None else _columns(mask) for mask in self._masks]
        d_hiddens = _masked(torch.mm(self._output_weight.t(), d_logits.t()), masks.pop())
        d_hiddens, d_kernels = self._back(tapes, d_hiddens, masks, self._embedding is not None)
        gradients = [*d_kernels, *gradients]
        if self._embedding is not None:
            d_embedding = d_output if self._task.model.tied else torch.zeros_like(self._embedding)
            gradients.insert(0, d_embedding.index_add_(0, x.flatten(), d_hiddens.t()))
        self.updater.step(self.trained, gradients)
        return loss, new_state

    def _back(
        self,
        tapes: Sequence[_Tape],
        d_hiddens: Tensor,
        masks: list[Tensor | None],
        to_inputs: bool,
    ) -> tuple[Tensor, list[Tensor]]:
        """From the gradient by the last layer's outputs, ``[H, T * B]``, to that by the inputs
        (if ``to_inputs``) and those of all kernels."""
        d_kernels: list[Tensor] = []
        for kernel, tape in zip(reversed(self._kernels), reversed(tapes), strict=True):
            recurrent, inputs = kernel[:, : self._hidden], kernel[:, self._hidden : -1]
            self._backward(recurrent, tape, d_hiddens)
            d_raw = _columns(tape.d_raw)
            d_kernels.insert(0, torch.mm(d_raw, _columns(tape.operands[:-1]).t()))
            if tape is not tapes[0] or to_inputs:
                d_hiddens = _masked(torch.mm(inputs.t(), d_raw), masks.pop())
        return d_hiddens, d_kernels

    @torch.inference_mode()
    def layers(self, inputs: Tensor, slopes: Tensor | None) -> Layers:
        steps, batch, width = inputs.shape
        tapes = self._tapes_of(inputs.shape[:2])
        tapes[0].inputs.copy_(inputs.transpose(1, 2))
        for index, (kernel, tape) in enumerate(zip(self._kernels, tapes, strict=True)):
            if index:
                tape.inputs.copy_(tapes[index - 1].hiddens[1:])
            tape.hiddens[0].zero_()
            tape.cells[0].zero_()
            self._forward(kernel, tape)
        outputs = tapes[-1].hiddens[1:].transpose(1, 2).contiguous()
        if slopes is None:
            return Layers(outputs)
        d_outputs = _columns(slopes.transpose(1, 2))
        no_masks: list[Tensor | None] = [None] * len(tapes)
        d_inputs, d_kernels = self._back(tapes, d_outputs, no_masks, True)
        return Layers(outputs, d_inputs.t().reshape(steps, batch, width), d_kernels)

    def canonical_layers(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        return [torch.tensor(array) for kernel in tensors for array in self._canonical(kernel)]

    def _canonical(self, kernel: Tensor) -> list[np.ndarray]:
        """Input kernel, recurrent kernel and bias that are side by side in a layer's kernel."""
        rows = _reorder(kernel.numpy(force=True).T, _TO_CANONICAL)
        recurrent_kernel, input_kernel, (bias,) = np.split(rows, [self._hidden, -1])
        return [input_kernel, recurrent_kernel, bias]

    def _tapes_of(self, shape: torch.Size) -> list[_Tape]:
        """One for each layer, for ids or inputs of ``[T, B]``."""
        if shape not in self._tapes:
            like, sizes = self._output_bias, (*shape, self._hidden)
            self._tapes[shape] = [_Tape(like, inputs, *sizes) for inputs in self._inputs]
        return self._tapes[shape]

    @torch.inference_mode()
    def logits(self, x: Tensor, state: State, training: bool = False) -> tuple[Tensor, State]:
        tapes = self._tapes_of(x.shape)
        self._masks: list[Tensor | None] = []

        def mask(like: Tensor) -> Tensor | None:
            """Of the sequence ``like``, kept for the backward pass."""
            rate = self._task.training.dropout if training else 0.0
            new = torch.empty_like(like).bernoulli_(1 - rate).div_(1 - rate) if rate else None
            self._masks.append(new)
            return new

        if self._embedding is None:
            tapes[0].inputs.zero_().scatter_(1, x.unsqueeze(1), 1.0)
            self._masks.append(None)
        else:
            rows = self._embedding[x].transpose(1, 2)
            tapes[0].inputs.copy_(_masked(rows, mask(rows)))
        for index, (kernel, tape, h, c) in enumerate(
            zip(self._kernels, tapes, *state, strict=True)
        ):
            if index:
                below = tapes[index - 1].hiddens[1:]
                tape.inputs.copy_(_masked(below, mask(below)))
            tape.hiddens[0], tape.cells[0] = h.t(), c.t()
            self._forward(kernel, tape)
        top = tapes[-1].hiddens[1:]
        self._top = _columns(_masked(top, mask(top)))
        logits = torch.addmm(self._output_bias, self._top.t(), self._output_weight.t())
        h = torch.stack([tape.hiddens[-1].t() for tape in tapes])
        c = torch.stack([tape.cells[-1].t() for tape in tapes])
        return logits, (h, c)

    def _forward(self, kernel: Tensor, tape: _Tape) -> None:
        """Fill the tape, whose inputs and first state are there."""
        raw_sigmoids, raw_g = tape.raw.split([3 * self._hidden, self._hidden])
        for operand, sigmoids, o, i, f, g, c_before, c, tanh_c, h in tape.forward:
            torch.mm(kernel, operand, out=tape.raw)
            torch.sigmoid(raw_sigmoids, out=sigmoids)
            torch.tanh(raw_g, out=g)
            torch.mul(f, c_before, out=c).addcmul_(i, g)
            torch.tanh(c, out=tanh_c)
            torch.mul(o, tanh_c, out=h)

    def _backward(self, recurrent: Tensor, tape: _Tape, d_hiddens: Tensor) -> None:
        """From dL/dh_t, ``[H, T * B]``, to the tape's dL/d(raw gates)."""
        tape.differentiate()
        steps, _, batch = tape.d_raw.shape
        d_hiddens_by_step = d_hiddens.view(-1, steps, batch).unbind(1)
        recurrent_transposed = recurrent.t().contiguous()
        d_h = d_hiddens_by_step[-1]
        d_c = d_h.new_zeros(d_h.shape)
        for t in reversed(range(steps)):
            d_raw, d_o, d_ifg, f, through_cell = tape.backward[t]
            d_c.addcmul_(d_h, through_cell)
            d_o.mul_(d_h)
            d_ifg.mul_(d_c)
            d_c.mul_(f)
            if t:
                d_h = torch.addmm(d_hiddens_by_step[t - 1], recurrent_transposed, d_raw)

    def facts(self) -> dict[str, str]:
        return {"kernel": "torch.mm products, ATen gates", "biases": "one per layer"}


def _masked(sequence: Tensor, mask: Tensor | None) -> Tensor:
    return sequence if mask is None else sequence * mask


def _columns(sequence: Tensor) -> Tensor:
    """``[T, N, B]`` as ``[N, T * B]``, copied."""
    return sequence.transpose(0, 1).flatten(1)


def _reorder(array: np.ndarray, order: Sequence[int]) -> np.ndarray:
    """The four blocks of the last axis in another order."""
    blocks = array.reshape(*array.shape[:-1], 4, -1)
    return np.take(blocks, order, axis=-2).reshape(array.shape)
