"""LSTM by hand in TensorFlow behind the backend interface."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

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
from lstmbench_tf_scratch.eager import EagerModel
from lstmbench_tf_scratch.fused import FusedModel, shard_count

MODES = ("xla", "graph", "eager")


class TFScratchBackend(Backend):
    """Places one of the two models on its device and converts what goes in and out."""

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        if task.mode not in MODES:
            raise Unavailable(f"tf-scratch has no mode {task.mode}: it has {', '.join(MODES)}")
        # a GPU runs its kernels in one queue, which shards would only make longer
        limit = task.threads if task.device_kind == "cpu" else 1
        self._shards = shard_count(task.training.batch_size, limit)
        self._device = _configure(task, self._shards)
        weights = _initial_weights(task)
        with tf.device(self._device):
            self._model = (
                EagerModel(task, weights)
                if task.mode == "eager"
                else FusedModel(task, weights, self._shards)
            )
        self._factors: dict[int, tuple[tf.Tensor, tf.Tensor]] = {}

    def load_parameters(self, parameters: Parameters) -> None:
        with tf.device(self._device):
            self._model.load([array for _, array in parameters.items()])

    def parameters(self) -> Parameters:
        return Parameters.of_model(self.task.model, self._model.arrays())

    def set_learning_rate(self, rate: float) -> None:
        self._model.set_learning_rate(rate)

    def optimizer_state(self) -> tuple[Parameters, ...]:
        moments = self._model.moments()
        return tuple(Parameters.of_model(self.task.model, arrays) for arrays in moments)

    def prepare(self, batches: Batches) -> None:
        with tf.device(self._device):
            self._model.warm_up(*_staged(batches))

    def train_epoch(self, batches: Batches) -> EpochLoss:
        with tf.device(self._device):
            return _total(self._model.train(*_staged(batches)), batches)

    def evaluate(self, batches: Batches) -> EpochLoss:
        with tf.device(self._device):
            return _total(self._model.evaluate(*_staged(batches)), batches)

    def generate(self, prefix: Sequence[int], length: int) -> list[int]:
        with tf.device(self._device):
            return self._model.generate(prefix, length)

    def stage_layer(self, inputs: np.ndarray, slopes: np.ndarray | None = None) -> None:
        with tf.device(self._device):
            self._inputs, self._slopes = (
                [] if each is None else [tf.constant(array) for array in each]
                for each in (inputs, slopes)
            )
        tf.test.experimental.sync_devices()

    def layer_pass(self, index: int) -> None:
        slopes = self._slopes[index] if self._slopes else None
        with tf.device(self._device):
            self._given = self._model.layers(self._inputs[index], slopes)
        tf.test.experimental.sync_devices()

    def layer_result(self) -> LayerResult:
        outputs, *more = self._given
        if not more:
            return LayerResult(outputs.numpy())
        d_inputs, *gradients = more
        arrays = self._model.canonical_layers(gradients)
        return LayerResult.of_arrays(outputs.numpy(), d_inputs.numpy(), arrays)

    def matrix_product(self, side: int) -> None:
        with tf.device(self._device):
            if side not in self._factors:
                factors = np.random.default_rng(side).random((2, side, side))
                left, right = (tf.constant(factor, self.task.dtype) for factor in factors)
                self._factors[side] = left, right
            # eager: a program around it costs time and gains none
            tf.matmul(*self._factors[side])
        tf.test.experimental.sync_devices()

    def device_memory(self) -> int | None:
        if self.task.device_kind == "cpu":
            return None
        return tf.config.experimental.get_memory_info("GPU:0")["peak"]

    def runtime(self) -> dict[str, str]:
        return {
            "tensorflow": tf.__version__,
            "numpy": np.__version__,
            "kernel": self._kernel(),
            "threads": f"intra-op {tf.config.threading.get_intra_op_parallelism_threads()}, "
            f"inter-op {tf.config.threading.get_inter_op_parallelism_threads()}",
            "tf32": "on" if tf.config.experimental.tensor_float_32_execution_enabled() else "off",
            "parameters": str(sum(array.size for array in self._model.arrays())),
            "biases": "one per layer",
        }

    def _kernel(self) -> str:
        if self.task.mode == "xla":
            return f"XLA, batch in {self._shards} side by side" if self._shards > 1 else "XLA"
        product = "cuBLAS" if self.task.device_kind == "cuda" else _cpu_product()
        if self.task.mode == "eager":
            return f"eager kernels, MatMul by {product}"
        return f"graph kernels, MatMul by {product}, batch in {self._shards} side by side"


def _configure(task: Task, shards: int) -> str:
    """Threads, visible devices and number format; returns TensorFlow's name of the device.

    TensorFlow takes its threads and devices before its first operation only. A later instance
    with other wishes gets what is in force, which :meth:`TFScratchBackend.runtime` states.
    """
    if task.device_kind not in ("cpu", "cuda"):
        raise Unavailable(f"TensorFlow has no device {task.device}")
    gpus = tf.config.list_physical_devices("GPU")
    index = int(task.device.partition(":")[2] or 0)
    if task.device_kind == "cuda" and index >= len(gpus):
        raise Unavailable(f"TensorFlow sees {len(gpus)} GPUs, so there is no {task.device}")
    visible = gpus[index : index + 1] if task.device_kind == "cuda" else []
    tf.config.set_visible_devices(visible, "GPU")
    for gpu in visible:
        tf.config.experimental.set_memory_growth(gpu, True)
    tf.config.experimental.enable_tensor_float_32_execution(False)
    # a graph's shards take the threads among themselves; XLA's share one pool of that size
    alone = task.mode == "graph" and shards > 1
    with contextlib.suppress(RuntimeError):  # fixed by an earlier instance with another batch
        tf.config.threading.set_intra_op_parallelism_threads(
            max(1, task.threads // shards) if alone else task.threads
        )
        tf.config.threading.set_inter_op_parallelism_threads(task.threads)
    return "/GPU:0" if visible else "/CPU:0"


def _cpu_product() -> str:
    """The library behind MatMul on the CPU, which depends on build, processor and environment."""
    try:
        from tensorflow.python.util import _pywrap_util_port  # nothing public tells
    except ImportError:
        return "oneDNN or Eigen"
    return "oneDNN" if _pywrap_util_port.IsMklEnabled() else "Eigen"


def _initial_weights(task: Task) -> list[np.ndarray]:
    """normal(0, 0.01), biases zero, in the order of ``Parameters.items``."""
    return [array for _, array in reference.draw_parameters(task.model, task.seed).items()]


def _staged(batches: Batches) -> tuple[tf.Tensor, tf.Tensor]:
    """Inputs and targets as time-major int32 ``[W, T, B]`` on the current device."""
    return tuple(
        tf.constant(np.ascontiguousarray(ids.transpose(0, 2, 1)))
        for ids in (batches.inputs, batches.targets)
    )


def _total(nats: tf.Tensor, batches: Batches) -> EpochLoss:
    """Waits for the device, once per epoch."""
    return EpochLoss(float(nats.numpy().sum(dtype=np.float64)), batches.tokens)
