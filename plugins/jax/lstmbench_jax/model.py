"""The LSTM and its training as pure functions: an epoch is one XLA program.

Shapes: B batch, T steps, W windows, H hidden, V vocabulary. Sequences are time-major,
``[T, B, ...]``; gates lie side by side in the order input, forget, cell, output: ``[..., 4H]``.
The equations are those of ``lstmbench.reference``. Three operations hold all the work, and each
exists twice: differentiated by JAX, and with its derivative by hand. The hand-derived ones are
faster for three reasons: the recurrent kernel's gradient is one product over all steps instead of
a sum of one per step; every product reads row-major operands; and within a step the batch comes
last, ``[H, B]``, since a tall kernel times a narrow state multiplies faster on a CPU than the same
product transposed.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from lstmbench import ModelConfig, TrainingConfig
from lstmbench_jax.updates import Kept, Rate, divisor, update

#: All parameters, or a gradient for each, flat, in the order of ``Parameters.items``.
Weights = list[Array]
#: Per layer (h, c), each ``[B, H]``.
State = list[tuple[Array, Array]]
#: Name of the mesh axis along which the batch is cut.
BATCH = "batch"


class Parts(NamedTuple):
    """The parameters by what they are for.

    ``layers``: (input kernel ``[in, 4H]``, recurrent kernel ``[H, 4H]``, bias ``[4H]``) of each.
    """

    embedding: Array | None
    layers: list[Weights]
    output_kernel: Array
    output_bias: Array


def parts(model: ModelConfig, weights: Weights) -> Parts:
    *rest, bias = weights
    embedding = None if model.embedding_size is None else rest.pop(0)
    kernel = embedding.T if model.tied and embedding is not None else rest.pop()
    return Parts(embedding, [rest[i : i + 3] for i in range(0, len(rest), 3)], kernel, bias)


def zero_state(model: ModelConfig, dtype: Any, batch: int) -> State:
    zeros = jnp.zeros((batch, model.hidden_size), dtype)
    return [(zeros, zeros) for _ in range(model.layers)]


def materialised_transpose(matrix: Array) -> Array:
    """A transpose that XLA must not fold into the product that reads it.

    On the CPU XLA multiplies row-major operands far faster than transposed ones, and the copy
    costs little.
    """
    return lax.optimization_barrier(matrix.T)


def rows(sequence: Array) -> Array:
    """``[T, B, N]`` as ``[T * B, N]``."""
    return sequence.reshape(-1, sequence.shape[-1])


# --- a one-hot row times a kernel is a row of the kernel


def look_up(table: Array, ids: Array) -> Array:
    """Rows of ``table`` ``[V, N]`` for ids ``[T, B]``."""
    return table[ids]


look_up_by_hand = jax.custom_vjp(look_up)


def _look_up_forward(table: Array, ids: Array) -> tuple[Array, Any]:
    # the table itself stands for its height: XLA drops what is not read
    return look_up(table, ids), (ids, table)


def _look_up_backward(kept: Any, d_out: Array) -> tuple[Array, None]:
    ids, table = kept
    # a product, since XLA on the CPU scatters one element at a time
    one_hot = jax.nn.one_hot(ids.reshape(-1), table.shape[0], axis=0, dtype=d_out.dtype)
    return one_hot @ rows(d_out), None


look_up_by_hand.defvjp(_look_up_forward, _look_up_backward)


# --- a product over all steps


def multiply(sequence: Array, kernel: Array) -> Array:
    """From ``[T, B, K]`` and ``[K, N]`` to ``[T, B, N]``."""
    return (rows(sequence) @ kernel).reshape(*sequence.shape[:-1], kernel.shape[1])


multiply_by_hand = jax.custom_vjp(multiply)


def _multiply_forward(sequence: Array, kernel: Array) -> tuple[Array, Any]:
    return multiply(sequence, kernel), (sequence, kernel)


def _multiply_backward(kept: Any, d_out: Array) -> tuple[Array, Array]:
    sequence, kernel = kept
    d_kernel = materialised_transpose(rows(sequence)) @ rows(d_out)
    return multiply(d_out, materialised_transpose(kernel)), d_kernel


multiply_by_hand.defvjp(_multiply_forward, _multiply_backward)


# --- the recurrence


def sigmoid(x: Array) -> Array:
    # through tanh, for which XLA on the CPU has a cheaper approximation than for exp
    return 0.5 * jnp.tanh(0.5 * x) + 0.5


def activate(raw: Array, axis: int) -> tuple[Array, Array, Array, Array]:
    """The gates i, f, g, o, from their raw sums side by side along an axis."""
    i, f, g, o = jnp.split(raw, 4, axis)
    return sigmoid(i), sigmoid(f), jnp.tanh(g), sigmoid(o)


def recur(projected: Array, recurrent: Array, h: Array, c: Array) -> tuple[Array, Array, Array]:
    """One layer through time: h at every step ``[T, B, H]``, and h and c after the last.

    ``projected`` is the input's part of all gates, bias included, ``[T, B, 4H]``.
    """

    def step(state: tuple[Array, Array], at_t: Array) -> tuple[tuple[Array, Array], Array]:
        h, c = state
        i, f, g, o = activate(at_t + h @ recurrent, axis=1)
        c = f * c + i * g
        h = o * jnp.tanh(c)
        return (h, c), h

    (h, c), hiddens = lax.scan(step, (h, c), projected)
    return hiddens, h, c


recur_by_hand = jax.custom_vjp(recur)


def _recur_forward(
    projected: Array, recurrent: Array, h: Array, c: Array
) -> tuple[tuple[Array, Array, Array], Any]:
    recurrent_transposed = materialised_transpose(recurrent)

    def step(state: tuple[Array, Array], at_t: Array) -> tuple[tuple[Array, Array], Any]:
        h, before = state  # each [H, B], and so are the slopes
        i, f, g, o = activate(at_t.T + recurrent_transposed @ h, axis=0)
        c = f * before + i * g
        tanh_c = jnp.tanh(c)
        h = o * tanh_c
        slopes = (
            g * i * (1 - i),  # of c_t, by the raw input gate
            before * f * (1 - f),  # by the raw forget gate
            i * (1 - g * g),  # by the raw cell candidate
            tanh_c * o * (1 - o),  # of h_t, by the raw output gate
            o * (1 - tanh_c * tanh_c),  # by c_t
            f,  # of c_t, by c_(t-1)
        )
        return (h, c), (h.T, slopes)

    first = h
    (h, c), (hiddens, slopes) = lax.scan(step, (h.T, c.T), projected)
    return (hiddens, h.T, c.T), (slopes, recurrent, first, hiddens)


def _recur_backward(
    kept: Any, d_out: tuple[Array, Array, Array]
) -> tuple[Array, Array, Array, Array]:
    slopes, recurrent, first, hiddens = kept
    d_hiddens, d_h, d_c = d_out

    def step(state: tuple[Array, Array], at_t: Any) -> tuple[tuple[Array, Array], Array]:
        d_h, d_c = state
        d_hidden, (by_i, by_f, by_g, by_o, by_c, f) = at_t
        d_h += d_hidden.T
        d_c += d_h * by_c
        d_raw = jnp.concatenate([d_c * by_i, d_c * by_f, d_c * by_g, d_h * by_o])
        return (recurrent @ d_raw, d_c * f), d_raw.T

    start = (d_h.T, d_c.T)
    (d_h, d_c), d_raw = lax.scan(step, start, (d_hiddens, slopes), reverse=True)
    before = jnp.concatenate([first[None], hiddens[:-1]])
    d_recurrent = materialised_transpose(rows(before)) @ rows(d_raw)
    return d_raw, d_recurrent, d_h.T, d_c.T


recur_by_hand.defvjp(_recur_forward, _recur_backward)


# --- the model and its training


class Operations(NamedTuple):
    """One way to differentiate."""

    look_up: Callable[[Array, Array], Array]
    multiply: Callable[[Array, Array], Array]
    recur: Callable[[Array, Array, Array, Array], tuple[Array, Array, Array]]


AUTODIFF = Operations(look_up, multiply, recur)
BY_HAND = Operations(look_up_by_hand, multiply_by_hand, recur_by_hand)


class Dropout(NamedTuple):
    """Drops numbers of a sequence with probability ``rate``, by a key for each place."""

    rate: float
    key: Array

    def __call__(self, sequence: Array, place: int) -> Array:
        # bits rather than floats: half the work
        bits = jax.random.bits(jax.random.fold_in(self.key, place), sequence.shape, jnp.uint32)
        kept = bits >= jnp.uint32(self.rate * 2**32)
        return jnp.where(kept, sequence / (1 - self.rate), 0)


def forward(
    operations: Operations,
    model: ModelConfig,
    weights: Weights,
    state: State,
    ids: Array,
    dropout: Dropout | None = None,
) -> tuple[Array, State]:
    """Logits ``[T, B, V]`` of ids ``[T, B]``, and the state after the last step."""
    embedding, layers, output_kernel, output_bias = parts(model, weights)
    # rows of a table as wide as these are scattered fast enough
    hiddens = None if embedding is None else look_up(embedding, ids)
    after = []
    for place, ((kernel, recurrent, bias), (h, c)) in enumerate(zip(layers, state, strict=True)):
        if hiddens is None:
            projected = operations.look_up(kernel + bias, ids)
        else:
            read = dropout(hiddens, place) if dropout else hiddens
            projected = operations.multiply(read, kernel) + bias
        hiddens, h, c = operations.recur(projected, recurrent, h, c)
        after.append((h, c))
    if dropout:
        hiddens = dropout(hiddens, len(layers))
    return operations.multiply(hiddens, output_kernel) + output_bias, after


def window_nats(
    operations: Operations,
    model: ModelConfig,
    weights: Weights,
    state: State,
    inputs: Array,
    targets: Array,
    dropout: Dropout | None = None,
) -> tuple[Array, State]:
    """The sum of nats over ids ``[T, B]``, and the state after them."""
    logits, state = forward(operations, model, weights, state, inputs, dropout)
    log_probabilities = jax.nn.log_softmax(logits)
    # masked rather than picked: the derivative of picking is a scatter
    wanted = jax.nn.one_hot(targets, logits.shape[-1], dtype=logits.dtype)
    return -jnp.sum(log_probabilities * wanted), state


def train_epoch(
    operations: Operations,
    model: ModelConfig,
    training: TrainingConfig,
    weights: Weights,
    kept: Kept,
    rate: Rate,
    seed: Array,
    inputs: Array,
    targets: Array,
) -> tuple[Weights, Kept, Array]:
    """The parameters after all windows, what the optimizer keeps, and each window's sum of nats
    ``[W]``.

    Runs on every device of the mesh axis ``BATCH`` with the device's own part of the batch, ids
    ``[W, T, B / devices]``. Rows of a batch meet nowhere but in the sum of their gradients.
    ``seed`` is the epoch's, for masks of dropout; the learning rate is ``rate`` if it is scheduled.
    """
    _, steps, batch = inputs.shape
    count = divisor(training, steps, batch * lax.axis_size(BATCH))
    rate = rate if training.scheduled else training.learning_rate
    key = jax.random.fold_in(jax.random.key(seed, impl="rbg"), lax.axis_index(BATCH))

    def loss(weights: Weights, state: State, w: Array, x: Array, y: Array) -> tuple[Array, Any]:
        dropout = None
        if training.dropout:
            dropout = Dropout(training.dropout, jax.random.fold_in(key, w))
        nats, state = window_nats(operations, model, weights, state, x, y, dropout)
        return nats / count, (nats, state)

    def window(carry: tuple[Weights, Kept, State], ids: tuple[Array, Array, Array]) -> Any:
        weights, kept, state = carry
        changes, (nats, state) = jax.grad(loss, has_aux=True)(weights, state, *ids)
        changes, nats = lax.psum((changes, nats), BATCH)
        weights, kept = update(training, rate, weights, kept, changes)
        return (weights, kept, state), nats

    start = (weights, kept, zero_state(model, weights[-1].dtype, batch))
    numbers = jnp.arange(len(inputs))
    (weights, kept, _), nats = lax.scan(window, start, (numbers, inputs, targets))
    return weights, kept, nats


def layers(operations: Operations, weights: list[Weights], inputs: Array) -> Array:
    """The recurrent layers alone: outputs ``[T, B, H]`` of ``[T, B, in]``, from zero state.

    ``weights``: (input kernel, recurrent kernel, bias) of each.
    """
    for kernel, recurrent, bias in weights:
        zeros = jnp.zeros((inputs.shape[1], recurrent.shape[0]), inputs.dtype)
        projected = operations.multiply(inputs, kernel) + bias
        inputs, _, _ = operations.recur(projected, recurrent, zeros, zeros)
    return inputs


def layers_and_gradients(
    operations: Operations, weights: list[Weights], inputs: Array, slopes: Array
) -> tuple[Array, Array, list[Weights]]:
    """Outputs, and the gradients by inputs and weights of outputs times ``slopes``.

    Runs on every device of the mesh axis ``BATCH``, as :func:`train_epoch` does.
    """
    outputs, back = jax.vjp(partial(layers, operations), weights, inputs)
    d_weights, d_inputs = back(slopes)
    return outputs, d_inputs, lax.psum(d_weights, BATCH)


def evaluate(model: ModelConfig, weights: Weights, inputs: Array, targets: Array) -> Array:
    """Each window's sum of nats ``[W]``, state carried, of ids ``[W, T, B]``."""

    def window(state: State, ids: tuple[Array, Array]) -> tuple[State, Array]:
        nats, state = window_nats(AUTODIFF, model, weights, state, *ids)
        return state, nats

    start = zero_state(model, weights[-1].dtype, inputs.shape[2])
    return lax.scan(window, start, (inputs, targets))[1]


def advance(
    model: ModelConfig, weights: Weights, state: State, symbol: Array
) -> tuple[Array, State]:
    """The likeliest symbol after ``symbol``, and the state after reading it; batch of 1."""
    logits, state = forward(AUTODIFF, model, weights, state, symbol.reshape(1, 1))
    return jnp.argmax(logits[0, 0]), state
