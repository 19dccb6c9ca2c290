"""Keras on PyTorch."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

import keras
import torch

from lstmbench import Batches, EpochLoss, Task, Unavailable
from lstmbench_keras.backend import KerasBackend
from lstmbench_keras.model import Drop
from lstmbench_keras.updates import Kept, Values


class TorchBackend(KerasBackend):
    """``eager`` and ``cudnn`` run op by op; ``compile`` has Inductor fuse a window's loss."""

    engine = "torch"

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        torch.manual_seed(task.seed)  # for masks
        if task.mode == "compile":
            self._loss = torch.compile(self._loss, dynamic=False)  # type: ignore[method-assign]
            alone = torch.compile(self._layers, dynamic=False)
            self._layers = self._compiled_layers = alone  # type: ignore[method-assign]

    def _configure(self) -> None:
        if self.task.mode == "compile" and not shutil.which(os.environ.get("CXX", "g++")):
            raise Unavailable(
                "Inductor needs a C++ compiler: install g++, or name one with --env CXX=PATH"
            )
        kind, _, index = self.task.device.partition(":")
        seen = torch.cuda.device_count()
        if kind == "cuda" and int(index or 0) >= seen:
            raise Unavailable(f"PyTorch sees {seen} GPUs here, so not {self.task.device}")
        if kind == "cuda":
            torch.cuda.reset_peak_memory_stats(self.task.device)
        torch.set_num_threads(self.task.threads)
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.allow_tf32 = False

    def _device(self) -> AbstractContextManager[Any]:
        return keras.device(self.task.device)

    def _epoch(
        self,
        values: Values,
        kept: Kept,
        rate: torch.Tensor,
        epoch: torch.Tensor,
        inputs: torch.Tensor,
        targets: torch.Tensor,
    ) -> tuple[Values, Kept, Any]:
        values = self._column_by_column(values)
        states = self._model.zero_states(inputs.shape[1])
        losses = 0.0
        for ids, following in zip(inputs, targets, strict=True):
            values = [value.detach().requires_grad_() for value in values]
            loss, states = self._loss(values, ids, following, states)
            gradients = torch.autograd.grad(loss, values)
            with torch.no_grad():
                values, kept = self._step(values, kept, rate, gradients)
            states = [[h.detach(), c.detach()] for h, c in states]
            losses += loss.detach()
        return values, kept, losses

    def _layer_gradients(
        self, values: Values, inputs: torch.Tensor, slopes: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, Values]:
        given = [tensor.detach().requires_grad_() for tensor in (inputs, *values)]
        inputs, *values = given
        with torch.enable_grad():
            outputs = self._layers(values, inputs)
        by_inputs, *gradients = torch.autograd.grad(outputs, given, slopes)
        return outputs.detach(), by_inputs, gradients

    def _layer_values(self) -> Values:
        return self._column_by_column(super()._layer_values())

    def _column_by_column(self, values: Values) -> Values:
        """Kernels as a step's products read them faster, op by op."""
        if self.task.mode != "eager":
            return values
        return [value.t().contiguous().t() if value.dim() == 2 else value for value in values]

    @torch.no_grad()
    def layer_pass(self, index: int) -> None:
        super().layer_pass(index)

    def _drop(self, epoch: torch.Tensor, window: torch.Tensor) -> Drop:
        # PyTorch's generator goes on by itself from window to window
        rate = self.task.training.dropout
        return lambda sequence, place: torch.nn.functional.dropout(sequence, rate)

    @torch.no_grad()
    def evaluate(self, batches: Batches) -> EpochLoss:
        return super().evaluate(batches)

    @torch.no_grad()
    def generate(self, prefix: Sequence[int], length: int) -> list[int]:
        return super().generate(prefix, length)

    def _wait(self, tensor: torch.Tensor) -> None:
        if tensor.is_cuda:
            torch.cuda.synchronize(tensor.device)

    def device_memory(self) -> int | None:
        if self.task.device_kind != "cuda":
            return None
        return torch.cuda.max_memory_allocated(self.task.device)

    def runtime(self) -> dict[str, str]:
        return super().runtime() | {
            "torch": torch.__version__,
            "kernel": self._kernel(),
            "threads": str(torch.get_num_threads()),
            "tf32": "off",
        }

    def _kernel(self) -> str:
        if self.task.mode == "compile":
            return "Inductor, a program a window"
        if self.task.device_kind == "cuda":
            # looked up, since Keras goes back to its loop without a word where cuDNN fails
            with torch.autograd.profiler.profile() as profile:
                self.generate([0], 1)
            if any("_cudnn_rnn" in event.name for event in profile.function_events):
                return "cuDNN's LSTM, the rest PyTorch's ops one by one"
        return "PyTorch's ops one by one, time step after time step"
