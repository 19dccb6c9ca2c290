"""Clipping and updates as pure functions; the equations are those of ``lstmbench.optimizers``."""

from __future__ import annotations

import math
from typing import TypeAlias

import jax.numpy as jnp
from jax import Array

from lstmbench import TrainingConfig

Weights = list[Array]
#: What the optimizer keeps: moments, each like the parameters, and for adam the number of updates.
Kept = list[Weights]
Rate: TypeAlias = "Array | float"
ADAM_DECAY = (0.9, 0.999)
RMSPROP_DECAY = 0.95
EPSILON = 1e-8


def nothing_kept(training: TrainingConfig, weights: Weights) -> Kept:
    """Before the first update."""
    moments = [[jnp.zeros_like(value) for value in weights] for _ in training.moments]
    counts = [[jnp.zeros((), weights[0].dtype)]] if training.optimizer == "adam" else []
    return [*moments, *counts]


def divisor(training: TrainingConfig, steps: int, batch: int) -> int:
    """What the sum of nats is divided by before it is differentiated."""
    return steps * batch if training.loss == "mean" else batch


def update(
    training: TrainingConfig, rate: Rate, weights: Weights, kept: Kept, changes: Weights
) -> tuple[Weights, Kept]:
    """The parameters after one update, and what the optimizer keeps."""
    if training.optimizer == "sgd":
        scale, changes = _clipped(training, changes)
        factor = rate if scale is None else rate * scale
        return [value - factor * g for value, g in zip(weights, changes, strict=True)], kept
    scale, changes = _clipped(training, changes)
    if scale is not None:
        changes = [scale * g for g in changes]
    if training.optimizer == "rmsprop":
        squares = _decayed(kept[0], RMSPROP_DECAY, [g * g for g in changes])
        steps = [g / (jnp.sqrt(v) + EPSILON) for g, v in zip(changes, squares, strict=True)]
        kept = [squares]
    else:
        first = _decayed(kept[0], ADAM_DECAY[0], changes)
        second = _decayed(kept[1], ADAM_DECAY[1], [g * g for g in changes])
        count = kept[2][0] + 1
        # 1 - decay ** count, without losing digits
        one, two = (-jnp.expm1(count * math.log(decay)) for decay in ADAM_DECAY)
        steps = [
            m / one / (jnp.sqrt(v / two) + EPSILON) for m, v in zip(first, second, strict=True)
        ]
        kept = [first, second, [count]]
    return [value - rate * step for value, step in zip(weights, steps, strict=True)], kept


def _clipped(training: TrainingConfig, changes: Weights) -> tuple[Array | None, Weights]:
    """By how much all gradients are to be scaled, if they are; and they themselves, if each number
    is clipped."""
    if math.isfinite(training.clip_value):
        bound = training.clip_value
        return None, [jnp.clip(change, -bound, bound) for change in changes]
    if math.isinf(training.clip_norm):
        return None, changes
    norm = jnp.sqrt(sum(jnp.vdot(change, change) for change in changes))
    return jnp.minimum(1.0, training.clip_norm / norm), changes


def _decayed(kept: Weights, decay: float, new: Weights) -> Weights:
    """Running means with another value each."""
    return [decay * old + (1 - decay) * value for old, value in zip(kept, new, strict=True)]
