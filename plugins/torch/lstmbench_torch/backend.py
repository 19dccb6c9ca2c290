"""``torch.nn.LSTM`` and ``torch.nn.Linear``: PyTorch's own kernels in as short a loop as can be.

``nn.LSTM`` is oneDNN's LSTM on the CPU and cuDNN's on CUDA, and takes most of a window's time.
What is left is to keep everything around it short: one-hot input written straight in the model's
dtype, ``autograd.grad`` (no ``.grad`` to clear), clipping and SGD over lists of tensors, and one
synchronisation per epoch.
"""

from __future__ import annotations

import os
import shutil
import sys

import torch
from torch import Tensor, nn
from torch.nn import functional

from lstmbench import Parameters, Task, Unavailable
from lstmbench_torch import LIBRARY_MODES
from lstmbench_torch.common import Model, State, WindowBackend, clip_and_step, one_hot

#: What autograd calls the backward pass of the LSTM kernel that ran.
_KERNELS = {
    "MkldnnRnnLayerBackward0": "oneDNN LSTM",
    "CudnnRnnBackward0": "cuDNN LSTM",
    "LstmMpsBackward0": "MPSGraph LSTM",
}


class TorchBackend(WindowBackend):
    modes = LIBRARY_MODES

    def _build(self, device: torch.device, dtype: torch.dtype) -> Model:
        return LibraryModel(self.task, device, dtype)


class LibraryModel(Model):
    """The framework's layers; gates stand in the canonical order, kernels are transposed.

    ``nn.LSTM`` adds two biases. From its own initialisation both are trained; once canonical
    parameters are loaded, the second stays at zero and out of the clipping.
    """

    def __init__(self, task: Task, device: torch.device, dtype: torch.dtype) -> None:
        self._task = task
        model = task.model
        torch.manual_seed(task.seed)
        # drawn on the CPU in float32, so that a seed means the same everywhere
        self._lstm = nn.LSTM(model.vocabulary_size, model.hidden_size, model.layers)
        self._output = nn.Linear(model.hidden_size, model.vocabulary_size)
        self._lstm.to(device, dtype)
        self._output.to(device, dtype)
        self._loss, self._step = self._window_loss, clip_and_step
        if task.mode == "compile":
            _require_compiler()
            # nn.LSTM stays the library's kernel: the graph is broken around it
            self._loss = torch.compile(self._window_loss, dynamic=False)
            self._step = torch.compile(clip_and_step, dynamic=False)

    @property
    def trained(self) -> list[Tensor]:
        both = (*self._lstm.parameters(), *self._output.parameters())
        return [tensor for tensor in both if tensor.requires_grad]

    @torch.no_grad()
    def load(self, parameters: Parameters) -> None:
        for layer, values in zip(self._lstm.all_weights, parameters.layers, strict=True):
            input_weight, recurrent_weight, bias, second_bias = layer
            input_weight.copy_(torch.tensor(values.input_kernel.T))
            recurrent_weight.copy_(torch.tensor(values.recurrent_kernel.T))
            bias.copy_(torch.tensor(values.bias))
            second_bias.zero_().requires_grad_(False)
        self._output.weight.copy_(torch.tensor(parameters.output_kernel.T))
        self._output.bias.copy_(torch.tensor(parameters.output_bias))

    @torch.no_grad()
    def export(self) -> Parameters:
        tensors = []
        for input_weight, recurrent_weight, bias, second_bias in self._lstm.all_weights:
            tensors += [input_weight.T, recurrent_weight.T, bias + second_bias]
        tensors += [self._output.weight.T, self._output.bias]
        return Parameters.from_arrays([tensor.numpy(force=True).copy() for tensor in tensors])

    def train_window(self, x: Tensor, y: Tensor, state: State) -> tuple[Tensor, State]:
        loss, (h, c) = self._loss(x, y, state)
        trained = self.trained
        self._step(trained, torch.autograd.grad(loss, trained), self._task.training)
        return loss.detach(), (h.detach(), c.detach())

    def logits(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        inputs = one_hot(x, self._task.model.vocabulary_size, self._output.weight.dtype)
        hiddens, state = self._lstm(inputs, state)
        return self._output(hiddens.flatten(0, 1)), state

    def facts(self) -> dict[str, str]:
        second = self._lstm.all_weights[0][3]
        trained = "both trained" if second.requires_grad else "the second fixed at zero"
        kernel = self._kernel()
        if self._task.mode == "compile":
            kernel += ", loss and update by Inductor"
        return {"kernel": kernel, "biases": f"two per layer, {trained}"}

    def _window_loss(self, x: Tensor, y: Tensor, state: State) -> tuple[Tensor, State]:
        logits, state = self.logits(x, state)
        return functional.cross_entropy(logits, y.flatten()), state

    def _kernel(self) -> str:
        """The kernel behind ``nn.LSTM``, as autograd saw it on one token."""
        weight = self._output.weight
        token = torch.zeros(1, 1, dtype=torch.int64, device=weight.device)
        hiddens, _ = self._lstm(one_hot(token, self._task.model.vocabulary_size, weight.dtype))
        return _KERNELS.get(hiddens.grad_fn.name(), "ATen, one product per time step")


def _require_compiler() -> None:
    """Inductor writes C++ for the CPU and takes ``$CXX``, else the platform's usual compiler."""
    compiler = os.environ.get("CXX", "clang++" if sys.platform == "darwin" else "g++")
    if shutil.which(compiler) is None:
        raise Unavailable(
            f"torch.compile needs a C++ compiler, and {compiler} is not on the PATH: install "
            "it, or name another with --env CXX=PATH"
        )
