"""From what the user typed to a checked selection; every error names the option and the way out."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Mapping, Sequence

from lstmbench.backend import BackendSpec
from lstmbench.errors import UserError
from lstmbench.machine import facts
from lstmbench.plugin import catalogue, manager
from lstmbench.protocol import Protocol, Value
from lstmbench.records.record import StoppingRule
from lstmbench.records.trial import DTYPES, INITS, MAX_SEED, Dtype

#: What a ratio can be known within: below, processes of one machine never agree.
MIN_PRECISION, MAX_PRECISION = 0.002, 0.5
MAX_REPEATS = 1000
#: Of what is set for workers; Linux takes 128 KiB for a variable.
MAX_ENVIRONMENT_BYTES = 100_000
#: Bytes of memory that may be the limit of a worker.
MIN_MEMORY = 32 * 2**20
DEVICE = re.compile(r"cpu|mps|cuda:\d+")


def choose_backends(host: manager.Host, text: str) -> list[tuple[BackendSpec, str | None]]:
    """``all``, or ``name`` or ``name:mode``, comma-separated."""
    specs = host.backends()
    if text == "all":
        host.check_problems()
        if not specs:
            advice = catalogue.backends()["torch"].advice
            raise UserError(f"no backend is installed; take torch, for one: {advice}")
        return [(spec, None) for spec in specs.values() if spec.out_of_all is None]
    chosen: list[tuple[BackendSpec, str | None]] = []
    for item in split(text, "--backends"):
        name, _, mode = item.partition(":")
        spec = manager.find_backend(host, name)
        known = {m for modes in spec.modes.values() for m in modes}
        if mode and mode not in known:
            raise manager.unknown(f"mode of {name}", mode, known)
        chosen.append((spec, mode or None))
    return chosen


def choose_modes(text: str, specs: Sequence[BackendSpec]) -> list[str]:
    """``default``, ``all``, or names that at least one selected backend has."""
    known = {m for spec in specs for modes in spec.modes.values() for m in modes}
    chosen = split(text, "--modes")
    for mode in chosen:
        if mode not in known | {"default", "all"}:
            raise manager.unknown("mode", mode, known)
    return chosen


def choose_devices(text: str) -> list[str]:
    """``all`` that the machine has, or names; whether a backend can use one it says itself."""
    if text == "all":
        return facts.devices()
    chosen = split(text, "--devices")
    for device in chosen:
        if not DEVICE.fullmatch(device):
            raise manager.unknown("device", device, {*facts.devices(), "cuda:0", "mps"})
    return chosen


def choose_dtype(dtype: str) -> Dtype:
    """One of :data:`lstmbench.runner.plan.DTYPES`."""
    for known in DTYPES:
        if known == dtype:
            return known
    raise manager.unknown("dtype", dtype, DTYPES)


def choose_seeds(seeds: Sequence[int]) -> list[int]:
    """Different seeds that every program reading a record can hold, at least one."""
    if not seeds:
        raise UserError("--seed: give at least one")
    for place, seed in enumerate(seeds):
        if not 0 <= seed <= MAX_SEED:
            raise UserError(f"--seed {seed}: must be 0 to {MAX_SEED}")
        if seed in seeds[:place]:
            raise UserError(f"--seed: {seed} is given twice; --repeats trains it several times")
    return list(seeds)


def check_one_seed(seeds: Sequence[int], precision: float | None, protocol: Protocol) -> None:
    """Raise :class:`UserError` for several seeds where a stopping rule says how often to repeat."""
    if len(seeds) > 1:
        whose = "--precision" if precision is not None else f"the precision of {protocol.name}"
        raise UserError(
            f"--seed {','.join(map(str, seeds))}: {whose} lets the number of processes vary, which "
            "is for speeds of one seed: give one seed, or --repeats"
        )


def choose_init(init: str) -> str:
    """One of :data:`lstmbench.records.trial.INITS`."""
    if init not in INITS:
        raise manager.unknown("init", init, INITS)
    return init


def choose_repeats(repeats: int | None) -> int | None:
    """How many processes for each row, where it is fixed."""
    if repeats is not None and not 1 <= repeats <= MAX_REPEATS:
        raise UserError(f"--repeats {repeats}: must be 1 to {MAX_REPEATS}")
    return repeats


def choose_protocols(
    host: manager.Host, name: str, given: Mapping[str, Sequence[Value] | None]
) -> list[tuple[Protocol, Mapping[str, Value]]]:
    """The named preset with the command line's overrides crossed, and what they really change."""
    presets = host.protocols()
    if name not in presets:
        raise host.unknown("protocol", name, presets)
    preset = presets[name]
    swept = {option: values for option, values in given.items() if values is not None}
    crossed = [
        preset.override(dict(zip(swept, values, strict=True)))
        for values in itertools.product(*(dict.fromkeys(values) for values in swept.values()))
    ]
    return [(protocol, protocol.overrides(preset)) for protocol in crossed]


