"""``torch.nn.LSTM`` and ``torch.nn.Linear``: PyTorch's own kernels in as short a loop as can be.

``nn.LSTM`` is oneDNN's LSTM on the CPU and cuDNN's on CUDA, and takes most of a window's time.
What is left is to keep everything around it short: one-hot input written straight in the model's
dtype, or rows of an embedding; ``autograd.grad`` (no ``.grad`` to clear), clipping and updates over
lists of tensors, and one synchronisation per epoch.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from lstmbench import Parameters, Task, Unavailable
from lstmbench_torch import LIBRARY_MODES
from lstmbench_torch.common import Kept, Layers, Model, State, WindowBackend, one_hot
from lstmbench_torch.updates import Updater, clip_and_step

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
    parameters are loaded, the second stays at zero and out of the clipping. Its dropout is the
    protocol's: masks of their own for every number of every step, between layers only.

    In bfloat16 the layers compute in that, and parameters and their updates stay float32: with SGD,
    most updates are less than bfloat16's spacing.
    """

    def __init__(self, task: Task, device: torch.device, dtype: torch.dtype) -> None:
        self._task = task
        model = task.model
        self._dtype = dtype
        if dtype is torch.bfloat16:
            _require_bfloat16()
            dtype = torch.float32
        self._dropout = task.training.dropout
        # drawn on the CPU in float32, so that a seed means the same everywhere
        self._embedding: nn.Embedding | None = None
        if model.embedding_size is not None:
            self._embedding = nn.Embedding(model.vocabulary_size, model.embedding_size)
        between = self._dropout if model.layers > 1 else 0.0
        if between and task.mode == "graphs":
            raise Unavailable(
                "mode graphs has no dropout between layers: cuDNN's masks are not known to be new "
                "in every replay; take mode cudnn"
            )
        sizes = (model.input_size(0), model.hidden_size, model.layers)
        self._lstm = nn.LSTM(*sizes, dropout=between)
        self._output = nn.Linear(model.hidden_size, model.vocabulary_size)
        if model.tied and self._embedding is not None:
            self._output.weight = self._embedding.weight
        self._modules = [m for m in (self._embedding, self._lstm, self._output) if m is not None]
        for module in self._modules:
            module.to(device, dtype)
        self._loss, sgd = self._window_loss, clip_and_step
        if task.mode == "compile":
            _require_compiler()
            # nn.LSTM stays the library's kernel: the graph is broken around it
            self._loss = torch.compile(self._window_loss, dynamic=False)
            sgd = torch.compile(clip_and_step, dynamic=False)
        self.updater = Updater(task, device, dtype, sgd)

    @property
    def trained(self) -> list[Tensor]:
        every = {id(t): t for module in self._modules for t in module.parameters()}
        return [tensor for tensor in every.values() if tensor.requires_grad]

    @torch.no_grad()
    def load(self, parameters: Parameters) -> None:
        for layer, values in zip(self._lstm.all_weights, parameters.layers, strict=True):
            input_weight, recurrent_weight, bias, second_bias = layer
            input_weight.copy_(torch.tensor(values.input_kernel.T))
            recurrent_weight.copy_(torch.tensor(values.recurrent_kernel.T))
            bias.copy_(torch.tensor(values.bias))
            second_bias.zero_().requires_grad_(False)
        if self._embedding is not None:
            self._embedding.weight.copy_(torch.tensor(parameters.embedding))
        self._output.weight.copy_(torch.tensor(parameters.output_kernel.T))
        self._output.bias.copy_(torch.tensor(parameters.output_bias))

    @torch.no_grad()
    def export(self, kept: Kept | None = None) -> Parameters:
        def of(tensor: Tensor) -> Tensor:
            return tensor if kept is None else kept[tensor]

        tensors = [] if self._embedding is None else [of(self._embedding.weight)]
        for input_weight, recurrent_weight, bias, second_bias in self._lstm.all_weights:
            tensors += [of(input_weight).T, of(recurrent_weight).T]
            tensors.append(bias + second_bias if kept is None else kept[bias])
        if not self._task.model.tied:
            tensors.append(of(self._output.weight).T)
        tensors.append(of(self._output.bias))
        arrays = [tensor.numpy(force=True).copy() for tensor in tensors]
        return Parameters.of_model(self._task.model, arrays)

    def train_window(self, x: Tensor, y: Tensor, state: State) -> tuple[Tensor, State]:
        self._lstm.train()
        loss, (h, c) = self._loss(x, y, state)
        trained = self.trained
        # a sum over steps is so many times their mean
        times = torch.full_like(loss, len(y)) if self._task.training.loss == "sum" else None
        self.updater.step(trained, torch.autograd.grad(loss, trained, times))
        return loss.detach(), (h.detach(), c.detach())

    def logits(self, x: Tensor, state: State, training: bool = False) -> tuple[Tensor, State]:
        if self._embedding is None:
            inputs = one_hot(x, self._task.model.vocabulary_size, self._dtype)
        else:
            inputs = self._drop(self._embedding(x), training)
        if not training:
            self._lstm.train(False)
        with self._autocast():
            hiddens, state = self._lstm(inputs, state)
            logits = self._output(self._drop(hiddens.flatten(0, 1), training))
        return logits.to(self._output.weight.dtype), state

    def _autocast(self) -> torch.autocast:
        """Layers in bfloat16, if the task says so."""
        on = self._dtype is torch.bfloat16
        return torch.autocast("cpu", torch.bfloat16, enabled=on)

    def _drop(self, sequence: Tensor, training: bool) -> Tensor:
        if not self._dropout or not training:
            return sequence
        return functional.dropout(sequence, self._dropout)

    def layers(self, inputs: Tensor, slopes: Tensor | None) -> Layers:
        if slopes is None:
            with torch.inference_mode():
                return Layers(self._lstm(inputs)[0])
        self._lstm.train()
        inputs = inputs.detach().requires_grad_()
        outputs, _ = self._lstm(inputs)
        # of the two biases, whose gradients are equal, one is trained
        weights = [tensor for layer in self._lstm.all_weights for tensor in layer[:3]]
        d_inputs, *gradients = torch.autograd.grad(outputs, [inputs, *weights], slopes)
        return Layers(outputs.detach(), d_inputs, gradients)

    def canonical_layers(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        return [tensor.t() if tensor.dim() == 2 else tensor for tensor in tensors]

    def facts(self) -> dict[str, str]:
        second = self._lstm.all_weights[0][3]
        trained = "both trained" if second.requires_grad else "the second fixed at zero"
        kernel = self._kernel()
        if self._task.mode == "compile":
            kernel += ", loss and update by Inductor"
        facts = {"kernel": kernel, "biases": f"two per layer, {trained}"}
        if self._dtype is torch.bfloat16:
            facts["bfloat16"] = "in the layers; parameters, loss and update in float32"
        return facts

    def _window_loss(self, x: Tensor, y: Tensor, state: State) -> tuple[Tensor, State]:
        logits, state = self.logits(x, state, training=True)
        return functional.cross_entropy(logits, y.flatten()), state

    def _kernel(self) -> str:
        """The kernel behind ``nn.LSTM``, as autograd saw it on one token."""
        weight = self._output.weight
        with self._autocast():
            hiddens, _ = self._lstm(weight.new_zeros(1, 1, self._task.model.input_size(0)))
        return _KERNELS.get(hiddens.grad_fn.name(), "ATen, one product per time step")


def _require_bfloat16() -> None:
    """Of the CPU; elsewhere the spec does not offer it."""
    if not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        raise Unavailable("oneDNN has no bfloat16 on this processor: it needs AVX-512, or SVE")


def _require_compiler() -> None:
    """Inductor writes C++ for the CPU and takes ``$CXX``, else the platform's usual compiler."""
    compiler = os.environ.get("CXX", "clang++" if sys.platform == "darwin" else "g++")
    if shutil.which(compiler) is None:
        raise Unavailable(
            f"torch.compile needs a C++ compiler, and {compiler} is not on the PATH: install "
            "it, or name another with --env CXX=PATH"
        )
