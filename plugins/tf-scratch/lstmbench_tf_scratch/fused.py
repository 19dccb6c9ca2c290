"""The LSTM with fused gates and hand-derived gradients, a whole epoch in one call.

Shapes: B batch, T steps, W windows, H hidden, V vocabulary. Sequences are time-major,
``[T, B, ...]``; gates lie side by side in the order input, forget, cell, output: ``[..., 4H]``.
The equations are those of ``lstmbench.reference``. The method: Werbos, "Backpropagation Through
Time: What It Does and How to Do It", Proceedings of the IEEE 78 (1990).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.compiler.tf2xla.ops.gen_xla_ops import xla_optimization_barrier

from lstmbench import Task, TrainingConfig

#: All parameters, or a gradient for each, flat, in the order of ``Parameters.items``.
Weights = list[tf.Tensor]
#: Per layer (h, c), each ``[B, H]``.
State = list[tuple[tf.Tensor, tf.Tensor]]
Transpose = Callable[[tf.Tensor], tf.Tensor]


class FusedModel:
    """The parameters, one tensor each, and the traced or compiled functions of one mode.

    The batch is cut into at most ``shards`` parts, whose gradients add up to the batch's. They
    run side by side on the inter-op threads: the kernels of one time step are too small to gain
    much from being split among threads one by one.
    """

    def __init__(self, task: Task, weights: Sequence[np.ndarray], shards: int) -> None:
        self._task = task
        self._shards = shards
        self.load(weights)
        xla = task.mode == "xla"
        # None and not False: a function that forbids XLA runs the programs inside it in sequence
        traced = partial(tf.function, autograph=False, jit_compile=xla or None)
        transpose = materialised_transpose if xla else tf.transpose
        self._gradients = traced(partial(gradients, transpose))
        self._step = traced(partial(clipped_step, task.training))
        # unsharded, the loop over windows may be part of the XLA program as well
        self._train = tf.function(
            self._epoch, autograph=False, jit_compile=(xla and shards == 1) or None
        )
        self._evaluate = traced(partial(evaluation, transpose))

    def load(self, weights: Sequence[np.ndarray]) -> None:
        self._weights = [tf.constant(value, self._task.dtype) for value in weights]

    def arrays(self) -> list[np.ndarray]:
        return [np.array(value) for value in self._weights]

    def warm_up(self, inputs: tf.Tensor, targets: tf.Tensor) -> None:
        """Trace and compile for this shape, by an epoch whose result is dropped."""
        self._train(self._weights, inputs, targets)

    def train(self, inputs: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
        """Train on ids ``[W, T, B]``. Returns each window's sum of nats, ``[W]``."""
        nats, self._weights = self._train(self._weights, inputs, targets)
        return nats

    def evaluate(self, inputs: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
        """Each window's sum of nats, ``[W]``."""
        return self._evaluate(self._weights, inputs, targets)

    def generate(self, prefix: Sequence[int], length: int) -> list[int]:
        state = zero_state(self._weights, 1)
        ids = list(prefix)
        for position in range(len(prefix) + length - 1):
            hiddens, _, state = forward(
                tf.transpose, self._weights, state, tf.constant([[ids[position]]])
            )
            if position >= len(prefix) - 1:
                ids.append(int(tf.argmax(logits_of(self._weights, rows(hiddens[-1]))[0])))
        return ids[len(prefix) :]

    def _epoch(
        self, weights: Weights, inputs: tf.Tensor, targets: tf.Tensor
    ) -> tuple[tf.Tensor, Weights]:
        """Each window's sum of nats, ``[W]``, and the parameters after the last window."""
        windows, steps, batch = inputs.shape
        shards = shard_count(batch, self._shards)
        parts = list(zip(tf.split(inputs, shards, 2), tf.split(targets, shards, 2), strict=True))

        def window(
            w: tf.Tensor, nats: tf.TensorArray, states: list[State], weights: Weights
        ) -> Any:
            answers = [
                self._gradients(weights, state, x[w], y[w], steps * batch)
                for state, (x, y) in zip(states, parts, strict=True)
            ]
            losses, shares, states = map(list, zip(*answers, strict=True))
            return w + 1, nats.write(w, tf.add_n(losses)), states, self._step(weights, shares)

        _, nats, _, weights = tf.while_loop(
            lambda w, *_: w < windows,
            window,
            (
                0,
                tf.TensorArray(weights[0].dtype, windows, element_shape=()),
                [zero_state(weights, batch // shards) for _ in parts],
                weights,
            ),
            parallel_iterations=1,
        )
        return nats.stack(), weights


def shard_count(batch: int, limit: int) -> int:
    """The largest number of equal parts of a batch, up to ``limit``."""
    return max(count for count in range(1, limit + 1) if batch % count == 0)


def layers_of(weights: Weights) -> list[Weights]:
    """(input kernel ``[in, 4H]``, recurrent kernel ``[H, 4H]``, bias ``[4H]``) of every layer."""
    return [weights[i : i + 3] for i in range(0, len(weights) - 2, 3)]


def zero_state(weights: Weights, batch: int) -> State:
    hidden = weights[-2].shape[0]
    zeros = tf.zeros((batch, hidden), weights[-2].dtype)
    return [(zeros, zeros) for _ in layers_of(weights)]


def materialised_transpose(matrix: tf.Tensor) -> tf.Tensor:
    """A transpose that XLA must not fold into the product that reads it.

    On the CPU XLA multiplies row-major operands far faster than transposed ones, and the copy
    costs little.
    """
    return xla_optimization_barrier([tf.transpose(matrix)])[0]


def rows(sequence: tf.Tensor) -> tf.Tensor:
    """``[T, B, N]`` as ``[T * B, N]``."""
    return tf.reshape(sequence, (-1, sequence.shape[-1]))


def logits_of(weights: Weights, hiddens: tf.Tensor) -> tf.Tensor:
    """From ``[N, H]`` to ``[N, V]``."""
    return tf.matmul(hiddens, weights[-2]) + weights[-1]


def recur(
    projected: tf.Tensor, recurrent_transposed: tf.Tensor, state: tuple[tf.Tensor, tf.Tensor]
) -> tuple[tf.Tensor, list[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]:
    """One layer through time, from the input's part of all gates, bias included, ``[T, B, 4H]``.

    Returns h ``[T, B, H]``, what :func:`recur_back` needs, and the state after the last step.
    Within a step the batch comes last, ``[H, B]``: a tall kernel times a narrow state multiplies
    faster on a CPU than the same product transposed.
    """
    steps, batch, width = projected.shape
    hidden = width // 4

    def step(
        t: tf.Tensor, h: tf.Tensor, c: tf.Tensor, hiddens: tf.TensorArray, slopes: list[Any]
    ) -> Any:
        raw = tf.transpose(projected[t]) + tf.matmul(recurrent_transposed, h)
        i, f, g, o = tf.split(raw, 4)
        i, f, g, o = tf.sigmoid(i), tf.sigmoid(f), tf.tanh(g), tf.sigmoid(o)
        before, c = c, f * c + i * g
        tanh_c = tf.tanh(c)
        h = o * tanh_c
        partials = (
            g * i * (1 - i),  # of c_t, by the raw input gate
            before * f * (1 - f),  # by the raw forget gate
            i * (1 - g * g),  # by the raw cell candidate
            tanh_c * o * (1 - o),  # of h_t, by the raw output gate
            o * (1 - tanh_c * tanh_c),  # by c_t
            f,  # of c_t, by c_(t-1)
        )
        slopes = [array.write(t, value) for array, value in zip(slopes, partials, strict=True)]
        return t + 1, h, c, hiddens.write(t, tf.transpose(h)), slopes

    hiddens = tf.TensorArray(projected.dtype, steps, element_shape=(batch, hidden))
    slopes = [
        tf.TensorArray(projected.dtype, steps, element_shape=(hidden, batch)) for _ in range(6)
    ]
    start = map(tf.transpose, state)
    _, h, c, hiddens, slopes = tf.while_loop(
        lambda t, *_: t < steps, step, (0, *start, hiddens, slopes), parallel_iterations=1
    )
    after = tf.transpose(h), tf.transpose(c)
    return hiddens.stack(), [array.stack() for array in slopes], after


def recur_back(d_hiddens: tf.Tensor, slopes: list[tf.Tensor], recurrent: tf.Tensor) -> tf.Tensor:
    """From dL/dh_t ``[T, B, H]`` to dL/d(raw gates) ``[T, B, 4H]``."""
    steps, batch, hidden = d_hiddens.shape

    def step(t: tf.Tensor, d_h: tf.Tensor, d_c: tf.Tensor, d_raws: tf.TensorArray) -> Any:
        by_i, by_f, by_g, by_o, by_c, f = (slope[t] for slope in slopes)
        d_h += tf.transpose(d_hiddens[t])
        d_c += d_h * by_c
        d_raw = tf.concat([d_c * by_i, d_c * by_f, d_c * by_g, d_h * by_o], axis=0)
        d_raws = d_raws.write(t, tf.transpose(d_raw))
        return t - 1, tf.matmul(recurrent, d_raw), d_c * f, d_raws

    zeros = tf.zeros((hidden, batch), d_hiddens.dtype)
    array = tf.TensorArray(d_hiddens.dtype, steps, element_shape=(batch, 4 * hidden))
    *_, d_raws = tf.while_loop(
        lambda t, *_: t >= 0, step, (steps - 1, zeros, zeros, array), parallel_iterations=1
    )
    return d_raws.stack()


def forward(
    transpose: Transpose, weights: Weights, state: State, inputs: tf.Tensor
) -> tuple[list[tf.Tensor], list[list[tf.Tensor]], State]:
    """Every layer's h ``[T, B, H]``, slopes and last state, of ids ``[T, B]``."""
    hiddens: list[tf.Tensor] = []
    slopes, after = [], []
    for (kernel, recurrent, bias), before in zip(layers_of(weights), state, strict=True):
        if hiddens:
            projected = tf.reshape(
                tf.matmul(rows(hiddens[-1]), kernel) + bias, (*inputs.shape, kernel.shape[1])
            )
        else:  # a one-hot row times the kernel is a row of the kernel
            projected = tf.gather(kernel + bias, inputs)
        h, partials, last = recur(projected, transpose(recurrent), before)
        hiddens.append(h)
        slopes.append(partials)
        after.append(last)
    return hiddens, slopes, after


def gradients(
    transpose: Transpose,
    weights: Weights,
    state: State,
    inputs: tf.Tensor,
    targets: tf.Tensor,
    tokens: int,
) -> tuple[tf.Tensor, Weights, State]:
    """The sum of nats on a part of a window, ids ``[T, B]``, and the state after it.

    The gradient is that of the sum divided by ``tokens``, the number in the whole window.
    """
    batch = inputs.shape[1]
    symbols = weights[-1].shape[0]
    dtype = weights[-1].dtype
    hiddens, slopes, after = forward(transpose, weights, state, inputs)

    top = rows(hiddens[-1])
    log_probabilities = tf.nn.log_softmax(logits_of(weights, top))
    wanted = tf.one_hot(tf.reshape(targets, [-1]), symbols, dtype=dtype)
    nats = -tf.reduce_sum(log_probabilities * wanted)
    d_logits = (tf.exp(log_probabilities) - wanted) / tokens
    d_weights = [tf.matmul(transpose(top), d_logits), tf.reduce_sum(d_logits, axis=0)]
    d_hiddens = tf.matmul(d_logits, weights[-2], transpose_b=True)

    for index, (kernel, recurrent, _) in reversed(list(enumerate(layers_of(weights)))):
        h = hiddens[index]
        d_raw = rows(recur_back(tf.reshape(d_hiddens, h.shape), slopes[index], recurrent))
        # all steps in one product: h before each step, dL/d(raw gates) at it
        shifted = tf.concat([state[index][0], rows(h)[:-batch]], axis=0)
        d_recurrent = tf.matmul(transpose(shifted), d_raw)
        if index:
            d_kernel = tf.matmul(transpose(rows(hiddens[index - 1])), d_raw)
            d_bias = tf.reduce_sum(d_raw, axis=0)
            d_hiddens = tf.matmul(d_raw, kernel, transpose_b=True)
        else:  # each token has one row of the kernel, so that the rows add up to the bias
            one_hot = tf.one_hot(tf.reshape(inputs, [-1]), symbols, axis=0, dtype=dtype)
            d_kernel = tf.matmul(one_hot, d_raw)
            d_bias = tf.reduce_sum(d_kernel, axis=0)
        d_weights = [d_kernel, d_recurrent, d_bias, *d_weights]
    return nats, d_weights, after


def clipped_step(training: TrainingConfig, weights: Weights, shares: list[Weights]) -> Weights:
    """One SGD step by the sum of the shards' gradients, clipped together to ``clip_norm``."""
    changes = [tf.add_n(parts) for parts in zip(*shares, strict=True)]
    norm = tf.sqrt(tf.add_n([tf.reduce_sum(change * change) for change in changes]))
    rate = training.learning_rate * tf.minimum(training.clip_norm / norm, 1.0)
    return [value - rate * change for value, change in zip(weights, changes, strict=True)]


def evaluation(
    transpose: Transpose, weights: Weights, inputs: tf.Tensor, targets: tf.Tensor
) -> tf.Tensor:
    """Each window's sum of nats, ``[W]``, state carried; ids ``[W, T, B]``."""
    windows, _, batch = inputs.shape

    def window(w: tf.Tensor, nats: tf.TensorArray, state: State) -> Any:
        hiddens, _, state = forward(transpose, weights, state, inputs[w])
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(
            tf.reshape(targets[w], [-1]), logits_of(weights, rows(hiddens[-1]))
        )
        return w + 1, nats.write(w, tf.reduce_sum(losses)), state

    _, nats, _ = tf.while_loop(
        lambda w, *_: w < windows,
        window,
        (
            0,
            tf.TensorArray(weights[0].dtype, windows, element_shape=()),
            zero_state(weights, batch),
        ),
        parallel_iterations=1,
    )
    return nats.stack()
