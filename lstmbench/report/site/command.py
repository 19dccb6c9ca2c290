"""The command line that repeats one trial."""

from __future__ import annotations

import shlex

from lstmbench.records.trial import Trial


def command(trial: Trial, stack: str = "") -> list[str]:
    """``lstmbench run`` with everything that decides the trial, quoted for a shell.

    ``stack`` is what was asked for, where the trial has a stack.

    In parts that read best unbroken; blanks join them.
    """
    options: list[tuple[str, object]] = [
        ("--backends", trial.program),
        *([("--stack", stack)] if stack else []),
        ("--devices", trial.device),
        ("--protocol", trial.protocol.name),
        *((f"--{name.replace('_', '-')}", value) for name, value in trial.overrides.items()),
        ("--dtype", trial.dtype),
        ("--init", trial.init),
        ("--corpus", trial.corpus),
        *trial.preparation.options,
        ("--seed", trial.seed),
        ("--threads", trial.threads),
        ("--repeats", 1),
        *(("--env", f"{name}={value}") for name, value in trial.environment.items()),
    ]
    return ["lstmbench run", *(shlex.join([name, str(value)]) for name, value in options)]
