"""What the host asks the auditor. Arrays are in files, named with the digest of what they hold."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from lstmbench.backend import Task
from lstmbench.worker.messages import Answer, Between, Count, Nats, Request


@dataclass(frozen=True)
class File:
    """A file as it was when its writer had just written it."""

    path: str
    sha256: str

    @classmethod
    def of(cls, path: Path) -> File:
        return cls(str(path), hashlib.sha256(path.read_bytes()).hexdigest())


@dataclass(frozen=True)
class ModelFacts:
    """Of a plugin's own model: the shapes of its tensors, forward operations per token."""

    tensors: dict[str, list[Count]]
    operations_per_token: Annotated[float, Between(0.0, 1e18)]


@dataclass(frozen=True)
class AuditLoaded(Answer):
    """What is to be audited; ``model`` is ``None`` for the LSTM, of which all is known."""

    model: ModelFacts | None = None


@dataclass(frozen=True)
class LoadAudit(Request[AuditLoaded], name="load_audit"):
    """The trials that will be audited differ from ``task`` in mode and seed only.

    ``reference`` is the ``module:attribute`` of a plugin's own model, empty for the LSTM.
    """

    task: Task
    reference: str = ""


@dataclass(frozen=True)
class ProofPass:
    """One epoch that parity asks for: from these parameters, on these batches, at this rate."""

    label: str
    parameters: File
    batches: File
    learning_rate: float | None = None


@dataclass(frozen=True)
class ProofMade(Answer):
    """What parity asks of an instance for ``task``; ``unprovable`` is why it asks for nothing."""

    task: Task
    passes: list[ProofPass]
    cut: bool
    unprovable: str | None = None


@dataclass(frozen=True)
class MakeProof(Request[ProofMade], name="make_proof"):
    """Compute the reference's part of parity on a trial's own ``batches``; files go to ``folder``.

    In ``dtype``, the trial's own or another. Asked again, it is not computed again.
    """

    batches: File
    folder: str
    dtype: str


@dataclass(frozen=True)
class Claim:
    """What a backend made of one epoch."""

    parameters: File
    nats: Nats


@dataclass(frozen=True)
class Proof(Answer):
    """The relative errors that were found; ``shape`` is ``(windows, batch, steps)``.

    ``difference`` names the quantity that differs most, if any differs.
    """

    worst: float
    tolerance: float
    errors: dict[str, float]
    allowed: dict[str, float]
    shape: tuple[int, int, int]
    cut: bool
    difference: str | None


@dataclass(frozen=True)
class JudgeProof(Request[Proof], name="judge_proof"):
    """Hold a backend's answer to every pass against the reference's, made for ``dtype``."""

    claims: list[Claim]
    dtype: str


@dataclass(frozen=True)
class Audited(Answer):
    """Relative errors by quantity, and how large an honest one may be."""

    errors: dict[str, float]
    allowed: dict[str, float]
    bias_copies: int = 1


@dataclass(frozen=True)
class AuditSegment(Request[Audited], name="audit_segment"):
    """Train ``epochs`` again from ``start``; compare with the claimed losses and end.

    ``bias_copies``: the numbers of trained biases per layer that may explain it. ``rates`` are the
    epochs' learning rates, where these are not always the protocol's. ``updates`` were made before
    ``start``, whose file says what the optimizer keeps, unless there were none; masks of dropout
    are drawn from ``seed``.
    """

    start: File
    epochs: list[File]
    nats: list[Nats]
    end: File
    bias_copies: list[int]
    rates: list[float] = field(default_factory=list)
    updates: int = 0
    seed: int = 0


@dataclass(frozen=True)
class AuditEvaluation(Request[Audited], name="audit_evaluation"):
    """Evaluate ``parameters`` again and compare with the claimed loss."""

    parameters: File
    batches: File
    nats: Nats


@dataclass(frozen=True)
class AuditLayer(Request[Audited], name="audit_layer"):
    """Go through the layers alone again, on ``inputs`` ``[T, B, in]`` and perhaps ``slopes``
    ``[T, B, H]``, and compare with what a pass has shown."""

    parameters: File
    inputs: File
    slopes: File | None
    result: File


@dataclass(frozen=True)
class AuditText(Request[Audited], name="audit_text"):
    """Whether each of ``ids`` is the likeliest symbol after ``prefix`` and those before it."""

    parameters: File
    prefix: list[int]
    ids: list[int]
