"""At which setting parity is proven, so that every change of a parameter can be measured.

A learning rate of 1e-4 changes parameters by less than float32 rounds them, one of 100 makes
rounding grow until nothing can be compared, and through five small layers hardly a gradient passes.
None of this is a backend's mistake. The shapes are therefore a trial's own, and its learning rate
and clip norm (or clip value) are too where they allow a proof; elsewhere only these two scalars are
replaced. Nothing is dropped, for masks are each framework's own. The parameters are drawn so that
signals and gradients keep their size through every layer.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace

import numpy as np

from lstmbench import reference
from lstmbench.backend import ModelConfig, Parameters, Task, TrainingConfig
from lstmbench.batches import Batches
from lstmbench.cells import LSTM, Cell, tensor_shapes
from lstmbench.optimizers import largest

SEED = 20220519
#: dtypes in which rounding hides all but gross mistakes.
SIXTEEN_BITS = ("float16", "bfloat16")
#: Learning rates at which changes are measurable and rounding does not grow.
MIN_RATE, MAX_RATE = 0.125, 2.0
#: The same of adam and rmsprop, which move every parameter by about the learning rate.
MIN_ADAPTIVE_RATE, MAX_ADAPTIVE_RATE = 2.0**-10, 2.0**-8
#: Norms of the two passes' gradients that lie further apart leave room for a clip norm between.
CLIP_MARGIN = 1.1
#: Seconds that the reference's Python takes per step and layer, and per window, beside arithmetic.
STEP_SECONDS, WINDOW_SECONDS = 1e-4, 5e-4
#: Updating a parameter takes as long as so many operations, since memory is slow.
UPDATE_OPERATIONS = 30


@dataclass(frozen=True)
class Setting:
    """Where parity is proven: build an instance for ``task``, train from ``start``.

    ``task`` is a trial's own but for the learning rate, the clip norm or value, and dropout, of
    which it has none. ``batches`` are the
    trial's own, or, if ``cut``, as many of them as the reference can afford. ``start`` are float32
    numbers that the task's dtype holds exactly. ``cell`` is what the reference computes.
    """

    task: Task
    start: Parameters
    batches: Batches
    cut: bool
    cell: Cell = LSTM

    def halved(self) -> Setting:
        """The same on the first half of the windows."""
        kept = self.batches.windows // 2
        half = Batches(self.batches.inputs[:kept], self.batches.targets[:kept])
        return replace(self, batches=half, cut=True)


def choose_setting(task: Task, batches: Batches, seconds: float, cell: Cell = LSTM) -> Setting:
    """For a trial's task and batches, with ``seconds`` for one epoch of the reference."""
    kept = affordable(batches, task.model, seconds, cell)
    start = rounded(probe_parameters(task.model, cell), task.dtype)
    training = probe_training(task, start, kept, cell)
    return Setting(replace(task, training=training), start, kept, kept is not batches, cell)


def rarest_targets(batches: Batches, vocabulary_size: int) -> Batches:
    """The same windows, the first one's targets all the rarest symbol, so that clipping acts."""
    targets = batches.targets.copy()
    targets[0] = vocabulary_size - 1  # ids fall in frequency
    return Batches(batches.inputs, targets)


def probe_parameters(model: ModelConfig, cell: Cell = LSTM) -> Parameters:
    """Parameters and biases at normal(0, 0.1) for 100 to 256 units, else at one over their root.

    The eigenvalues of the recurrent kernel's gates reach out to that root times the entries' size.
    Far above one the state of a wide model is chaotic: it blows up rounding until correct float32
    looks like a mistake (Sompolinsky, Crisanti & Sommers, "Chaos in random neural networks", 1988).
    Far below one, in a narrow model, it hardly shows.

    Layers above the first have open input and output gates, and a cell candidate that reads a
    signed permutation of the layer below, beside normal entries: an orthogonal kernel just above
    the critical gain keeps signals and gradients in size (Gilboa et al., "Dynamical isometry and a
    mean field theory of LSTMs and GRUs", 2019). This is known for the LSTM only; other cells are
    drawn alike in all layers.
    """
    hidden = model.hidden_size
    scale = 0.1 if 100 <= hidden <= 256 else 1 / math.sqrt(hidden)
    parameters = reference.draw_parameters(model, SEED, scale, scale, cell)
    if cell is not LSTM:
        return parameters
    # the deeper, the less may be left to chance: its factors multiply
    damping = min(0.2, 1 / model.layers) / math.sqrt(hidden) / scale
    gate_biases = np.repeat(np.array([2, -2, 0, 2], np.float32), hidden)
    for index, layer in enumerate(parameters.layers[1:], 1):
        for array in (layer.input_kernel, layer.recurrent_kernel, layer.bias):
            array *= np.float32(damping)
        layer.bias[:] += gate_biases
        rng = np.random.default_rng([SEED, index])
        units, signs = rng.permutation(hidden), rng.choice([-1.2, 1.2], hidden)
        layer.input_kernel[np.arange(hidden), 2 * hidden + units] += signs.astype(np.float32)
    return parameters


