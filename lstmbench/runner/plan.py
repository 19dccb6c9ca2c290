"""From a selection to ordered groups of trials, without asking any framework anything."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import groupby
from typing import Any

from lstmbench.backend import LSTM_MODEL, BackendSpec
from lstmbench.errors import UserError
from lstmbench.machine.redact import scrub
from lstmbench.messages import storable
from lstmbench.preparation import Preparation
from lstmbench.protocol import Protocol, Value
from lstmbench.records.record import StoppingRule
from lstmbench.records.trial import Dtype, Trial
from lstmbench.worker.parity_setting import SIXTEEN_BITS


def recorded_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """What records show of an environment: no secrets, no paths, and nothing that no file holds."""
    return {storable(name): storable(scrub(value)) for name, value in environment.items()}


@dataclass(frozen=True)
class Combination:
    """What all backends of a group share, apart from what the whole selection does."""

    protocol: Protocol
    overrides: Mapping[str, Value]
    threads: int
    device: str
    seed: int


@dataclass(frozen=True, kw_only=True)
class Selection:
    """What the user asked for, names already checked.

    ``backends`` are ``(spec, mode)``, mode ``None`` for what ``modes`` says: ``default``, ``all``
    or names. ``protocols`` come with what the command line overrides; several, or several
    ``threads``, make a sweep; the ``seeds`` are all of one row. ``environment`` is what records
    show: without secrets and paths. ``stacks`` are labels; the empty one is that of the host's own
    environment.
    """

    backends: Sequence[tuple[BackendSpec, str | None]]
    devices: Sequence[str]
    modes: Sequence[str]
    dtype: Dtype
    protocols: Sequence[tuple[Protocol, Mapping[str, Value]]]
    init: str
    corpus: str
    corpus_digest: str
    seeds: Sequence[int]
    threads: Sequence[int]
    environment: Mapping[str, str]
    preparation: Preparation = field(default_factory=Preparation)
    repeats: int = 1
    interleave: bool = True
    stopping_rule: StoppingRule | None = None
    stacks: Sequence[str] = ("",)

    def combinations(self) -> Iterator[Combination]:
        """Every combination that a repeat crosses, groups whole."""
        for (protocol, overrides), threads, device, seed in itertools.product(
            self.protocols, self.threads, self.devices, self.seeds
        ):
            yield Combination(protocol, overrides, threads, device, seed)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Groups in the order in which they run, and trials that cannot run, with the reason.

    ``protocol`` is the name of the preset. Without ``interleave`` each trial is a group of its
    own. ``stopping_rule`` ends the repeats early, if there is one.
    """

    protocol: str
    groups: list[list[Trial]]
    unavailable: list[tuple[Trial, str]] = field(default_factory=list)
    interleave: bool = True
    stopping_rule: StoppingRule | None = None

    @property
    def trials(self) -> list[Trial]:
        return [trial for group in self.groups for trial in group]

    def where(self, obstacle: Callable[[Trial], str | None]) -> Plan:
        """The same plan; trials for which there is an obstacle are unavailable."""
        stopped = [(trial, reason) for trial in self.trials if (reason := obstacle(trial))]
        left = [[trial for trial in group if not obstacle(trial)] for group in self.groups]
        once = {trial.row_key(): (trial, reason) for trial, reason in reversed(stopped)}
        return replace(
            self,
            groups=[group for group in left if group],
            unavailable=[*self.unavailable, *reversed(once.values())],
        )

    def by_repeat(self) -> Iterator[tuple[int, list[list[Trial]]]]:
        """The groups of each repeat, in order."""
        for repeat, groups in groupby(self.groups, key=lambda group: group[0].repeat):
            yield repeat, list(groups)

    def part(self, numbers: Collection[int]) -> Plan:
        """The groups of these numbers, counted from 1; the first brings what is unavailable."""
        return replace(
            self,
            groups=[g for number, g in enumerate(self.groups, start=1) if number in numbers],
            unavailable=self.unavailable if 1 in numbers else [],
        )

    def to_json(self) -> dict[str, Any]:
        """What ``plan.json`` holds."""
        return {
            "groups": [[{"name": t.name, **asdict(t)} for t in group] for group in self.groups],
            "unavailable": [
                {"name": t.name, **asdict(t), "reason": reason} for t, reason in self.unavailable
            ],
        }


