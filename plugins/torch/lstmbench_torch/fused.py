"""The LSTM by hand with one compiled operator for a layer's steps in each direction.

What lies between two products is one pass over memory, on all threads (``lstm.cpp``). What needs no
step of its own is a few large products before or after: the rows of the input kernel, the gradients
of all kernels, the output layer.

Shapes: B batch, T steps, H hidden, V vocabulary; row-major, batch first.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from lstmbench import LayerParameters, Parameters, Task, reference
from lstmbench_torch.common import Model, State

#: Units are divided among threads by so many, as in ``lstm.cpp``.
GRAIN = 16


def parts(hidden: int, threads: int) -> list[tuple[int, int]]:
    """First unit and number of units of each thread, as in ``lstm.cpp``."""
    grains = -(-hidden // GRAIN)
    count = max(1, min(threads, grains))
    ends = [min(hidden, index * grains // count * GRAIN) for index in range(count + 1)]
    return [(begin, end - begin) for begin, end in zip(ends, ends[1:], strict=False)]


def columns(hidden: int, threads: int) -> np.ndarray:
    """Where the ``4 * hidden`` columns of the gates stand: part by part, there gate by gate."""
    blocks = np.arange(4 * hidden).reshape(4, hidden)
    return np.concatenate([blocks[:, f : f + w].ravel() for f, w in parts(hidden, threads)])


class _Tape:
    """What one layer's passes leave behind for one shape of windows."""

    def __init__(self, like: Tensor, steps: int, batch: int, hidden: int) -> None:
        self.gates = like.new_empty(steps * batch * 4 * hidden)
        self.cells = like.new_empty(steps + 1, batch, hidden)
        self.tanh_cells = like.new_empty(steps, batch, hidden)
        self.hiddens = like.new_empty(steps + 1, batch, hidden)
        self.d_raw = like.new_empty(steps, batch, 4 * hidden)
        self.carried = like.new_empty(batch * hidden)
        self.d_cell = like.new_empty(batch, hidden)
        self.rows = torch.arange(steps * batch)


class _Layer:
    """Kernels of one layer; columns in the order of :func:`columns`."""

    def __init__(self, like: Tensor, inputs: int, hidden: int, threads: int) -> None:
        self.hidden, self.threads = hidden, threads
        self.parts = parts(hidden, threads)
        self.input_kernel = like.new_zeros(inputs, 4 * hidden)
        self.bias = like.new_zeros(4 * hidden)
        #: By part ``[H, 4 * width]``, one after the other.
        self.recurrent = like.new_zeros(hidden * 4 * hidden)
        self.gradients = [torch.empty_like(t) for t in self.trained]
        self._transposed = torch.empty_like(self.recurrent)

    @property
    def trained(self) -> list[Tensor]:
        return [self.recurrent, self.input_kernel, self.bias]

    def blocks(self, flat: Tensor) -> list[Tensor]:
        """The parts of a kernel ``[H, 4 * width]``."""
        sizes = [self.hidden * 4 * width for _, width in self.parts]
        return [part.view(self.hidden, -1) for part in flat.split(sizes)]

    def forward(self, added: Tensor, rows: Tensor, tape: _Tape) -> None:
        torch.ops.lstmbench.lstm_forward(
            added, rows, self.recurrent, tape.gates, tape.cells, tape.tanh_cells, tape.hiddens,
            self.threads,
        )

    def backward(self, above: Tensor, tape: _Tape) -> Tensor:
        """Fill ``tape.d_raw`` and the gradient of the recurrent kernel; ``d_raw [T * B, 4H]``."""
        blocks = self.blocks(self.recurrent)
        for (first, width), out in zip(
            self.parts, self._transposed.split([4 * self.hidden * w for _, w in self.parts])
        , strict=True):
            place, out = 0, out.view(4 * self.hidden, width)
            for block in blocks:
                columns = block.shape[1]
                out[place : place + columns].copy_(block[first : first + width].t())
                place += columns
        tape.carried.zero_()
        tape.d_cell.zero_()
        torch.ops.lstmbench.lstm_backward(
            above, self._transposed, tape.gates, tape.cells, tape.tanh_cells, tape.d_raw,
            tape.carried, tape.d_cell, self.threads,
        )
        d_raw = tape.d_raw.flatten(0, 1)
        before = tape.hiddens[:-1].flatten(0, 1)
        place = 0
        for block in self.blocks(self.gradients[0]):
            torch.mm(before.t(), d_raw[:, place : place + block.shape[1]], out=block)
            place += block.shape[1]
        return d_raw


