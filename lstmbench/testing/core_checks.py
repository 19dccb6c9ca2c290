"""The list of checks, in the order in which a mistake should first show.

What a check is, :mod:`lstmbench.testing.registry` says; those of features that a backend may lack
are in :mod:`lstmbench.testing.feature_checks`.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from lstmbench import reference
from lstmbench.backend import Parameters
from lstmbench.batches import Batches
from lstmbench.cells import LSTM
from lstmbench.errors import Unavailable
from lstmbench.testing.explain import fitting_mistakes
from lstmbench.testing.lab import (
    BATCH,
    STEPS,
    VOCABULARY,
    WINDOWS,
    CheckContext,
    random_batches,
    same_parameters,
)
from lstmbench.testing.registry import check
from lstmbench.worker.answers import check_ids, check_loss

#: Of a slope from two losses, relative to the lengths of gradient and direction.
SLOPE_ERROR = 1e-6


@check()
def own_reference(lab: CheckContext) -> None:
    """The gradients of a plugin's own reference are the slopes of its loss.

    Compare Cell.backward with Cell.forward; the LSTM's own reference is not asked.
    """
    if lab.cell is LSTM:
        return
    start = lab.start(lab.task(layers=2)).astype(np.float64)
    (one,) = random_batches(1, BATCH, STEPS)
    state = reference.zero_state(start, BATCH, lab.cell)
    _, gradient, _ = reference.gradients(start, *one, state, lab.cell)
    rng = np.random.default_rng(0)
    for name, slope in gradient.items():
        shapes = {other: array.shape for other, array in start.items()}
        assert slope.shape == shapes[name], (
            f"{name}: expected a gradient of shape {shapes[name]}, got {slope.shape}"
        )
        along = rng.normal(size=slope.shape)
        measured, stated = _slope(lab, start, name, along, one), float(np.vdot(slope, along))
        size = float(np.linalg.norm(slope) * np.linalg.norm(along))
        assert abs(measured - stated) <= SLOPE_ERROR * size, (
            f"slope of the loss by {name}: from two losses {measured:.6g}, by backward {stated:.6g}"
        )


@check("own_reference")
def interface(lab: CheckContext) -> None:
    """The factory builds a Backend that has every method.

    Subclass lstmbench.Backend, call super().__init__(task), and write each abstract method.
    """
    lab.fresh(lab.plain)


@check("interface")
def parameters_round_trip(lab: CheckContext) -> None:
    """Loaded parameters come back bit for bit, in canonical shapes and float32, or float64 if that
    is the task's dtype.

    Convert to [in, 4H], [H, 4H] and [4H] with the gates input, forget, cell, output, and return
    copies.
    """
    batches = random_batches(WINDOWS, BATCH, STEPS)
    start = lab.start(lab.plain).astype(lab.plain.parameter_dtype)
    got = lab.backend(lab.plain, batches).parameters()
    assert isinstance(got, Parameters), f"expected Parameters, got {type(got).__name__}"
    names = [name for name, _ in start.items()]
    assert [name for name, _ in got.items()] == names, f"expected tensors {names}"
    for name, array in got.items():
        assert isinstance(array, np.ndarray), f"{name}: expected a NumPy array"
        assert str(array.dtype) == lab.plain.parameter_dtype, (
            f"{name}: expected {lab.plain.parameter_dtype}, got {array.dtype}"
        )
    same_parameters(start, got, "loading and reading")


@check("interface")
def runtime_facts(lab: CheckContext) -> None:
    """runtime() tells kernel, threads, tf32, biases and the parameters that the framework counts.

    Return a dict of strings with at least the keys kernel, threads, tf32, biases and parameters;
    the last is the number of trainable scalars, equal to the formula's.
    """
    batches = random_batches(1, BATCH, STEPS)
    facts = lab.backend(lab.plain, batches).runtime()
    for key in ("kernel", "threads", "tf32", "biases", "parameters"):
        assert isinstance(facts.get(key), str), f"expected {key!r} as a string, got {facts!r:.200}"
    expected = str(sum(array.size for _, array in lab.start(lab.plain).items()))
    assert facts["parameters"] == expected, (
        f"expected {expected} parameters, got {facts['parameters']}"
    )


@check("parameters_round_trip")
def prepare_changes_nothing(lab: CheckContext) -> None:
    """prepare() leaves the parameters as they are.

    Compile ahead of time, or trace on copies; never train to warm up.
    """
    batches = random_batches(WINDOWS, BATCH, STEPS)
    backend = lab.fresh(lab.plain)
    before = backend.parameters()
    backend.prepare(batches)
    same_parameters(before, backend.parameters(), "prepare()")


@check("interface")
def training_answer(lab: CheckContext) -> None:
    """train_epoch() returns EpochLoss(float, int), over all tokens given.

    Sum on the device, and convert once per epoch: EpochLoss(float(total), batches.tokens).
    """
    batches = random_batches(WINDOWS, BATCH, STEPS)
    check_loss(lab.backend(lab.plain, batches).train_epoch(batches), batches)


@check("interface")
def evaluation_answer(lab: CheckContext) -> None:
    """evaluate() returns EpochLoss(float, int), over all tokens given.

    Sum on the device, and convert once: EpochLoss(float(total), batches.tokens).
    """
    batches = random_batches(WINDOWS, BATCH, STEPS)
    check_loss(lab.backend(lab.plain, batches).evaluate(batches), batches)


@check("interface")
def generation_answer(lab: CheckContext) -> None:
    """generate() returns as many ids as asked for, a list of ints.

    Return [int(i) for i in ids], and only the new ids: the prefix is not among them.
    """
    backend = lab.backend(lab.plain, random_batches(WINDOWS, BATCH, STEPS))
    check_ids(backend.generate([1, 2], 3), 3, VOCABULARY)


@check("parameters_round_trip", "training_answer")
def parameters_are_copies(lab: CheckContext) -> None:
    """What parameters() returned stays as it is when training goes on.

    Copy the arrays: a view of the framework's memory changes with it.
    """
    batches = random_batches(WINDOWS, BATCH, STEPS)
    backend = lab.backend(lab.plain, batches)
    got = backend.parameters()
    before = got.astype(lab.plain.parameter_dtype)
    backend.train_epoch(batches)
    same_parameters(before, got, "train_epoch() afterwards")


@check("parameters_round_trip", "evaluation_answer")
def evaluate_changes_nothing(lab: CheckContext) -> None:
    """evaluate() leaves the parameters as they are.

    Compute without gradients and without an update.
    """
    batches = random_batches(WINDOWS, BATCH, STEPS)
    backend = lab.backend(lab.plain, batches)
    before = backend.parameters()
    backend.evaluate(batches)
    same_parameters(before, backend.parameters(), "evaluate()")


@check("evaluate_changes_nothing")
def loss_is_a_sum(lab: CheckContext) -> None:
    """With all parameters zero the loss is tokens times ln(vocabulary).

    Return the sum of nats over all tokens of all windows, not a mean.
    """
    batches = random_batches(WINDOWS, BATCH, STEPS)
    start = lab.start(lab.plain)
    zeros = start.like([array * 0 for _, array in start.items()])
    got = lab.backend(lab.plain, batches, zeros).evaluate(batches)
    lab.close(got.nats, batches.tokens * math.log(VOCABULARY), "nats of a uniform guess")


@check("loss_is_a_sum")
def forward_loss(lab: CheckContext) -> None:
    """evaluate() on one window gives the reference's loss.

    Check the order of the gates, the two tanh, both biases and the soft-max over the vocabulary.
    """
    batches = random_batches(1, BATCH, STEPS)
    got = lab.backend(lab.plain, batches).evaluate(batches)
    expected = _exact(lab, batches)
    fitting = fitting_mistakes(lab.start(lab.plain), batches, got.nats, lab.tolerance, lab.cell)
    lab.close(got.nats, expected, "nats of one window", fitting)


@check("training_answer", "forward_loss")
def state_reset(lab: CheckContext) -> None:
    """Every evaluation and every epoch starts from zero state.

    Set h and c to zero at the start of train_epoch and of evaluate.
    """
    batches = random_batches(WINDOWS, BATCH, STEPS)
    backend = lab.backend(lab.plain, batches)
    first, second = backend.evaluate(batches).nats, backend.evaluate(batches).nats
    lab.close(second, first, "nats of a second evaluation")
    one, start = (
        random_batches(1, BATCH, STEPS),
        lab.start(lab.plain).astype(lab.plain.parameter_dtype),
    )
    backend = lab.fresh(lab.plain, one)
    losses = []
    for _ in range(2):
        backend.load_parameters(start)
        losses.append(backend.train_epoch(one).nats)
        backend.train_epoch(lab.rare(one))  # leaves quite another state behind
    lab.close(losses[1], losses[0], "nats of a later epoch from the same parameters")


@check("state_reset")
def state_carried(lab: CheckContext) -> None:
    """evaluate() carries h and c from window to window.

    Feed each window the last state of the one before.
    """
    batches = random_batches(WINDOWS, BATCH, STEPS)
    got = lab.backend(lab.plain, batches).evaluate(batches)
    lab.close(got.nats, _exact(lab, batches), f"nats of {WINDOWS} windows")


@check("state_carried")
def windows_split(lab: CheckContext) -> None:
    """Evaluating [S, B, T] equals [2S, B, T/2].

    evaluate() takes other shapes than training: nothing may be fixed to the task's steps.
    """
    whole = random_batches(WINDOWS, BATCH, STEPS)
    backend = lab.backend(lab.plain, whole)
    halves = Batches(*(_halved(array) for array in (whole.inputs, whole.targets)))
    lab.close(backend.evaluate(halves).nats, backend.evaluate(whole).nats, "nats of halved windows")


@check("training_answer", "forward_loss", "state_reset")
def training_loss(lab: CheckContext) -> None:
    """train_epoch() reports the loss as it was before the update.

    Sum each window's loss from the forward pass whose gradient is taken.
    """
    batches = random_batches(1, BATCH, STEPS)
    got = lab.backend(lab.plain, batches).train_epoch(batches)
    lab.close(got.nats, _exact(lab, batches), "nats of one training window")


@check("training_loss")
def one_step(lab: CheckContext) -> None:
    """One step with clipping idle changes every tensor as the reference does.

    Loss is the mean over the window's tokens; SGD without momentum; one trained bias per layer.
    """
    lab.agrees(lab.plain, random_batches(1, BATCH, STEPS), "one step")


@check("one_step")
def clipping(lab: CheckContext) -> None:
    """One step with clipping at work changes every tensor as the reference does.

    Scale all gradients together by min(1, clip_norm / norm over all tensors).
    """
    lab.agrees(lab.plain, lab.rare(random_batches(1, BATCH, STEPS)), "clipped step")


@check("clipping", "state_carried")
def several_steps(lab: CheckContext) -> None:
    """An epoch of several windows ends where the reference ends.

    Carry the state between windows as a constant: no gradient flows into the window before.
    """
    lab.agrees(lab.plain, random_batches(WINDOWS, BATCH, STEPS), "epoch")


@check("several_steps")
def several_layers(lab: CheckContext) -> None:
    """Two stacked layers end where the reference ends.

    The second layer reads the first one's h at every step; both are trained and clipped together.
    """
    lab.agrees(lab.task(layers=2), random_batches(WINDOWS, BATCH, STEPS), "two layers")


@check("several_steps")
def smallest_shapes(lab: CheckContext) -> None:
    """A batch of one and windows of one step work.

    Keep axes of length one: no squeeze without an axis.
    """
    lab.agrees(lab.task(batch=1), random_batches(2, 1, STEPS), "batch of one")
    lab.agrees(lab.task(steps=1), random_batches(2, BATCH, 1), "one step a window")


@check("generation_answer", "forward_loss")
def greedy_generation(lab: CheckContext) -> None:
    """generate() reads the prefix from zero state and takes the likeliest symbol, always the same.

    Feed the prefix symbol by symbol, then each chosen id; no sampling; return only the new ids.
    """
    backend = lab.backend(lab.plain, random_batches(1, BATCH, STEPS))
    for prefix in ([1, 2, 3, 4], [5]):
        start = lab.start(lab.plain).astype(np.float64)
        expected = reference.generate(start, prefix, 12, lab.cell)
        for _ in range(2):
            got = backend.generate(prefix, 12)
            assert got == expected, f"after {prefix}: expected {expected}, got {got}"


@check("several_steps")
def loss_falls(lab: CheckContext) -> None:
    """On a tiny repetitive text the loss falls by half within 60 epochs.

    If single steps are right and this is not, something is lost between epochs.
    """
    rows = np.arange(WINDOWS * STEPS + 1, dtype=np.int32) % 3
    text = np.tile(rows, (BATCH, 1))
    shape = (BATCH, WINDOWS, STEPS)
    batches = Batches(
        np.ascontiguousarray(text[:, :-1].reshape(shape).transpose(1, 0, 2)),
        np.ascontiguousarray(text[:, 1:].reshape(shape).transpose(1, 0, 2)),
    )
    backend = lab.backend(lab.plain, batches)
    losses = [backend.train_epoch(batches).nats for _ in range(60)]
    assert losses[-1] < losses[0] / 2, (
        f"expected less than half of {losses[0]:.4g} nats, got {losses[-1]:.4g}"
    )


@check("several_steps")
def same_seed_same_result(lab: CheckContext) -> None:
    """The same seed gives the same initial parameters and losses; another seed gives others.

    Seed the framework from task.seed before the parameters are made.
    """
    batches = random_batches(WINDOWS, BATCH, STEPS)
    first, second = (lab.fresh(lab.plain, batches) for _ in range(2))
    start = first.parameters()
    same_parameters(start, second.parameters(), "building again")
    lab.close(second.train_epoch(batches).nats, first.train_epoch(batches).nats, "nats again")
    other = lab.fresh(dataclasses.replace(lab.plain, seed=8)).parameters()
    assert any(
        not np.array_equal(a, b)
        for (_, a), (_, b) in zip(start.items(), other.items(), strict=True)
    ), "expected other parameters from another seed, got the same"


@check("several_steps")
def epoch_is_finished(lab: CheckContext) -> None:
    """When train_epoch() returns, the last backward pass and update are done.

    Wait for the device before returning: block_until_ready, synchronize, or read a value that
    depends on the last update. The loss does not: it is known before the backward pass.
    """
    # of one window, these are two thirds
    lab.finished(batch=16, steps=20, hidden=256, most=0.3)


@check("epoch_is_finished")
def update_is_finished(lab: CheckContext) -> None:
    """When train_epoch() returns, the last update is done, too.

    Update the parameters in train_epoch(), not when they are next asked for.
    """
    # of one token through a wide layer, the update is a third
    lab.finished(batch=1, steps=1, hidden=1024, most=0.1)


@check("parameters_round_trip")
def matrix_product(lab: CheckContext) -> None:
    """matrix_product(), where there is one, can be called again, and leaves the parameters alone.

    Keep the matrices and compiled matmuls by side, apart from the model; a backend that offers
    no matmul leaves the method as lstmbench.Backend has it.
    """
    backend = lab.backend(lab.plain, random_batches(WINDOWS, BATCH, STEPS))
    before = backend.parameters()
    try:
        backend.matrix_product(16)
    except NotImplementedError:
        return
    for side in (24, 16, 24):
        backend.matrix_product(side)
    same_parameters(before, backend.parameters(), "matrix_product()")


@check("interface")
def absent_device(lab: CheckContext) -> None:
    """A device that is not there raises Unavailable.

    In __init__, raise lstmbench.Unavailable with one line that says which device is missing.
    """
    task = dataclasses.replace(lab.plain, device="cuda:99")
    try:
        lab.factory(task)
    except Unavailable:
        return
    except Exception as error:
        raise AssertionError(
            f"expected Unavailable, got {type(error).__name__}: {error}"
        ) from error
    raise AssertionError("expected Unavailable for cuda:99, got an instance")


def _exact(lab: CheckContext, batches: Batches) -> float:
    return reference.evaluate(lab.start(lab.plain).astype(np.float64), batches, lab.cell).nats


def _slope(
    lab: CheckContext,
    start: Parameters,
    name: str,
    along: np.ndarray,
    window: tuple[np.ndarray, np.ndarray],
) -> float:
    """How the mean loss of a window changes when one tensor moves, from two losses beside it."""
    step, losses = 1e-6, []
    for sign in (1, -1):
        moved = [a + sign * step * along if n == name else a for n, a in start.items()]
        state = reference.zero_state(start, BATCH, lab.cell)
        nats, _, _ = reference.gradients(start.like(moved), *window, state, lab.cell)
        losses.append(nats / window[0].size)
    return (losses[0] - losses[1]) / (2 * step)


def _halved(array: np.ndarray) -> np.ndarray:
    """``[S, B, T]`` as ``[2S, B, T/2]``, windows in their order."""
    windows, batch, steps = array.shape
    halves = array.reshape(windows, batch, 2, steps // 2).transpose(0, 2, 1, 3)
    return np.ascontiguousarray(halves.reshape(2 * windows, batch, steps // 2))
