"""The LSTM by hand in PyTorch tensors: with autograd as a student writes it, or without."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from lstmbench import LayerParameters, Parameters, Task, reference
from lstmbench_torch import SCRATCH_MODES
from lstmbench_torch.bptt import FusedModel
from lstmbench_torch.common import Model, State, WindowBackend, clip_and_step, one_hot


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
        self._W_hq, self._b_q = tensor(hidden, vocabulary), tensor(vocabulary)
        self.load(reference.draw_parameters(task.model, task.seed))

    @property
    def trained(self) -> list[Tensor]:
        gates = [gate for layer in self._layers for gate in layer]
        return [*(tensor for gate in gates for tensor in gate), self._W_hq, self._b_q]

    @torch.no_grad()
    def load(self, parameters: Parameters) -> None:
        for layer, values in zip(self._layers, parameters.layers, strict=True):
            fused = (values.input_kernel, values.recurrent_kernel, values.bias)
            parts = zip(*(np.split(array, 4, axis=-1) for array in fused), strict=True)
            for gate, arrays in zip(layer, parts, strict=True):
                for tensor, array in zip(gate, arrays, strict=True):
                    tensor.copy_(torch.tensor(array))
        self._W_hq.copy_(torch.tensor(parameters.output_kernel))
        self._b_q.copy_(torch.tensor(parameters.output_bias))

    @torch.no_grad()
    def export(self) -> Parameters:
        layers = tuple(
            LayerParameters(
                *(torch.cat(parts, dim=-1).numpy(force=True) for parts in zip(*layer, strict=True))
            )
            for layer in self._layers
        )
        return Parameters(
            layers, self._W_hq.numpy(force=True).copy(), self._b_q.numpy(force=True).copy()
        )

    def train_window(self, x: Tensor, y: Tensor, state: State) -> tuple[Tensor, State]:
        logits, (h, c) = self.logits(x, state)
        loss = functional.cross_entropy(logits, y.flatten())
        trained = self.trained
        clip_and_step(trained, torch.autograd.grad(loss, trained), self._task.training)
        return loss.detach(), (h.detach(), c.detach())

    def logits(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        sequence = list(one_hot(x, self._task.model.vocabulary_size, self._W_hq.dtype))
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
        logits = torch.cat([H @ self._W_hq + self._b_q for H in sequence])
        h, c = (torch.stack(layers) for layers in zip(*last, strict=True))
        return logits, (h, c)

    def facts(self) -> dict[str, str]:
        return {"kernel": "ATen and autograd, one product per gate", "biases": "one per layer"}