def words(host: manager.Host) -> set[str]:
    """The names that a command line is made of, even if a user or host is called like one."""
    specs = host.backends()
    found = {mode for spec in specs.values() for modes in spec.modes.values() for mode in modes}
    found |= {*specs, *catalogue.backends(), *host.protocols(), *host.corpora(), *host.commands()}
    return found | {"all", "default", "cpu", "cuda", "mps", *DTYPES, *INITS}


def choose_threads(threads: Sequence[int] | None) -> list[int]:
    """As many as the machine keeps busy, or as asked for, up to the logical cores."""
    if threads is None:
        return [facts.default_threads()]
    most = len(facts.usable_cpus())
    for number in threads:
        if not 1 <= number <= most:
            raise UserError(f"--threads {number}: this machine offers 1 to {most}")
    return list(dict.fromkeys(threads))


def choose_stopping_rule(
    protocol: Protocol, repeats: int | None, precision: float | None, budget: float | None
) -> StoppingRule | None:
    """When to stop sampling, or ``None`` where the number of processes is fixed."""
    if repeats is not None:
        if precision is not None:
            raise UserError(
                "--repeats fixes the number of processes, --precision lets it vary: "
                "give one of them"
            )
        if budget is not None:
            raise UserError("--repeats fixes the number of processes: no --budget ends them early")
        return None
    wanted = precision if precision is not None else protocol.precision
    if wanted is None:
        if budget is not None:
            raise UserError("--budget ends sampling for --precision: give that too")
        return None
    if wanted > MAX_PRECISION:
        raise UserError(f"--precision {wanted:.4g}: a share such as 2% or 0.02, at most 50%")
    if not wanted >= MIN_PRECISION:
        raise UserError(
            f"--precision {wanted:.4g}: no machine repeats itself so well that sampling could end; "
            f"between {MIN_PRECISION:.1%} and {MAX_PRECISION:.0%} it can"
        )
    seconds = positive_seconds(protocol.budget if budget is None else budget, "--budget")
    return StoppingRule(precision=wanted, seconds=seconds)


def positive_seconds(value: float, option: str) -> float:
    """A time limit; neither nan nor infinite."""
    if not 0 < value < float("inf"):
        raise UserError(f"{option} {value:g}: must be a positive number")
    return value


def choose_memory_limit(size: int | None) -> int | None:
    """Bytes; no worker can do with less than an interpreter needs."""
    if size is not None and size < MIN_MEMORY:
        raise UserError(f"--memory-limit {size}: in bytes, at least {MIN_MEMORY // 2**20}MiB")
    return size


def parse_environment(assignments: Sequence[str]) -> dict[str, str]:
    """``NAME=VALUE`` each."""
    parsed = {}
    for assignment in assignments:
        name, equals, value = assignment.partition("=")
        if not equals or not name.isidentifier():
            raise UserError(f"--env {assignment!r}: expected NAME=VALUE")
        parsed[name] = value
    check_environment(parsed, "--env")
    return parsed


def check_environment(environment: Mapping[str, str], whose: str) -> None:
    """Raise :class:`UserError` for variables that no process can be started with."""
    size = 0
    for name, value in environment.items():
        try:
            encoded = os.fsencode(f"{name}={value}")
        except UnicodeEncodeError:
            encoded = b"\0"
        if not name or "=" in name or b"\0" in encoded:
            raise UserError(
                f"{whose}: no environment can hold {f'{name}={value}'!r:.80}: a name has no '=', "
                "and both are text without NUL"
            )
        size += len(encoded)
    if size > MAX_ENVIRONMENT_BYTES:
        raise UserError(
            f"{whose}: an environment of {size:,} bytes, {MAX_ENVIRONMENT_BYTES:,} are the most"
        )


def split(text: str, option: str) -> list[str]:
    """Comma-separated names; at least one."""
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not parts:
        raise UserError(f"{option}: name at least one")
    return parts
