"""Checks of features that a backend may lack; each is asked of those that have what it names."""

from __future__ import annotations

import math

import numpy as np

import lstmbench.testing.core_checks  # noqa: F401 - what these build on comes first
from lstmbench import reference
from lstmbench.backend import Backend, Parameters, Task
from lstmbench.layer import layer_pass, result_shapes
from lstmbench.testing.lab import (
    BATCH,
    HIDDEN,
    STEPS,
    WINDOWS,
    CheckContext,
    Epoch,
    layer_numbers,
    random_batches,
    same_parameters,
)
from lstmbench.testing.registry import check
from lstmbench.worker.answers import check_layer_result

#: Width of the embedding: that of no other tensor.
EMBEDDING = 5
#: A learning rate that adam and rmsprop are trained at, whose steps are about that long.
ADAPTIVE_RATE = 2.0**-8
#: A rate at which no parameter changes.
TINY_RATE = 1e-30
DROPPED = 0.5
#: Losses with other masks: of the backend, and of the reference.
SAMPLES, REFERENCE_SAMPLES = 60, 400
#: Standard errors by which an honest backend is hardly ever off.
SIGMAS = 5.0


@check("several_layers", features=("embedding",))
def embedding(lab: CheckContext) -> None:
    """With an embedding, an epoch ends where the reference ends.

    Look up rows of the embedding for the first layer; the gradients of a symbol's occurrences in a
    window add up, and symbols that do not occur have none.
    """
    task = lab.task(layers=2, embedding_size=EMBEDDING)
    lab.agrees(task, random_batches(WINDOWS, BATCH, STEPS), "epoch with an embedding")


@check("embedding", features=("embedding",))
def embedding_clipping(lab: CheckContext) -> None:
    """The embedding's gradient is part of the norm that is clipped, and is clipped with the others.

    Take the norm over all trained tensors; of a sparse gradient, after occurrences are added up.
    """
    task = lab.task(layers=2, embedding_size=EMBEDDING)
    lab.agrees(task, lab.rare(random_batches(1, BATCH, STEPS)), "clipped step with an embedding")


@check("embedding", features=("embedding", "tied"))
def tied_weights(lab: CheckContext) -> None:
    """With tied weights the embedding moves by the sum of its two gradients.

    One tensor, used for the look-up and, transposed, for the output: its gradients add up.
    """
    task = lab.task(layers=2, embedding_size=HIDDEN, tied=True)
    lab.agrees(task, random_batches(WINDOWS, BATCH, STEPS), "epoch with tied weights")


@check("tied_weights", "embedding_clipping", features=("embedding", "tied"))
def tied_clipping(lab: CheckContext) -> None:
    """With tied weights the sum of both gradients counts once in the norm that is clipped.

    Add the two gradients up before the norm is taken.
    """
    task = lab.task(layers=2, embedding_size=HIDDEN, tied=True)
    lab.agrees(task, lab.rare(random_batches(1, BATCH, STEPS)), "clipped step with tied weights")


@check("several_steps", features=("sum-loss",))
def sum_loss(lab: CheckContext) -> None:
    """With a loss summed over steps, gradients are as many times larger, before they are clipped.

    Divide the sum of nats by the batch size alone; train_epoch still returns the sum of nats.
    """
    task = lab.task(loss="sum", learning_rate=0.5 / STEPS)
    lab.agrees(task, random_batches(WINDOWS, BATCH, STEPS), "epoch with a summed loss")
    rare = lab.rare(random_batches(1, BATCH, STEPS))
    lab.agrees(task, rare, "clipped step with a summed loss")


@check("several_steps", features=("clip-value",))
def clip_value(lab: CheckContext) -> None:
    """With clip_value each number of a gradient is kept within it, whatever the others are.

    Clamp every gradient; no norm is taken.
    """
    task = lab.task(clip_value=1.0, clip_norm=math.inf)
    lab.agrees(task, random_batches(WINDOWS, BATCH, STEPS), "epoch with clipped values")
    rare = lab.rare(random_batches(1, BATCH, STEPS))
    lab.agrees(task, rare, "step with values clipped")


@check("several_steps", features=("unclipped",))
def unclipped(lab: CheckContext) -> None:
    """An infinite clip norm clips nothing.

    No gradient is scaled: take care that infinity divided by infinity is no number.
    """
    task = lab.task(clip_norm=math.inf)
    lab.agrees(task, lab.rare(random_batches(1, BATCH, STEPS)), "step without clipping")


@check("several_steps", features=("adam",))
def adam_first_step(lab: CheckContext) -> None:
    """One step of adam changes parameters and moments as the reference does.

    Correct both moments by 1 - decay ** updates, counted from one; decays 0.9 and 0.999. Epsilon,
    1e-8, is added to the root of the corrected second moment.
    """
    _first_step(lab, "adam")


