"""The JAX LSTM behind the backend interface: devices, compilation, conversion."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import jaxlib
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from lstmbench import (
    Backend,
    Batches,
    EpochLoss,
    LayerResult,
    Parameters,
    Task,
    Unavailable,
    reference,
)
from lstmbench_jax import model
from lstmbench_jax.updates import nothing_kept

#: How arrays lie on the mesh: parameters everywhere, ids ``[W, T, B]`` cut along the batch.
_WHOLE = PartitionSpec()
_BY_ROW = PartitionSpec(None, None, model.BATCH)
#: The same of sequences ``[T, B, N]``.
_BY_ROW_OF_LAYER = PartitionSpec(None, model.BATCH, None)

OPERATIONS = {"jit": model.BY_HAND, "autodiff": model.AUTODIFF}


class JaxBackend(Backend):
    """Parameters replicated over a mesh of devices, among which the batch is shared out.

    On a CPU the mesh has one XLA device per thread, as far as they divide the batch: the kernels
    of one time step are too small to gain much from being split among threads one by one. A GPU
    is a mesh of one.
    """

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        if task.mode not in OPERATIONS:
            raise Unavailable(f"jax has no mode {task.mode}: it has {', '.join(OPERATIONS)}")
        self._devices = _devices(task)
        self._programs: dict[tuple[int, ...], tuple[Any, Mesh]] = {}
        self._evaluate = jax.jit(partial(model.evaluate, task.model))
        self._advance = jax.jit(partial(model.advance, task.model))
        self._rate, self._epochs = task.training.learning_rate, 0
        self._multiply = jax.jit(jnp.matmul)
        self._factors: dict[int, tuple[jax.Array, ...]] = {}
        self.load_parameters(reference.draw_parameters(task.model, task.seed))

    def load_parameters(self, parameters: Parameters) -> None:
        mesh = self._mesh(self.task.training.batch_size)
        # a copy: the first epoch overwrites what it is given
        copies = [np.array(array, self.task.dtype) for _, array in parameters.items()]
        self._weights = jax.device_put(copies, NamedSharding(mesh, _WHOLE))
        self._kept = nothing_kept(self.task.training, self._weights)

    def parameters(self) -> Parameters:
        return self._canonical(self._weights)

    def set_learning_rate(self, rate: float) -> None:
        self._rate = rate

    def optimizer_state(self) -> tuple[Parameters, ...]:
        moments = self._kept[: len(self.task.training.moments)]
        return tuple(self._canonical(values) for values in moments)

    def _canonical(self, values: model.Weights) -> Parameters:
        # a copy: the next epoch overwrites these buffers
        return Parameters.of_model(self.task.model, [np.array(value) for value in values])

    def prepare(self, batches: Batches) -> None:
        self._program(batches.inputs.shape)

    def train_epoch(self, batches: Batches) -> EpochLoss:
        program, mesh = self._program(batches.inputs.shape)
        self._epochs += 1
        seed = np.uint32((self.task.seed + self._epochs) % 2**32)
        rate = np.asarray(self._rate, self.task.dtype)
        trained = (self._weights, self._kept, rate, seed)
        trained = jax.device_put(trained, NamedSharding(mesh, _WHOLE))
        ids = jax.device_put(_time_major(batches), NamedSharding(mesh, _BY_ROW))
        done = jax.block_until_ready(program(*trained, *ids))
        self._weights, self._kept, nats = done
        return _total(nats, batches)

    def evaluate(self, batches: Batches) -> EpochLoss:
        return _total(self._evaluate(self._local(), *_time_major(batches)), batches)

    def generate(self, prefix: Sequence[int], length: int) -> list[int]:
        weights = self._local()
        state = model.zero_state(self.task.model, self.task.dtype, 1)
        ids = list(prefix)
        for position in range(len(prefix) + length - 1):
            symbol, state = self._advance(weights, state, np.int32(ids[position]))
            if position >= len(prefix) - 1:
                ids.append(int(symbol))
        return ids[len(prefix) :]

    def stage_layer(self, inputs: np.ndarray, slopes: np.ndarray | None = None) -> None:
        lie = NamedSharding(self._mesh(inputs.shape[2]), _BY_ROW_OF_LAYER)
        given = [inputs] if slopes is None else [inputs, slopes]
        staged = [[jax.device_put(array, lie) for array in each] for each in given]
        self._staged = jax.block_until_ready(list(zip(*staged, strict=True)))
        self._layer = self._layer_program(inputs.shape[2], slopes is not None)
        self._layer_weights = model.parts(self.task.model, self._weights).layers

    def layer_pass(self, index: int) -> None:
        given = self._layer_weights, *self._staged[index]
        self._given = jax.block_until_ready(self._layer(*given))

    def layer_result(self) -> LayerResult:
        if not isinstance(self._given, tuple):
            return LayerResult(np.array(self._given))
        outputs, d_inputs, layers = self._given
        gradients = [np.array(tensor) for layer in layers for tensor in layer]
        return LayerResult.of_arrays(np.array(outputs), np.array(d_inputs), gradients)

    @cache  # noqa: B019 - kept as long as its worker is there
    def _layer_program(self, batch: int, backward: bool) -> Any:
        """The layers alone as a program, with their gradients or without."""
        function = model.layers_and_gradients if backward else model.layers
        own = _BY_ROW_OF_LAYER
        program = jax.shard_map(
            partial(function, OPERATIONS[self.task.mode]),
            mesh=self._mesh(batch),
            in_specs=(_WHOLE, own, own) if backward else (_WHOLE, own),
            out_specs=(own, own, _WHOLE) if backward else own,
            check_vma=False,
        )
        return jax.jit(program)

    def matrix_product(self, side: int) -> None:
        if side not in self._factors:
            factors = np.random.default_rng(side).random((2, side, side)).astype(self.task.dtype)
            self._factors[side] = jax.device_put(tuple(factors), self._devices[0])
        # on one device: the devices of a CPU share their threads
        jax.block_until_ready(self._multiply(*self._factors[side]))

    def device_memory(self) -> int | None:
        statistics = self._devices[0].memory_stats()  # a CPU has none
        return statistics["peak_bytes_in_use"] if statistics else None

    def runtime(self) -> dict[str, str]:
        shards = self._mesh(self.task.training.batch_size).size
        how = "autodiff" if self.task.mode == "autodiff" else "gradients by hand"
        return {
            "jax": jax.__version__,
            "jaxlib": jaxlib.__version__,
            "kernel": f"XLA, one program per epoch, {how}, batch on {shards} device(s)",
            "device": self._devices[0].device_kind,
            "threads": _threads() if self.task.device_kind == "cpu" else "not used",
            "tf32": f"off (precision {jax.config.jax_default_matmul_precision})",
            "parameters": str(sum(value.size for value in self._weights)),
            "biases": "one per layer",
        }

    def _mesh(self, batch: int) -> Mesh:
        """As many devices as divide the batch."""
        usable = range(1, len(self._devices) + 1)
        shards = max(count for count in usable if batch % count == 0)
        return Mesh(np.array(self._devices[:shards]), (model.BATCH,))

    def _program(self, shape: tuple[int, ...]) -> tuple[Any, Mesh]:
        """The epoch compiled for ids ``[W, B, T]``, and the devices that it runs on."""
        if shape not in self._programs:
            windows, batch, steps = shape
            mesh = self._mesh(batch)
            epoch = jax.shard_map(
                partial(
                    model.train_epoch,
                    OPERATIONS[self.task.mode],
                    self.task.model,
                    self.task.training,
                ),
                mesh=mesh,
                in_specs=(*(_WHOLE,) * 4, _BY_ROW, _BY_ROW),
                out_specs=_WHOLE,
                check_vma=False,
            )
            rate, seed = np.zeros((), self.task.dtype), np.uint32(0)
            given = jax.tree.map(
                lambda value: jax.ShapeDtypeStruct(
                    value.shape, value.dtype, sharding=NamedSharding(mesh, _WHOLE)
                ),
                (self._weights, self._kept, rate, seed),
            )
            ids = jax.ShapeDtypeStruct(
                (windows, steps, batch), jnp.int32, sharding=NamedSharding(mesh, _BY_ROW)
            )
            compiled = jax.jit(epoch, donate_argnums=(0, 1)).lower(*given, ids, ids).compile()
            self._programs[shape] = compiled, mesh
        return self._programs[shape]

    def _local(self) -> model.Weights:
        """The parameters on the first device alone."""
        return [value.addressable_data(0) for value in self._weights]


def _devices(task: Task) -> list[jax.Device]:
    """The devices of the task: one per thread on a CPU, else the one that is named."""
    if task.device_kind not in ("cpu", "cuda"):
        raise Unavailable(f"JAX has no device {task.device} here")
    jax.config.update("jax_enable_x64", task.dtype == "float64")
    jax.config.update("jax_default_matmul_precision", "highest")
    if task.device_kind == "cpu":
        # JAX takes these before its first operation only; later it keeps what it has
        with contextlib.suppress(RuntimeError):
            jax.config.update("jax_platforms", "cpu")
            jax.config.update("jax_num_cpu_devices", task.threads)
        return jax.devices("cpu")[: task.threads]
    try:
        devices = jax.devices("cuda")
    except RuntimeError:
        raise Unavailable("JAX sees no CUDA device") from None
    index = int(task.device.partition(":")[2] or 0)
    if index >= len(devices):
        raise Unavailable(f"JAX sees {len(devices)} CUDA devices, so there is no {task.device}")
    return [devices[index]]


def _threads() -> str:
    """XLA sizes its pool by NPROC, else by the processors that it may run on."""
    if "NPROC" in os.environ:
        return f"{os.environ['NPROC']} (NPROC)"
    if hasattr(os, "sched_getaffinity"):
        return f"{len(os.sched_getaffinity(0))} (affinity)"
    return f"{os.cpu_count()} (processors)"


def _time_major(batches: Batches) -> tuple[np.ndarray, np.ndarray]:
    """Inputs and targets as ``[W, T, B]``."""
    return batches.inputs.transpose(0, 2, 1), batches.targets.transpose(0, 2, 1)


def _total(nats: jax.Array, batches: Batches) -> EpochLoss:
    return EpochLoss(float(np.asarray(nats).sum(dtype=np.float64)), batches.tokens)
