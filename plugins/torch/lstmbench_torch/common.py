"""What both backends share: the device, the epoch loop, CUDA graphs.

Shapes: T steps, B batch, V vocabulary, H hidden, L layers. Token ids are int64 ``[T, B]``, time
first as cuDNN and oneDNN want it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from lstmbench import (
    Backend,
    Batches,
    EpochLoss,
    LayerResult,
    Parameters,
    Task,
    Unavailable,
)
from lstmbench_torch.updates import Updater

#: (h, c), each ``[L, B, H]``.
State = tuple[Tensor, Tensor]
#: What an optimizer keeps, by the parameter that it belongs to.
Kept = Mapping[Tensor, Tensor]


class Layers(NamedTuple):
    """What the layers alone have given: outputs ``[T, B, H]`` and, if they went backward, the
    gradients by inputs and by the tensors that :meth:`Model.canonical_layers` knows.
    """

    outputs: Tensor
    inputs: Tensor | None = None
    tensors: Sequence[Tensor] = ()


class Model(ABC):
    """One LSTM language model: its parameters and what happens to them in one window."""

    updater: Updater

    @property
    @abstractmethod
    def trained(self) -> list[Tensor]:
        """The trained parameters, updated in place."""

    @abstractmethod
    def load(self, parameters: Parameters) -> None:
        """Copy canonical parameters in."""

    @abstractmethod
    def export(self, kept: Kept | None = None) -> Parameters:
        """Copy the parameters out in canonical form, or what is ``kept`` beside each of them."""

    @abstractmethod
    def train_window(self, x: Tensor, y: Tensor, state: State) -> tuple[Tensor, State]:
        """One update on ids ``[T, B]``: the mean loss before it, and the state to carry on."""

    @abstractmethod
    def logits(self, x: Tensor, state: State, training: bool = False) -> tuple[Tensor, State]:
        """``[T * B, V]`` for ids ``[T, B]``, and the state after them; in ``training`` with
        dropout."""

    @abstractmethod
    def layers(self, inputs: Tensor, slopes: Tensor | None) -> Layers:
        """The recurrent layers alone, of ``[T, B, in]`` from zero state; with ``slopes``
        ``[T, B, H]`` by the outputs, the gradients too."""

    @abstractmethod
    def canonical_layers(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """Gradients of all layers as input kernel, recurrent kernel and bias of each."""

    @abstractmethod
    def facts(self) -> dict[str, str]:
        """What the record should know of this model."""


class WindowGraph:
    """One training window as a CUDA graph, called like :meth:`Model.train_window`.

    Follows "Whole-network capture" of PyTorch's notes on CUDA graphs: warm up on a side stream,
    capture, then refill the captured inputs and replay. Warming up trains.
    """

    def __init__(self, model: Model, x: Tensor, y: Tensor, state: State) -> None:
        self._x, self._y = x.clone(), y.clone()
        self._state = (state[0].clone(), state[1].clone())
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(3):
                self._window(model)
        torch.cuda.current_stream().wait_stream(stream)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            self._loss = self._window(model)

    def _window(self, model: Model) -> Tensor:
        loss, state = model.train_window(self._x, self._y, self._state)
        for carried, new in zip(self._state, state, strict=True):
            carried.copy_(new)
        return loss

    def fits(self, x: Tensor) -> bool:
        return self._x.shape == x.shape

    def __call__(self, x: Tensor, y: Tensor, state: State) -> tuple[Tensor, State]:
        self._x.copy_(x)
        self._y.copy_(y)
        if state is not self._state:
            for carried, new in zip(self._state, state, strict=True):
                carried.copy_(new)
        self._graph.replay()
        return self._loss.clone(), self._state


class WindowBackend(Backend):
    """The interface's epochs, evaluation and generation around a :class:`Model`."""

    #: Modes per device kind, as the spec has them.
    modes: Mapping[str, tuple[str, ...]]

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self._device = _claim(task, self.modes)
        torch.manual_seed(task.seed)
        self._model = self._build(self._device, getattr(torch, task.dtype))
        self._model.updater.reset(self._model.trained)
        self._graph: WindowGraph | None = None
        self._factors: dict[int, tuple[Tensor, ...]] = {}

    @abstractmethod
    def _build(self, device: torch.device, dtype: torch.dtype) -> Model:
        """The model of the task's mode with its initial parameters."""

    def load_parameters(self, parameters: Parameters) -> None:
        trained = len(self._model.trained)
        self._model.load(parameters)
        if len(self._model.trained) != trained:
            self._graph = None  # captured with a parameter that is trained no longer
        self._model.updater.reset(self._model.trained)

    def parameters(self) -> Parameters:
        return self._model.export()

    def set_learning_rate(self, rate: float) -> None:
        self._model.updater.set_learning_rate(rate)

    def optimizer_state(self) -> tuple[Parameters, ...]:
        trained = self._model.trained
        return tuple(
            self._model.export(dict(zip(trained, kept, strict=True)))
            for kept in self._model.updater.moments
        )

    def prepare(self, batches: Batches) -> None:
        few = Batches(batches.inputs[:3], batches.targets[:3])
        with self._parameters_kept():
            self.train_epoch(few)
        self.evaluate(few)

    def train_epoch(self, batches: Batches) -> EpochLoss:
        state = self._zero_state(batches.inputs.shape[1])
        losses = []
        for x, y in self._windows(batches):
            loss, state = self._train_window(x, y, state)
            losses.append(loss)
        # the only synchronisation: the losses arrive after all that was queued before them
        mean = sum(torch.stack(losses).tolist()) / batches.windows
        return EpochLoss(mean * batches.tokens, batches.tokens)

    @torch.inference_mode()
    def evaluate(self, batches: Batches) -> EpochLoss:
        state = self._zero_state(batches.inputs.shape[1])
        losses = []
        for x, y in self._windows(batches):
            logits, state = self._model.logits(x, state)
            losses.append(functional.cross_entropy(logits, y.flatten(), reduction="sum"))
        return EpochLoss(sum(torch.stack(losses).tolist()), batches.tokens)

    @torch.inference_mode()
    def generate(self, prefix: Sequence[int], length: int) -> list[int]:
        ids = torch.tensor(prefix, dtype=torch.int64, device=self._device)[:, None]
        state = self._zero_state(1)
        chosen = []
        for _ in range(length):
            logits, state = self._model.logits(ids, state)
            ids = logits[-1:].argmax(dim=1, keepdim=True)
            chosen.append(ids)
        return torch.cat(chosen).flatten().tolist() if chosen else []

    def stage_layer(self, inputs: np.ndarray, slopes: np.ndarray | None = None) -> None:
        if self.task.mode == "graphs":
            raise Unavailable("mode graphs captures whole windows, so it has no layer alone")
        dtype = getattr(torch, self.task.dtype)
        self._inputs, self._slopes = (
            [] if each is None else list(torch.tensor(each, dtype=dtype, device=self._device))
            for each in (inputs, slopes)
        )
        self._synchronise()

    def layer_pass(self, index: int) -> None:
        slopes = self._slopes[index] if self._slopes else None
        self._layers = self._model.layers(self._inputs[index], slopes)
        self._synchronise()

    def layer_result(self) -> LayerResult:
        outputs, inputs, tensors = self._layers
        gradients = self._model.canonical_layers(tensors)
        return LayerResult.of_arrays(
            outputs.numpy(force=True).copy(),
            None if inputs is None else inputs.numpy(force=True).copy(),
            [gradient.numpy(force=True).copy() for gradient in gradients],
        )

    @torch.inference_mode()
    def matrix_product(self, side: int) -> None:
        if side not in self._factors:
            dtype = getattr(torch, self.task.dtype)
            self._factors[side] = tuple(torch.rand(3, side, side, dtype=dtype, device=self._device))
        left, right, product = self._factors[side]
        torch.mm(left, right, out=product)
        self._synchronise()

    def _synchronise(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        elif self._device.type == "mps":
            torch.mps.synchronize()

    def device_memory(self) -> int | None:
        if self._device.type != "cuda":
            return None
        return torch.cuda.max_memory_allocated(self._device)

    def runtime(self) -> dict[str, str]:
        facts = {
            "torch": torch.__version__,
            "threads": str(torch.get_num_threads()),
            "parameters": str(sum(tensor.numel() for tensor in self._model.trained)),
        }
        on = torch.backends.cuda.matmul.allow_tf32 or torch.backends.cudnn.allow_tf32
        facts["tf32"] = "on" if on else "off"
        if self._device.type == "cuda":
            facts["cuda"] = str(torch.version.cuda)
            facts["cudnn"] = str(torch.backends.cudnn.version())
        return facts | self._model.facts()

    def _zero_state(self, batch: int) -> State:
        model = self.task.model
        h, c = torch.zeros(
            2,
            model.layers,
            batch,
            model.hidden_size,
            dtype=getattr(torch, self.task.dtype),
            device=self._device,
        )
        return h, c

    def _windows(self, batches: Batches) -> Iterator[tuple[Tensor, Tensor]]:
        """Pairs of int64 ``[T, B]``, the whole epoch moved to the device at once."""

        def staged(ids: np.ndarray) -> Tensor:
            tensor = torch.tensor(ids, dtype=torch.int64, device=self._device)
            return tensor.transpose(1, 2).contiguous()

        return zip(staged(batches.inputs), staged(batches.targets), strict=True)

    def _train_window(self, x: Tensor, y: Tensor, state: State) -> tuple[Tensor, State]:
        if self.task.mode != "graphs":
            return self._model.train_window(x, y, state)
        if self._graph is None or not self._graph.fits(x):
            with self._parameters_kept():
                self._graph = WindowGraph(self._model, x, y, state)
        return self._graph(x, y, state)

    @contextmanager
    def _parameters_kept(self) -> Iterator[None]:
        """Put all that training changes back, bit for bit, after a trial run."""
        changed = [*self._model.trained, *self._model.updater.state()]
        kept = [tensor.detach().clone() for tensor in changed]
        yield
        with torch.no_grad():
            for tensor, value in zip(changed, kept, strict=True):
                tensor.copy_(value)


def _claim(task: Task, modes: Mapping[str, tuple[str, ...]]) -> torch.device:
    """The task's device, with threads set and TF32 off; raises ``Unavailable``."""
    kind = task.device_kind
    if kind == "cuda":
        index = int(task.device.partition(":")[2] or 0)
        if index >= torch.cuda.device_count():
            raise Unavailable(f"PyTorch {torch.__version__} sees no {task.device} here")
        torch.cuda.set_device(index)
        torch.cuda.reset_peak_memory_stats(index)  # an instance before this one does not count
    if kind == "mps" and not torch.backends.mps.is_available():
        raise Unavailable(f"PyTorch {torch.__version__} has no mps device here")
    if task.mode not in modes.get(kind, ()):
        raise Unavailable(f"there is no mode {task.mode} on {task.device}")
    torch.set_num_threads(task.threads)
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    return torch.device(task.device)


def one_hot(ids: Tensor, size: int, dtype: torch.dtype) -> Tensor:
    """``[..., size]`` of zeros and ones, without ``functional.one_hot``'s int64 copy."""
    zeros = torch.zeros(*ids.shape, size, dtype=dtype, device=ids.device)
    return zeros.scatter_(-1, ids.unsqueeze(-1), 1.0)