def probe_training(
    task: Task, start: Parameters, batches: Batches, cell: Cell = LSTM
) -> TrainingConfig:
    """The trial's own learning rate and clip norm where they allow a proof, else others.

    A learning rate out of range is multiplied by a power of two, so that it stays no round number
    that a backend might have fixed. A clip norm has to lie between the gradient norms of the two
    passes' first windows, so that clipping is idle in one and acts in the other, and a clip value
    between the largest numbers of the two; an infinite one is a wish not to clip, and stays.
    """
    training = replace(task.training, dropout=0.0)
    rate = training.learning_rate
    low, high = _rates(training)
    if not low <= rate <= high:
        significand, _ = math.frexp(rate)  # from 0.5 to below 1
        rate = significand * high
    exact = start.astype(np.float64)
    rare = rarest_targets(batches, task.model.vocabulary_size)
    by_value = math.isfinite(training.clip_value)
    clip = training.clip_value if by_value else training.clip_norm
    smaller, larger = sorted(
        first_gradient_size(exact, data, cell, training) for data in (batches, rare)
    )
    if math.isfinite(clip) and not smaller * CLIP_MARGIN < clip < larger / CLIP_MARGIN:
        apart = larger > smaller * CLIP_MARGIN**2
        clip = math.sqrt(smaller * larger) if apart else smaller / CLIP_MARGIN
    if by_value:
        return replace(training, learning_rate=rate, clip_value=clip)
    return replace(training, learning_rate=rate, clip_norm=clip)


def _rates(training: TrainingConfig) -> tuple[float, float]:
    """The lowest and the highest learning rate of a proof."""
    if training.optimizer != "sgd":
        return MIN_ADAPTIVE_RATE, MAX_ADAPTIVE_RATE
    # a sum over steps has a gradient so many times larger
    times = training.steps if training.loss == "sum" else 1
    return MIN_RATE / times, MAX_RATE / times


def first_gradient_size(
    start: Parameters, batches: Batches, cell: Cell = LSTM, training: TrainingConfig | None = None
) -> float:
    """Of the gradient on the first window, from zero state, what is clipped: the norm of all
    tensors together, or the largest number. Without ``training`` the norm, of the mean loss."""
    state = reference.zero_state(start, batches.inputs.shape[1], cell)
    loss = training.loss if training else "mean"
    _, gradient, _ = reference.gradients(
        start, batches.inputs[0], batches.targets[0], state, cell, loss
    )
    if training and math.isfinite(training.clip_value):
        return largest(gradient)
    return reference.global_norm(gradient)


def _matmul_rate() -> float:
    """Operations per second of float64 matmuls: the best of several, for others slow most.

    At least what any processor of the last ten years does, so that a busy moment never decides
    how much is proven.
    """
    side = 256
    square = np.ones((side, side))
    best = float("inf")
    for _ in range(10):
        begin = time.perf_counter()
        square @ square
        best = min(best, time.perf_counter() - begin)
    return max(2 * side**3 / best, 1e10)


def affordable(batches: Batches, model: ModelConfig, seconds: float, cell: Cell = LSTM) -> Batches:
    """As many windows (then rows, then steps) as the reference does in ``seconds`` for one pass."""
    windows, batch, steps = batches.inputs.shape
    # 6 operations per parameter and token; the reference reaches about a quarter of the peak
    count = sum(math.prod(shape) for shape in tensor_shapes(cell, model).values())
    parameter = count / (_matmul_rate() / 4)
    token, step = 6 * parameter, STEP_SECONDS * model.layers
    update = WINDOW_SECONDS + UPDATE_OPERATIONS * parameter
    window = steps * (step + batch * token) + update
    if windows * window <= seconds:
        return batches
    windows = max(2 if windows > 1 else 1, min(windows, int(seconds / window)))
    left = seconds / windows - update
    batch = max(1, min(batch, int((left / steps - step) / token)))
    steps = max(1, min(steps, int(left / (step + batch * token))))
    # rows keep their order, so the state carried between windows stays meaningful
    return Batches(
        np.ascontiguousarray(batches.inputs[:windows, :batch, :steps]),
        np.ascontiguousarray(batches.targets[:windows, :batch, :steps]),
    )


def rounded(parameters: Parameters, dtype: str) -> Parameters:
    """The parameters as float32 that a ``dtype`` can hold."""

    def bfloat16(array: np.ndarray) -> np.ndarray:
        bits = array.view(np.uint32)  # the upper half of a float32, to nearest even
        return ((bits + 0x7FFF + (bits >> 16 & 1)) & 0xFFFF0000).astype(np.uint32).view(np.float32)

    if dtype == "float16":
        return parameters.astype(np.float16).astype(np.float32)
    if dtype == "bfloat16":
        arrays = [bfloat16(array.astype(np.float32)) for _, array in parameters.items()]
        return parameters.like(arrays)
    return parameters
