"""Clipping and updates in ``keras.ops``; the equations are those of ``lstmbench.optimizers``."""

from __future__ import annotations

import math
from typing import Any

from keras import ops

from lstmbench import TrainingConfig

#: Engine tensors, one for each parameter.
Values = list[Any]
#: What the optimizer keeps: moments, each like the parameters, and for adam the number of updates.
Kept = list[Values]
ADAM_DECAY = (0.9, 0.999)
RMSPROP_DECAY = 0.95
EPSILON = 1e-8


def nothing_kept(training: TrainingConfig, values: Values) -> Kept:
    """Before the first update."""
    moments = [[ops.zeros_like(value) for value in values] for _ in training.moments]
    counts = [[ops.zeros((), values[0].dtype)]] if training.optimizer == "adam" else []
    return [*moments, *counts]


def update(
    training: TrainingConfig, rate: Any, values: Values, kept: Kept, gradients: Values
) -> tuple[Values, Kept]:
    """The parameters after one update, and what the optimizer keeps.

    ``gradients`` are those of the mean loss.
    """
    if training.loss == "sum":  # over steps: so many times the mean
        gradients = [training.steps * gradient for gradient in gradients]
    if math.isfinite(training.clip_value):
        bound = training.clip_value
        gradients = [ops.clip(gradient, -bound, bound) for gradient in gradients]
    elif math.isfinite(training.clip_norm):
        norm = ops.sqrt(sum(ops.sum(ops.square(gradient)) for gradient in gradients))
        scale = training.clip_norm / ops.maximum(norm, training.clip_norm)
        if training.optimizer == "sgd":
            rate = rate * scale
        else:
            gradients = [scale * gradient for gradient in gradients]
    if training.optimizer == "adam":
        steps, kept = _adam(kept, gradients)
    elif training.optimizer == "rmsprop":
        squares = _decayed(kept[0], RMSPROP_DECAY, [g * g for g in gradients])
        steps = [g / (ops.sqrt(v) + EPSILON) for g, v in zip(gradients, squares, strict=True)]
        kept = [squares]
    else:
        steps = gradients
    return [v - rate * step for v, step in zip(values, steps, strict=True)], kept


def _adam(kept: Kept, gradients: Values) -> tuple[Values, Kept]:
    first = _decayed(kept[0], ADAM_DECAY[0], gradients)
    second = _decayed(kept[1], ADAM_DECAY[1], [g * g for g in gradients])
    count = kept[2][0] + 1
    # 1 - decay ** count, without losing digits
    one, two = (-ops.expm1(count * math.log(decay)) for decay in ADAM_DECAY)
    steps = [m / one / (ops.sqrt(v / two) + EPSILON) for m, v in zip(first, second, strict=True)]
    return steps, [first, second, [count]]


def _decayed(kept: Values, decay: float, new: Values) -> Values:
    """Running means with another value each."""
    return [decay * old + (1 - decay) * value for old, value in zip(kept, new, strict=True)]
