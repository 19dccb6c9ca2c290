"""The command line that repeats one trial."""

from __future__ import annotations

import shlex

from lstmbench.plan import Trial


def command(trial: Trial) -> str:
    """``lstmbench run`` with everything that decides the trial, quoted for a shell."""
    options: list[tuple[str, object]] = [
        ("--backends", trial.label),
        ("--devices", trial.device),
        ("--protocol", trial.protocol.name),
        *((f"--{name.replace('_', '-')}", value) for name, value in trial.overrides.items()),
        ("--dtype", trial.dtype),
        ("--init", trial.init),
        ("--corpus", trial.corpus),
        ("--seed", trial.seed),
        ("--threads", trial.threads),
        *(("--env", f"{name}={value}") for name, value in trial.environment.items()),
    ]
    return shlex.join(["lstmbench", "run", *(str(part) for pair in options for part in pair)])
