"""What a worker is asked first."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from lstmbench.backend import BackendSpec
from lstmbench.records.trial import Trial


def load_request(
    trial: Trial,
    spec: BackendSpec,
    tokens: Path,
    count: int,
    vocabulary_size: int,
    cpus: list[int] | None,
) -> dict[str, Any]:
    """A worker's first request: ``tokens`` is the file that holds the corpus's ``count`` ids."""
    splits = trial.protocol.splits(count)
    return {
        "do": "load",
        "factory": spec.factory,
        "imports": spec.imports,
        "install": spec.install,
        "task": asdict(trial.task(vocabulary_size)),
        "init": trial.init,
        "cpus": cpus,
        "tokens": str(tokens),
        "splits": {name: (part.start, part.stop) for name, part in splits.items()},
    }
