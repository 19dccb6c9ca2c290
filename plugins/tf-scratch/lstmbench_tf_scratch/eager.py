"""The LSTM as a student writes it: op by op, eagerly, with a gradient tape.

One matrix per gate and source, as in "Dive into Deep Learning", section "Long Short-Term Memory":
input, forget and output gate and the cell candidate each have their own product with the one-hot
input and with the hidden state. Nothing is fused, on purpose: this mode is what the others are
measured against. Shapes: B batch, T steps, W windows, H hidden, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from lstmbench import Task

#: Per layer (H, C), each ``[B, H]``.
State = list[tuple[tf.Tensor, tf.Tensor]]


class EagerModel:
    """Twelve variables per layer and two for the output.

    A layer's are ``W_x`` ``[in, H]``, ``W_h`` ``[H, H]`` and ``b`` ``[H]`` for each gate in the
    canonical order: input, forget, cell candidate, output.
    """

    def __init__(self, task: Task, weights: Sequence[np.ndarray]) -> None:
        self._task = task
        self._variables = [tf.Variable(value, dtype=task.dtype) for value in split_gates(weights)]

    def load(self, weights: Sequence[np.ndarray]) -> None:
        for variable, value in zip(self._variables, split_gates(weights), strict=True):
            variable.assign(value)

    def arrays(self) -> list[np.ndarray]:
        return join_gates([variable.numpy() for variable in self._variables])

    def warm_up(self, inputs: tf.Tensor, targets: tf.Tensor) -> None:
        """Load the kernels: the first window's gradient, not applied."""
        self._gradients(inputs[0], targets[0], self._zero_state(inputs.shape[2]))

    def train(self, inputs: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
        """Train on ids ``[W, T, B]``. Returns each window's sum of nats, ``[W]``."""
        state = self._zero_state(inputs.shape[2])
        nats = []
        for window, wanted in zip(inputs, targets, strict=True):
            loss, gradients, state = self._gradients(window, wanted, state)
            norm = tf.sqrt(tf.add_n([tf.reduce_sum(gradient**2) for gradient in gradients]))
            scale = tf.minimum(self._task.training.clip_norm / norm, 1.0)
            for variable, gradient in zip(self._variables, gradients, strict=True):
                variable.assign_sub(self._task.training.learning_rate * scale * gradient)
            nats.append(loss * tf.size(wanted, loss.dtype))
        return tf.stack(nats)

    def evaluate(self, inputs: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
        """Each window's sum of nats, ``[W]``."""
        state = self._zero_state(inputs.shape[2])
        nats = []
        for window, wanted in zip(inputs, targets, strict=True):
            logits, state = self._forward(window, state)
            nats.append(cross_entropy(logits, wanted) * tf.size(wanted, logits.dtype))
        return tf.stack(nats)

    def generate(self, prefix: Sequence[int], length: int) -> list[int]:
        state = self._zero_state(1)
        ids = list(prefix)
        for position in range(len(prefix) + length - 1):
            logits, state = self._forward(tf.constant([[ids[position]]]), state)
            if position >= len(prefix) - 1:
                ids.append(int(tf.argmax(logits[0])))
        return ids[len(prefix) :]

    def _zero_state(self, batch: int) -> State:
        zeros = tf.zeros((batch, self._task.model.hidden_size), self._task.dtype)
        return [(zeros, zeros)] * self._task.model.layers

    def _forward(self, ids: tf.Tensor, state: State) -> tuple[tf.Tensor, State]:
        """Logits ``[T * B, V]`` of ids ``[T, B]``, and the state after the last step."""
        *layers, W_hq, b_q = self._variables
        outputs = tf.unstack(tf.one_hot(ids, self._task.model.vocabulary_size, dtype=W_hq.dtype))
        after = []
        for index, before in enumerate(state):
            outputs, last = lstm(outputs, before, layers[12 * index : 12 * (index + 1)])
            after.append(last)
        return tf.concat([tf.matmul(H, W_hq) + b_q for H in outputs], axis=0), after

    def _gradients(
        self, ids: tf.Tensor, targets: tf.Tensor, state: State
    ) -> tuple[tf.Tensor, list[tf.Tensor], State]:
        """The mean loss of a window, ids ``[T, B]``, its gradients, and the state after it."""
        with tf.GradientTape() as tape:
            logits, state = self._forward(ids, state)
            loss = cross_entropy(logits, targets)
        return loss, tape.gradient(loss, self._variables), state


def lstm(
    inputs: list[tf.Tensor], state: tuple[tf.Tensor, tf.Tensor], variables: list[tf.Variable]
) -> tuple[list[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]:
    """One layer's outputs, T times ``[B, H]``, and its state, from inputs T times ``[B, in]``."""
    W_xi, W_hi, b_i, W_xf, W_hf, b_f, W_xc, W_hc, b_c, W_xo, W_ho, b_o = variables
    H, C = state
    outputs = []
    for X in inputs:
        I = tf.sigmoid(tf.matmul(X, W_xi) + tf.matmul(H, W_hi) + b_i)  # noqa: E741
        F = tf.sigmoid(tf.matmul(X, W_xf) + tf.matmul(H, W_hf) + b_f)
        O = tf.sigmoid(tf.matmul(X, W_xo) + tf.matmul(H, W_ho) + b_o)  # noqa: E741
        C_tilda = tf.tanh(tf.matmul(X, W_xc) + tf.matmul(H, W_hc) + b_c)
        C = F * C + I * C_tilda
        H = O * tf.tanh(C)
        outputs.append(H)
    return outputs, (H, C)


def cross_entropy(logits: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
    """Mean nats of targets ``[T, B]`` under logits ``[T * B, V]``."""
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(tf.reshape(targets, [-1]), logits)
    return tf.reduce_mean(losses)


def split_gates(weights: Sequence[np.ndarray]) -> list[np.ndarray]:
    """From the arrays of ``Parameters.items`` to one array per gate and source."""
    *layers, kernel, bias = weights
    out: list[np.ndarray] = []
    for i in range(0, len(layers), 3):
        parts = [np.split(array, 4, axis=-1) for array in layers[i : i + 3]]
        out += [array for gate in zip(*parts, strict=True) for array in gate]
    return [*out, kernel, bias]


def join_gates(arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The inverse of :func:`split_gates`."""
    *gates, kernel, bias = arrays
    out: list[np.ndarray] = []
    for i in range(0, len(gates), 12):
        out += [np.concatenate(gates[i + k : i + 12 : 3], axis=-1) for k in range(3)]
    return [*out, kernel, bias]
