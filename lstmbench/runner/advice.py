"""What to do about unsteady figures, and about a trial that failed."""

from __future__ import annotations

from collections.abc import Iterable

from lstmbench.analysis.impossible import BUSY_PROCESSORS, BUSY_STOLEN, BUSY_THROTTLED
from lstmbench.machine import facts
from lstmbench.machine.load import Load
from lstmbench.messages import one_line
from lstmbench.records.trial import Trial

#: Processes that a warning names.
MAX_NAMED = 3


def warning(busy: dict[str, float]) -> str | None:
    """What to know before anything is measured beside busy processes."""
    if sum(busy.values()) < BUSY_PROCESSORS:
        return None
    named = sorted(busy.items(), key=lambda item: -item[1])
    shares = ", ".join(f"{name} {share:.0%}" for name, share in named[:MAX_NAMED])
    more = f", and {len(named) - MAX_NAMED} more" if len(named) > MAX_NAMED else ""
    return (
        f"other processes are busy (in shares of a processor: {one_line(shares)}{more}): speeds "
        "may come out too low; end them, or run again when they are done"
    )


def limit_warning(threads: Iterable[int]) -> str | None:
    """What to know of more threads than a container's limit keeps busy."""
    allowed, most = facts.cpu_limit(), max(threads)
    if allowed is None or most <= allowed:
        return None
    remedy = "raise the limit" if allowed < 1 else f"raise it, or take --threads {int(allowed)}"
    return (
        f"a limit of {allowed:g} processors is set for this container, and {most} "
        f"thread{'s' * (most > 1)} will be stopped whenever it is used up: {remedy}"
    )


def advice(
    threads: int,
    busy: dict[str, float],
    around: Load | None,
    governed: Iterable[str],
    battery: bool,
) -> list[str]:
    """What to change for steadier figures, a line each; empty if nothing is found.

    ``busy`` is from before measuring, ``around`` from meanwhile.
    """
    lines = []
    others, stolen = (around.others, around.stolen) if around else (0.0, 0.0)
    throttled = (around and around.throttled) or 0.0
    if others >= BUSY_PROCESSORS and not busy:
        lines.append(
            f"other processes used {others:.0%} of a processor meanwhile: see which, with 'top', "
            "and end them"
        )
    for name, share in sorted(busy.items(), key=lambda item: -item[1]):
        lines.append(f"{one_line(name)} uses {share:.0%} of a processor: end it, or wait for it")
    if stolen >= BUSY_STOLEN:
        lines.append(
            f"the hypervisor gave {stolen:.1%} of the processor time to other guests: "
            "a machine of its own, or another hour, is steadier"
        )
    if throttled >= BUSY_THROTTLED:
        lines.append(
            f"the container's limit of processor time stopped it in {throttled:.0%} of the "
            "periods: raise the limit, or use fewer --threads"
        )
    if any(name not in ("performance",) for name in governed):
        names = ", ".join(sorted(governed))
        lines.append(
            f"the frequency is governed by {names}: 'cpupower frequency-set -g performance' "
            "keeps it steady"
        )
    if battery:
        lines.append("running on battery: plug the power supply in")
    cores = facts.physical_cores()
    if threads > cores:
        lines.append(f"{threads} threads on {cores} physical cores: --threads {cores} or fewer")
    elif threads == cores and cores > 1:
        lines.append(
            f"{threads} threads take every core: whatever else runs slows them all down; "
            f"--threads {cores - 1} leaves it a core"
        )
    return lines


def explanation(trial: Trial, reason: str) -> str:
    """What to append to a failure's message: the command that explains it, if there is one."""
    if reason != "parity":
        return ""
    options = {"device": (trial.device, "cpu"), "dtype": (trial.dtype, "float32")}
    given = [f" --{name} {value}" for name, (value, usual) in options.items() if value != usual]
    command = f"lstmbench debug {trial.backend}:{trial.mode}{''.join(given)}"
    return f"; see which quantity differs first: {command}"
