"""Keras on TensorFlow."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from lstmbench import Batches, Unavailable
from lstmbench_keras.backend import KerasBackend
from lstmbench_keras.fit import FitTrainer
from lstmbench_keras.model import Drop
from lstmbench_keras.updates import Kept, Values


def windows_dataset(batches: Batches) -> dict[str, Any]:
    """An epoch as ready batches, on which ``fit`` gets going faster than on arrays."""
    return {"x": tf.data.Dataset.from_tensor_slices((batches.inputs, batches.targets))}


class TensorFlowBackend(KerasBackend):
    """``xla``, ``cudnn`` and ``graph`` run a whole epoch as one program; ``eager`` op by op."""

    engine = "tensorflow"

    def _configure(self) -> None:
        kind, _, index = self.task.device.partition(":")
        gpus = tf.config.list_physical_devices("GPU")
        if kind == "cuda" and int(index or 0) >= len(gpus):
            raise Unavailable(f"TensorFlow sees {len(gpus)} GPUs here, so not {self.task.device}")
        try:
            tf.config.threading.set_intra_op_parallelism_threads(self.task.threads)
            tf.config.threading.set_inter_op_parallelism_threads(self.task.threads)
            # the only GPU in sight is TensorFlow's default device; without one it is the CPU,
            # and Keras does not try cuDNN
            visible = [gpus[int(index or 0)]] if kind == "cuda" else []
            tf.config.set_visible_devices(visible, "GPU")
        except RuntimeError as error:
            raise Unavailable(
                "TensorFlow keeps the devices and threads that it started with in this process"
            ) from error
        tf.config.experimental.enable_tensor_float_32_execution(False)

    def _fit_trainer(self) -> FitTrainer:
        # XLA is faster on a CPU, where "auto" leaves it out; on a GPU it cannot hold cuDNN's LSTM
        jit_compile = self.task.device_kind == "cpu"
        return FitTrainer(self._model, self.task.training, windows_dataset, jit_compile)

    def _compile(self, function: Callable[..., Any]) -> Callable[..., Any]:
        if self.task.mode == "eager":
            return function
        compiled: Callable[..., Any] = tf.function(function, jit_compile=self.task.mode == "xla")
        return compiled

    def _epoch(
        self,
        values: Values,
        kept: Kept,
        rate: tf.Tensor,
        epoch: tf.Tensor,
        inputs: tf.Tensor,
        targets: tf.Tensor,
    ) -> tuple[Values, Kept, Any]:
        # In a program, the loop's own values spare XLA a copy of every variable per window:
        # a fifth faster than assigning to variables inside.
        states = self._model.zero_states(inputs.shape[1])
        losses = tf.zeros((), self.task.dtype)
        for window in tf.range(inputs.shape[0]):
            with tf.GradientTape() as tape:
                tape.watch(values)
                loss, states = self._loss(
                    values, inputs[window], targets[window], states, epoch, window
                )
            # an embedding's come row by row
            gradients = [tf.convert_to_tensor(g) for g in tape.gradient(loss, values)]
            values, kept = self._step(values, kept, rate, gradients)
            losses += loss
        return values, kept, losses

    def _layer_gradients(
        self, values: Values, inputs: tf.Tensor, slopes: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, Values]:
        with tf.GradientTape() as tape:
            tape.watch([inputs, *values])
            outputs = self._layers(values, inputs)
        by_inputs, *gradients = tape.gradient(outputs, [inputs, *values], slopes)
        return outputs, by_inputs, gradients

    def _drop(self, epoch: tf.Tensor, window: tf.Tensor) -> Drop:
        rate = self.task.training.dropout

        def drop(sequence: tf.Tensor, place: int) -> tf.Tensor:
            window_64, epoch_64 = tf.cast(window, tf.int64), tf.cast(epoch, tf.int64)
            first = tf.constant((self.task.seed << 16) + place, tf.int64)
            seed = tf.stack([first, epoch_64 * 2**32 + window_64])
            # what TensorFlow chooses under XLA on a CPU leaves out half of a seed's bits
            drawn = tf.random.stateless_uniform(tf.shape(sequence), seed, alg="philox")
            return sequence * tf.cast(drawn >= rate, sequence.dtype) / (1 - rate)

        return drop

    def _wait(self, tensor: tf.Tensor) -> None:
        tf.test.experimental.sync_devices()  # a CPU's eager operations are done already

    def device_memory(self) -> int | None:
        if self.task.device_kind == "cpu":
            return None
        return tf.config.experimental.get_memory_info("GPU:0")["peak"]

    def runtime(self) -> dict[str, str]:
        return super().runtime() | {
            "tensorflow": tf.__version__,
            "kernel": self._kernel(),
            "threads": str(tf.config.threading.get_intra_op_parallelism_threads()),
            "tf32": "off",
        }

    def _kernel(self) -> str:
        on_gpu = self.task.device_kind == "cuda"
        how = {
            "xla": "XLA, the epoch one program",
            "cudnn": "TensorFlow's ops, the epoch one graph",
            "graph": "TensorFlow's ops, the epoch one graph",
            "fit": "TensorFlow's ops, a graph a window" if on_gpu else "XLA, a program a window",
            "eager": "TensorFlow's ops one by one",
        }[self.task.mode]
        return f"cuDNN's LSTM; around it {how}" if on_gpu and self.task.mode != "xla" else how
