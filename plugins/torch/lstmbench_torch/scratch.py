"""The LSTM by hand in PyTorch tensors: with autograd as a student writes it, or without."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from lstmbench import Parameters, Task, reference
from lstmbench_torch import SCRATCH_MODES
from lstmbench_torch.bptt import FusedModel
from lstmbench_torch.common import Kept, Layers, Model, State, WindowBackend, one_hot
from lstmbench_torch.updates import Updater


class TorchScratchBackend(WindowBackend):
    modes = SCRATCH_MODES

    def _build(self, device: torch.device, dtype: torch.dtype) -> Model:
        model = CourseModel if self.task.mode == "eager" else FusedModel
        return model(self.task, device, dtype)


class CourseModel(Model):
    """The implementation from scratch of "Dive into Deep Learning", section "LSTM".

    One-hot input, kernels and a bias of its own for each gate, one product each, autograd.
    The course has one layer; more are stacked.
    """

    def __init__(self, task: Task, device: torch.device, dtype: torch.dtype) -> None:
        self._task = task
        hidden, vocabulary = task.model.hidden_size, task.model.vocabulary_size

        def tensor(*shape: int) -> Tensor:
            return torch.zeros(shape, dtype=dtype, device=device, requires_grad=True)

        def gate(inputs: int) -> tuple[Tensor, Tensor, Tensor]:
            return tensor(inputs, hidden), tensor(hidden, hidden), tensor(hidden)

        sizes = [task.model.input_size(layer) for layer in range(task.model.layers)]
        #: Per layer the gates i, f, g, o, each (W_x, W_h, b).
        self._layers = [[gate(size) for _ in range(4)] for size in sizes]
        #: Of an embedding and of an output kernel of its own, where there is one.
        self._W_e = [tensor(vocabulary, size) for size in [task.model.embedding_size] if size]
        self._W_hq = [] if task.model.tied else [tensor(hidden, vocabulary)]
        self._b_q = tensor(vocabulary)
        self.updater = Updater(task, device, dtype)
        self.load(reference.draw_parameters(task.model, task.seed))

    @property
    def trained(self) -> list[Tensor]:
        gates = [gate for layer in self._layers for gate in layer]
        own = [tensor for gate in gates for tensor in gate]
        return [*self._W_e, *own, *self._W_hq, self._b_q]

    @torch.no_grad()
    def load(self, parameters: Parameters) -> None:
        for layer, values in zip(self._layers, parameters.layers, strict=True):
            fused = (values.input_kernel, values.recurrent_kernel, values.bias)
            parts = zip(*(np.split(array, 4, axis=-1) for array in fused), strict=True)
            for gate, arrays in zip(layer, parts, strict=True):
                for tensor, array in zip(gate, arrays, strict=True):
                    tensor.copy_(torch.tensor(array))
        for tensor in self._W_e:
            tensor.copy_(torch.tensor(parameters.embedding))
        for tensor in self._W_hq:
            tensor.copy_(torch.tensor(parameters.output_kernel))
        self._b_q.copy_(torch.tensor(parameters.output_bias))

    @torch.no_grad()
    def export(self, kept: Kept | None = None) -> Parameters:
        def of(tensor: Tensor) -> Tensor:
            return tensor if kept is None else kept[tensor]

        fused = [
            torch.cat([of(tensor) for tensor in parts], dim=-1)
            for layer in self._layers
            for parts in zip(*layer, strict=True)
        ]
        tensors = [*map(of, self._W_e), *fused, *map(of, self._W_hq), of(self._b_q)]
        arrays = [tensor.numpy(force=True).copy() for tensor in tensors]
        return Parameters.of_model(self._task.model, arrays)

    def train_window(self, x: Tensor, y: Tensor, state: State) -> tuple[Tensor, State]:
        logits, (h, c) = self.logits(x, state, training=True)
        loss = functional.cross_entropy(logits, y.flatten())
        trained = self.trained
        times = len(y) if self._task.training.loss == "sum" else 1
        self.updater.step(trained, torch.autograd.grad(times * loss, trained))
        return loss.detach(), (h.detach(), c.detach())

    def logits(self, x: Tensor, state: State, training: bool = False) -> tuple[Tensor, State]:
        def dropped(sequence: list[Tensor]) -> list[Tensor]:
            rate = self._task.training.dropout if training else 0.0
            return [functional.dropout(X, rate) for X in sequence] if rate else sequence

        if self._W_e:
            sequence = dropped(list(self._W_e[0][x]))
        else:
            sequence = list(one_hot(x, self._task.model.vocabulary_size, self._b_q.dtype))
        sequence, last = self._recur(sequence, state, dropped)
        W_hq = self._W_hq[0] if self._W_hq else self._W_e[0].T
        logits = torch.cat([H @ W_hq + self._b_q for H in sequence])
        h, c = (torch.stack(layers) for layers in zip(*last, strict=True))
        return logits, (h, c)

    def layers(self, inputs: Tensor, slopes: Tensor | None) -> Layers:
        task = self._task.model
        state = inputs.new_zeros(2, task.layers, inputs.shape[1], task.hidden_size)
        if slopes is None:
            with torch.inference_mode():
                return Layers(torch.stack(self._recur(list(inputs), state)[0]))
        inputs = inputs.detach().requires_grad_()
        outputs = torch.stack(self._recur(list(inputs), state)[0])
        weights = [tensor for layer in self._layers for gate in layer for tensor in gate]
        d_inputs, *gradients = torch.autograd.grad(outputs, [inputs, *weights], slopes)
        return Layers(outputs.detach(), d_inputs, gradients)

    def canonical_layers(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        layers = [tensors[i : i + 12] for i in range(0, len(tensors), 12)]
        return [torch.cat(list(layer[kind::3]), dim=-1) for layer in layers for kind in range(3)]

    def _recur(
        self,
        sequence: list[Tensor],
        state: State | Tensor,
        dropped: Callable[[list[Tensor]], list[Tensor]] = lambda sequence: sequence,
    ) -> tuple[list[Tensor], list[tuple[Tensor, Tensor]]]:
        """Outputs of every step, and each layer's state after the last one."""
        last = []
        for layer, H, C in zip(self._layers, *state, strict=True):
            (W_xi, W_hi, b_i), (W_xf, W_hf, b_f), (W_xc, W_hc, b_c), (W_xo, W_ho, b_o) = layer
            for t, X in enumerate(sequence):
                I = torch.sigmoid(X @ W_xi + H @ W_hi + b_i)  # noqa: E741
                F = torch.sigmoid(X @ W_xf + H @ W_hf + b_f)
                O = torch.sigmoid(X @ W_xo + H @ W_ho + b_o)  # noqa: E741
                C_tilda = torch.tanh(X @ W_xc + H @ W_hc + b_c)
                C = F * C + I * C_tilda
                H = O * torch.tanh(C)
                sequence[t] = H
            last.append((H, C))
            sequence = dropped(sequence)
        return sequence, last

    def facts(self) -> dict[str, str]:
        return {"kernel": "ATen and autograd, one product per gate", "biases": "one per layer"}
