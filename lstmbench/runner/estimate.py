"""How many trials a plan has and how long they take at least, before anything is started."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from lstmbench.analysis.precision import MIN_PROCESSES
from lstmbench.analysis.roofline import cost, layer_cost, layer_passes
from lstmbench.batches import window_count
from lstmbench.errors import UserError
from lstmbench.records.trial import Trial
from lstmbench.runner.plan import Selection, make_plan

#: A sweep beyond these wants ``--yes``.
MAX_TRIALS, MAX_HOURS = 250, 4.0
#: Trials of one repeat that are not even listed without it.
MAX_PLANNED = 20_000
#: Operations per second that any backend worth running reaches: per thread, or per other device.
RATE_OF_A_THREAD, RATE_OF_A_DEVICE = 2e10, 2e12
#: Seconds for import, compilation and parity.
START_UP_SECONDS = 10.0


def seconds(trial: Trial, corpus_tokens: int, vocabulary_size: int) -> float:
    """Of one trial, roughly, and rather too short than too long."""
    protocol = trial.protocol
    if protocol.is_layer:
        return START_UP_SECONDS + _layer_operations(trial) / _rate(trial)
    part = protocol.splits(corpus_tokens)["train"]
    windows = window_count(part.stop - part.start, protocol.batch_size, protocol.steps)
    tokens = protocol.epochs * windows * protocol.batch_size * protocol.steps
    operations = cost(protocol.model(vocabulary_size), protocol.training).operations
    return START_UP_SECONDS + tokens * operations / _rate(trial)


def _rate(trial: Trial) -> float:
    on_cpu = trial.device_kind == "cpu"
    return RATE_OF_A_THREAD * trial.threads if on_cpu else RATE_OF_A_DEVICE


def _layer_operations(trial: Trial) -> float:
    """Of all rounds: passes that go forward, and as many that go backward too."""
    protocol = trial.protocol
    passes = protocol.epochs * layer_passes(protocol, trial.device_kind)
    tokens = passes * protocol.batch_size * protocol.steps
    own = layer_cost(protocol.model(1), protocol.training)
    return tokens * (own.forward + own.operations)


def check_sweep(overrides: Mapping[str, Sequence[object] | None]) -> None:
    """Raise :class:`UserError` if the options alone cross to too many trials, before they do."""
    _check_planned(math.prod(len(set(values)) for values in overrides.values() if values))


def _check_planned(trials: int) -> None:
    if trials > MAX_PLANNED:
        raise UserError(
            f"this makes over {MAX_PLANNED:,} trials: sweep less, or confirm with --yes"
        )


def check_size(selection: Selection, corpus_tokens: int, vocabulary_size: int) -> None:
    """Raise :class:`UserError` for a sweep so large that it must be confirmed.

    Estimated from one repeat, so that the plan is never made whole; a stopping rule's seconds are
    the most that it takes.
    """
    rule = selection.stopping_rule
    repeats = MIN_PROCESSES if rule else selection.repeats
    settings = len(list(selection.combinations()))
    _check_planned(settings * len(selection.backends) * len(selection.stacks))
    trials = make_plan(replace(selection, repeats=1)).trials
    once = sum(seconds(trial, corpus_tokens, vocabulary_size) for trial in trials)
    longest = max(once, rule.seconds) if rule else math.inf
    count, hours = len(trials) * repeats, min(once * repeats, longest) / 3600
    if count > MAX_TRIALS or hours > MAX_HOURS:
        raise UserError(
            f"this makes {count:,} trials and takes {hours:,.1f} hours or more: "
            "sweep less, or confirm with --yes"
        )
