"""What a worker is asked first."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from lstmbench.backend import BackendSpec
from lstmbench.records.trial import Trial
from lstmbench.worker.messages import LoadTrial


def load_request(
    trial: Trial,
    spec: BackendSpec,
    *,
    tokens: Path,
    splits: Mapping[str, slice],
    vocabulary_size: int,
    cpus: list[int] | None,
) -> LoadTrial:
    """A worker's first request: ``tokens`` is the file that holds the corpus's ids."""
    return LoadTrial(
        factory=spec.factory,
        imports=list(spec.imports),
        install=spec.install,
        task=trial.task(vocabulary_size),
        init=trial.init,
        cpus=cpus,
        tokens=str(tokens),
        splits={name: (part.start, part.stop) for name, part in splits.items()},
    )