@check("adam_first_step", features=("adam",))
def adam_ten_steps(lab: CheckContext) -> None:
    """Ten steps of adam in two epochs, the first one clipped, end where the reference ends.

    Keep moments and the number of updates from epoch to epoch; clip before the moments are taken.
    """
    _ten_steps(lab, "adam")


@check("adam_ten_steps", features=("adam",))
def adam_starts_anew(lab: CheckContext) -> None:
    """load_parameters() forgets the moments and the number of updates; prepare() keeps both.

    Set the moments to zero and the count back when parameters are loaded.
    """
    _starts_anew(lab, "adam")


@check("several_steps", features=("rmsprop",))
def rmsprop_first_step(lab: CheckContext) -> None:
    """One step of rmsprop changes parameters and the mean square as the reference does.

    The mean square starts at zero and is not corrected; decay 0.95. Epsilon, 1e-8, is added to its
    root.
    """
    _first_step(lab, "rmsprop")


@check("rmsprop_first_step", features=("rmsprop",))
def rmsprop_ten_steps(lab: CheckContext) -> None:
    """Ten steps of rmsprop in two epochs, the first one clipped, end where the reference ends.

    Keep the mean square from epoch to epoch; clip before it is taken.
    """
    _ten_steps(lab, "rmsprop")


@check("rmsprop_ten_steps", features=("rmsprop",))
def rmsprop_starts_anew(lab: CheckContext) -> None:
    """load_parameters() forgets the mean square; prepare() keeps it.

    Set the mean square to zero when parameters are loaded.
    """
    _starts_anew(lab, "rmsprop")


@check("several_steps", features=("schedule",))
def schedule(lab: CheckContext) -> None:
    """set_learning_rate() holds from the next window on, until it is called again.

    A compiled program takes the rate as an argument: what was compiled with the task's stays so.
    """
    task = lab.task(scheduled=True)
    batches = random_batches(WINDOWS, BATCH, STEPS)
    rate = task.training.learning_rate
    lab.agrees_over(task, [Epoch(batches, rate / 2)], "epoch at half the rate")
    several = [Epoch(batches, rate), Epoch(batches), Epoch(batches, rate / 4)]
    lab.agrees_over(task, several, "three epochs, the rate changed before the third")


@check("several_layers", features=("embedding", "dropout"))
def dropout_evaluation(lab: CheckContext) -> None:
    """With dropout, evaluate() and generate() drop nothing.

    Switch dropout off outside of train_epoch, and on again in it.
    """
    task, batches = _dropping(lab), random_batches(WINDOWS, BATCH, STEPS)
    start = lab.start(task)
    backend = lab.backend(task, batches)
    backend.train_epoch(batches)
    backend.load_parameters(start.astype(task.parameter_dtype))
    exact = start.astype(np.float64)
    expected = reference.evaluate(exact, batches, lab.cell).nats
    lab.close(backend.evaluate(batches).nats, expected, "nats of an evaluation with dropout")
    wanted = reference.generate(exact, [1, 2], 12, lab.cell)
    got = backend.generate([1, 2], 12)
    assert got == wanted, f"generating with dropout: expected {wanted}, got {got}"


@check("dropout_evaluation", features=("embedding", "dropout"))
def dropout_masks(lab: CheckContext) -> None:
    """Dropped is what the embedding, each layer but the last, and the last layer give, each number
    by itself, and what stays is divided by 1 - dropout.

    Apply dropout to the input of every layer and of the output, to nothing that is carried through
    time. One step on one symbol shows what was dropped: the rows of a kernel that have not changed.
    """
    task, one = _dropping(lab, batch=1, steps=1), random_batches(1, 1, 1)
    start = lab.start(task)
    shares = []
    for _ in range(SAMPLES):
        backend = lab.backend(task, one)
        loss = backend.train_epoch(one).nats
        kept = _rows_changed(start.astype(task.parameter_dtype), backend.parameters())
        masks = _Masks([rows / (1 - DROPPED) for rows in kept])
        state = reference.zero_state(start, 1, lab.cell)
        exact = start.astype(np.float64)
        logits, _, _ = reference.forward(exact, one.inputs[0], state, lab.cell, masks)
        nats = reference._cross_entropy(logits, one.targets[0])[0]
        lab.close(loss, nats, "nats of one symbol with what was dropped")
        shares.append([1 - rows.mean() for rows in kept])
    places = ("the embedding's output", "the first layer's output", "the last layer's output")
    sigma = math.sqrt(DROPPED * (1 - DROPPED) / (SAMPLES * HIDDEN))
    for place, share in zip(places, np.mean(shares, axis=0), strict=True):
        assert abs(share - DROPPED) < SIGMAS * sigma, (
            f"dropped of {place}: expected {DROPPED:.0%}, got {share:.0%}"
        )
    task, two = _dropping(lab, batch=1, steps=2), random_batches(1, 1, 2)
    backend = lab.backend(task, two)
    backend.train_epoch(two)
    pairs = zip(lab.start(task).layers, backend.parameters().layers, strict=True)
    for index, (before, after) in enumerate(pairs):
        same = np.all(before.recurrent_kernel == after.recurrent_kernel, axis=1).mean()
        assert not same, f"dropped of what layer {index} carries: expected none, got {same:.0%}"


