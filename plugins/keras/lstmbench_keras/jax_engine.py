"""Keras on JAX."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import jax

from lstmbench import Unavailable
from lstmbench_keras.backend import KerasBackend
from lstmbench_keras.model import Drop, States
from lstmbench_keras.updates import Kept, Values


class JaxBackend(KerasBackend):
    """``jit`` and ``cudnn`` run a whole epoch as one program, a scan over its windows."""

    engine = "jax"

    def _configure(self) -> None:
        kind, _, index = self.task.device.partition(":")
        if kind == "cpu":
            # without a GPU in sight Keras does not try cuDNN
            jax.config.update("jax_platforms", "cpu")
        try:
            devices = jax.devices(kind)
        except RuntimeError:
            devices = []
        if int(index or 0) >= len(devices):
            raise Unavailable(f"JAX sees {len(devices)} devices {kind}, so not {self.task.device}")
        jax.config.update("jax_default_device", devices[int(index or 0)])
        jax.config.update("jax_default_matmul_precision", "highest")  # no TF32

    def _compile(self, function: Callable[..., Any]) -> Callable[..., Any]:
        compiled: Callable[..., Any] = jax.jit(function)
        return compiled

    def _epoch(
        self,
        values: Values,
        kept: Kept,
        rate: jax.Array,
        epoch: jax.Array,
        inputs: jax.Array,
        targets: jax.Array,
    ) -> tuple[Values, Kept, Any]:
        gradient = jax.value_and_grad(self._loss, has_aux=True)

        def window(
            carry: tuple[Values, Kept, States], ids: tuple[jax.Array, jax.Array, jax.Array]
        ) -> tuple[tuple[Values, Kept, States], jax.Array]:
            values, kept, states = carry
            number, x, y = ids
            (loss, states), gradients = gradient(values, x, y, states, epoch, number)
            values, kept = self._step(values, kept, rate, gradients)
            return (values, kept, states), loss

        start = (values, kept, self._model.zero_states(inputs.shape[1]))
        numbers = jax.numpy.arange(len(inputs))
        (values, kept, _), losses = jax.lax.scan(window, start, (numbers, inputs, targets))
        return values, kept, losses.sum()

    def _layer_gradients(
        self, values: Values, inputs: jax.Array, slopes: jax.Array
    ) -> tuple[jax.Array, jax.Array, Values]:
        outputs, back = jax.vjp(self._layers, values, inputs)
        gradients, by_inputs = back(slopes)
        return outputs, by_inputs, gradients

    def _drop(self, epoch: jax.Array, window: jax.Array) -> Drop:
        rate = self.task.training.dropout
        key = jax.random.fold_in(jax.random.key(self.task.seed, impl="rbg"), epoch)
        key = jax.random.fold_in(key, window)

        def drop(sequence: jax.Array, place: int) -> jax.Array:
            # bits rather than floats: half the work
            at_place = jax.random.fold_in(key, place)
            bits = jax.random.bits(at_place, sequence.shape, jax.numpy.uint32)
            kept = bits >= jax.numpy.uint32(rate * 2**32)
            return jax.numpy.where(kept, sequence / (1 - rate), 0)

        return drop

    def _wait(self, tensor: jax.Array) -> None:
        tensor.block_until_ready()  # all that its program has computed exists with it

    def device_memory(self) -> int | None:
        statistics = jax.config.jax_default_device.memory_stats()  # a CPU has none
        return statistics["peak_bytes_in_use"] if statistics else None

    def runtime(self) -> dict[str, str]:
        how = "XLA, a program a window" if self.task.mode == "fit" else "XLA, the epoch one program"
        if self.task.device_kind == "cuda" and self.task.mode != "jit":
            how += " around cuDNN's LSTM"
        return super().runtime() | {
            "jax": jax.__version__,
            "kernel": how,
            "threads": os.environ.get("NPROC", "as many as XLA finds"),
            "tf32": "off",
        }