class FusedModel(Model):
    """See the module."""

    def __init__(self, task: Task, device: torch.device, dtype: torch.dtype) -> None:
        self._task = task
        hidden, vocabulary = task.model.hidden_size, task.model.vocabulary_size
        like = torch.empty(0, dtype=dtype, device=device)
        self._layers = [
            _Layer(like, task.model.input_size(index), hidden, task.threads)
            for index in range(task.model.layers)
        ]
        self._order = columns(hidden, task.threads)
        self._output_kernel = like.new_zeros(hidden, vocabulary)
        self._output_bias = like.new_zeros(vocabulary)
        self._tapes: dict[torch.Size, list[_Tape]] = {}
        self.load(reference.draw_parameters(task.model, task.seed))

    @property
    def trained(self) -> list[Tensor]:
        layers = [tensor for layer in self._layers for tensor in layer.trained]
        return [*layers, self._output_kernel, self._output_bias]

    def load(self, parameters: Parameters) -> None:
        for layer, given in zip(self._layers, parameters.layers, strict=True):
            layer.input_kernel.copy_(torch.tensor(given.input_kernel[:, self._order]))
            layer.bias.copy_(torch.tensor(given.bias[self._order]))
            recurrent = torch.tensor(given.recurrent_kernel[:, self._order])
            place = 0
            for block in layer.blocks(layer.recurrent):
                block.copy_(recurrent[:, place : place + block.shape[1]])
                place += block.shape[1]
        self._output_kernel.copy_(torch.tensor(parameters.output_kernel))
        self._output_bias.copy_(torch.tensor(parameters.output_bias))

    def export(self) -> Parameters:
        back = np.argsort(self._order)
        layers = []
        for layer in self._layers:
            recurrent = torch.cat(layer.blocks(layer.recurrent), dim=1).numpy()
            layers.append(
                LayerParameters(
                    layer.input_kernel.numpy()[:, back], recurrent[:, back], layer.bias.numpy()[back]
                )
            )
        return Parameters(
            tuple(layers), self._output_kernel.numpy().copy(), self._output_bias.numpy().copy()
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
        top = tapes[-1].hiddens[1:].flatten(0, 1)
        gradients = [torch.mm(top.t(), d_logits), d_logits.sum(0)]
        above = torch.mm(d_logits, self._output_kernel.t())
        for index in reversed(range(len(self._layers))):
            layer, tape = self._layers[index], tapes[index]
            d_raw = layer.backward(above, tape)
            _, d_input, d_bias = layer.gradients
            if index:
                inputs = tapes[index - 1].hiddens[1:].flatten(0, 1)
                torch.mm(inputs.t(), d_raw, out=d_input)
                torch.sum(d_raw, 0, out=d_bias)
                above = torch.mm(d_raw, layer.input_kernel.t())
            else:
                d_input.zero_().index_add_(0, x.flatten(), d_raw)
                torch.sum(d_input, 0, out=d_bias)
            gradients = [*layer.gradients, *gradients]
        self._step(gradients)
        return loss, new_state

    def _step(self, gradients: list[Tensor]) -> None:
        training = self._task.training
        norm = float(torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients))))
        scale = min(1.0, training.clip_norm / norm) if norm else 1.0
        torch._foreach_add_(self.trained, gradients, alpha=-training.learning_rate * scale)

    @torch.inference_mode()
    def logits(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        tapes = self._tapes.get(x.shape)
        if tapes is None:
            shape = (*x.shape, self._task.model.hidden_size)
            tapes = [_Tape(self._output_bias, *shape) for _ in self._layers]
            self._tapes[x.shape] = tapes
        for index, (layer, tape, h, c) in enumerate(zip(self._layers, tapes, *state, strict=True)):
            tape.hiddens[0], tape.cells[0] = h, c
            if index:
                inputs = tapes[index - 1].hiddens[1:].flatten(0, 1)
                layer.forward(torch.addmm(layer.bias, inputs, layer.input_kernel), tape.rows, tape)
            else:
                layer.forward(layer.input_kernel + layer.bias, x, tape)
        logits = torch.addmm(
            self._output_bias, tapes[-1].hiddens[1:].flatten(0, 1), self._output_kernel
        )
        h = torch.stack([tape.hiddens[-1] for tape in tapes])
        c = torch.stack([tape.cells[-1] for tape in tapes])
        return logits, (h, c)

    def facts(self) -> dict[str, str]:
        return {"kernel": "products and one compiled pass between them", "biases": "one per layer"}