@check("dropout_masks", features=("embedding", "dropout"))
def dropout_masks_are_new(lab: CheckContext) -> None:
    """Every epoch, window, step and row of the batch has masks of its own.

    Draw a mask for every number; a compiled program takes a new seed in each window and epoch.
    """
    for what, (windows, batch, steps) in {
        "epoch": (1, 1, 1),
        "window": (6, 1, 1),
        "row of the batch": (1, 6, 1),
        "step": (1, 1, 6),
    }.items():
        task, batches = (
            _dropping(lab, batch=batch, steps=steps),
            random_batches(windows, batch, steps),
        )
        count = windows * batch * steps
        dropped = []
        for _ in range(20):
            backend = lab.backend(task, batches)
            backend.train_epoch(batches)
            kept = _rows_changed(lab.start(task).astype(task.parameter_dtype), backend.parameters())
            dropped.append(np.concatenate([rows == 0 for rows in kept]))
        if count == 1:
            alike = len(dropped) - len({rows.tobytes() for rows in dropped})
            assert not alike, f"{alike} of {len(dropped)} epochs had masks of an earlier one"
            continue
        # a row stays as it is only if it was dropped every time
        expected, share = DROPPED**count, float(np.mean(dropped))
        sigma = math.sqrt(expected * (1 - expected) / np.size(dropped))
        assert share - expected < SIGMAS * sigma, (
            f"rows that were dropped in every {what}: expected {expected:.1%}, got {share:.1%}"
        )


@check("dropout_masks", features=("embedding", "dropout"))
def dropout_loss(lab: CheckContext) -> None:
    """Over many masks, the training loss has the reference's mean and spread.

    Drop nothing that is carried through time, and draw no mask twice.
    """
    for windows, batch, steps in ((2, BATCH, STEPS), (1, 1, 1)):
        task = _dropping(lab, batch, steps, TINY_RATE)
        batches = random_batches(windows, batch, steps)
        start, backend = lab.start(task), lab.backend(task, batches)
        got = np.array([backend.train_epoch(batches).nats for _ in range(SAMPLES)])
        dropout = reference.Dropout(DROPPED, 0)
        sampled = (
            reference.train_epoch(start, batches, task.training, lab.cell, dropout=dropout)[1]
            for _ in range(REFERENCE_SAMPLES)
        )
        _same_distribution(got, np.array([loss.nats for loss in sampled]))


@check("several_layers", features=("layer",))
def layer_forward(lab: CheckContext) -> None:
    """A pass through the layers alone gives the reference's outputs, each pass from zero state.

    Read the staged inputs of the pass that is asked for; carry no state from pass to pass.
    """
    _layer_passes(lab, backward=False)


@check("layer_forward", features=("layer",))
def layer_gradients(lab: CheckContext) -> None:
    """With slopes, a pass gives the gradients by inputs and parameters of that pass alone.

    The gradient is that of the sum of outputs times slopes; add nothing up from pass to pass, and
    train nothing.
    """
    _layer_passes(lab, backward=True)


@check("layer_gradients", features=("layer",))
def layer_finished(lab: CheckContext) -> None:
    """When layer_pass() returns, the pass is done: layer_result() only copies.

    Wait for the device at the end of layer_pass().
    """
    lab.layer_finished(batch=32, steps=64, hidden=192, most=0.5)