def _obstacle(
    spec: BackendSpec, mode: str, kind: str, dtype: str, protocol: Protocol
) -> str | None:
    """Why the spec rules a combination out, or ``None``."""
    if kind not in spec.modes:
        return f"{spec.name} does not run on {kind}, only on {', '.join(spec.modes)}"
    if mode not in spec.modes[kind]:
        return f"{spec.name} has no mode {mode!r} on {kind}, only {', '.join(spec.modes[kind])}"
    if dtype not in spec.dtypes_on(kind):
        return f"{spec.name} offers {', '.join(spec.dtypes_on(kind))} on {kind}, not {dtype}"
    if protocol.is_layer and spec.model != LSTM_MODEL:
        return f"{spec.name} brings a model of its own: {protocol.name} measures the LSTM's layers"
    if protocol.is_layer and dtype in SIXTEEN_BITS:
        return f"{protocol.name} is proven in float32 and float64, not in {dtype}"
    if dtype in SIXTEEN_BITS and "float32" not in spec.dtypes_on(kind):
        return f"{spec.name} has no float32 on {kind}, in which its program could be proven"
    missing = [name for name in protocol.needed_features if name not in spec.features]
    if missing:
        return f"{spec.name} has no {' and no '.join(missing)}"
    if protocol.forget_bias is not None and spec.model != LSTM_MODEL:
        return f"{spec.name} has no forget gate that initial biases could be set of"
    return None


def make_plan(selection: Selection) -> Plan:
    """Cross a selection into trials; group those that are interleaved.

    Raises :class:`UserError` if nothing is left to run or to report.
    """
    groups: dict[str, list[Trial]] = {}
    unavailable: list[tuple[Trial, str]] = []
    seen: set[str] = set()
    for repeat, combination in itertools.product(
        range(selection.repeats), selection.combinations()
    ):
        kind = combination.device.partition(":")[0]
        for spec, named in selection.backends:
            modes = (named,) if named else spec.modes_on(kind, selection.modes)
            if not modes and kind not in spec.modes:  # a row that says so
                modes = next(iter(spec.modes.values()))[:1]
            for mode, stack in itertools.product(modes, selection.stacks):
                trial = _trial(selection, combination, spec, mode, stack, repeat)
                if trial.name in seen:
                    continue
                seen.add(trial.name)
                reason = _obstacle(spec, mode, kind, selection.dtype, combination.protocol)
                if reason and not repeat and combination.seed == selection.seeds[0]:
                    unavailable.append((trial, reason))
                elif not reason:
                    # what proves one model does not prove another of the same name
                    key = trial.group_key() + spec.reference
                    key = key if selection.interleave else trial.name
                    groups.setdefault(key, []).append(trial)
    if not groups and not unavailable:
        raise UserError(f"no backend selected has a mode named {', '.join(selection.modes)}")
    return Plan(
        protocol=selection.protocols[0][0].name,
        groups=list(groups.values()),
        unavailable=unavailable,
        interleave=selection.interleave,
        stopping_rule=selection.stopping_rule,
    )


def _trial(
    selection: Selection,
    combination: Combination,
    spec: BackendSpec,
    mode: str,
    stack: str,
    repeat: int,
) -> Trial:
    return Trial(
        backend=spec.name,
        mode=mode,
        device=combination.device,
        dtype=selection.dtype,
        protocol=combination.protocol,
        overrides=combination.overrides,
        init=selection.init,
        corpus=selection.corpus,
        corpus_digest=selection.corpus_digest,
        preparation=selection.preparation,
        seed=combination.seed,
        threads=combination.threads,
        environment=selection.environment,
        backend_environment=recorded_environment(spec.environment),
        repeat=repeat,
        model=spec.model,
        stack=stack,
    )