def _layer_passes(lab: CheckContext, backward: bool) -> None:
    """Several shapes, passes in any order, parameters loaded in between."""
    for batch, steps in ((BATCH, STEPS), (1, 3), (BATCH, STEPS)):
        task = lab.task(layers=2, batch=batch, steps=steps, embedding_size=EMBEDDING)
        backend = lab.backend(task, random_batches(1, batch, steps))
        shapes = result_shapes(task.model, steps, batch, backward, lab.cell)
        drawn = lab.start(task)
        halved = drawn.like([array / 2 for _, array in drawn.items()])
        for seed, start in enumerate((drawn, halved)):
            backend.load_parameters(start.astype(task.dtype))
            inputs, slopes = layer_numbers(task, 3, seed)
            backend.stage_layer(inputs, slopes if backward else None)
            layers = start.astype(np.float64).layers
            for index in (0, 2, 1, 1):
                backend.layer_pass(index)
                got = dict(check_layer_result(backend.layer_result(), shapes).items())
                own = slopes[index].astype(np.float64) if backward else None
                exact = layer_pass(layers, inputs[index].astype(np.float64), own, lab.cell)
                what = f"pass {index} of {steps} steps, batch {batch}"
                lab.same_arrays(got, dict(exact.items()), what)
            same_parameters(start.astype(task.dtype), backend.parameters(), "layer_pass()")


def _same_distribution(got: np.ndarray, wanted: np.ndarray) -> None:
    """Assert that two samples of losses have one mean and one spread, as far as chance allows."""
    what = f"of {got.size} losses with dropout"
    errors = got.std(ddof=1) ** 2 / got.size + wanted.std(ddof=1) ** 2 / wanted.size
    off = abs(got.mean() - wanted.mean()) / max(math.sqrt(errors), 1e-12)
    assert off < SIGMAS, (
        f"mean {what}: expected {wanted.mean():.6g}, got {got.mean():.6g}, which is {off:.1f} "
        "standard errors off"
    )
    ratio = got.std(ddof=1) / wanted.std(ddof=1)
    allowed = math.exp(SIGMAS * math.sqrt(0.5 / (got.size - 1) + 0.5 / (wanted.size - 1)))
    assert 1 / allowed < ratio < allowed, (
        f"spread {what}: expected {wanted.std(ddof=1):.4g}, got {got.std(ddof=1):.4g}"
    )


def _adaptive(lab: CheckContext, optimizer: str) -> Task:
    return lab.task(layers=2, optimizer=optimizer, learning_rate=ADAPTIVE_RATE)


def _first_step(lab: CheckContext, optimizer: str) -> None:
    one = random_batches(1, BATCH, STEPS)
    lab.agrees_over(_adaptive(lab, optimizer), [Epoch(one)], f"one step of {optimizer}")


def _ten_steps(lab: CheckContext, optimizer: str) -> None:
    batches = lab.rare(random_batches(5, BATCH, STEPS))
    epochs = [Epoch(batches), Epoch(batches)]
    lab.agrees_over(_adaptive(lab, optimizer), epochs, f"ten steps of {optimizer}")


def _starts_anew(lab: CheckContext, optimizer: str) -> None:
    task, batches = _adaptive(lab, optimizer), random_batches(WINDOWS, BATCH, STEPS)
    start = lab.start(task)
    epochs = [Epoch(batches), Epoch(batches, start=start)]
    lab.agrees_over(task, epochs, f"{optimizer}, parameters loaded between two epochs")
    backend = lab.fresh(task, batches)
    backend.load_parameters(start.astype(task.parameter_dtype))
    backend.train_epoch(batches)
    before = _moments(backend)
    backend.prepare(batches)
    changed = sum(not np.array_equal(a, b) for a, b in zip(before, _moments(backend), strict=True))
    assert not changed, f"prepare() changed {changed} of the tensors that {optimizer} keeps"


def _moments(backend: Backend) -> list[np.ndarray]:
    return [array for kept in backend.optimizer_state() for _, array in kept.items()]


def _dropping(
    lab: CheckContext, batch: int = BATCH, steps: int = STEPS, learning_rate: float = 0.5
) -> Task:
    """Two layers and an embedding as wide as they are, half of all numbers dropped."""
    return lab.task(
        layers=2,
        batch=batch,
        steps=steps,
        embedding_size=HIDDEN,
        dropout=DROPPED,
        learning_rate=learning_rate,
    )


class _Masks(reference.Dropout):
    """Masks that are known."""

    def __init__(self, masks: list[np.ndarray]) -> None:
        super().__init__(DROPPED, 0)
        self._masks = iter(masks)

    def mask(self, like: np.ndarray) -> np.ndarray:
        return next(self._masks).astype(like.dtype)


def _rows_changed(before: Parameters, after: Parameters) -> list[np.ndarray]:
    """Of every kernel behind a dropout, one for each row that has changed, else zero."""
    both = zip(before.layers, after.layers, strict=True)
    pairs = [(a.input_kernel, b.input_kernel) for a, b in both]
    pairs.append((before.output_kernel, after.output_kernel))
    return [np.any(a != b, axis=1).astype(np.float64) for a, b in pairs]
