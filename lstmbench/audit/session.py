"""The process that audits: it reads nothing that was changed, and has never loaded a plugin.

Of a plugin's own model it loads the module of the reference.
"""

from __future__ import annotations

import hashlib
import io
from dataclasses import replace
from pathlib import Path

import numpy as np

from lstmbench.audit.auditor import Auditor
from lstmbench.audit.comparison import Comparison
from lstmbench.audit.messages import (
    Audited,
    AuditEvaluation,
    AuditLayer,
    AuditLoaded,
    AuditSegment,
    AuditText,
    File,
    JudgeProof,
    LoadAudit,
    MakeProof,
    ModelFacts,
    Proof,
    ProofMade,
    ProofPass,
)
from lstmbench.audit.replay import Course, Trained
from lstmbench.backend import EpochLoss, ModelConfig, Parameters, Task
from lstmbench.batches import Batches
from lstmbench.cells import LSTM, Cell, load_cell, operations_per_token, tensor_shapes
from lstmbench.layer import result_shapes
from lstmbench.worker import parity
from lstmbench.worker.arrays import (
    read_batches,
    read_layer_result,
    read_trained,
    write_batches,
    write_parameters,
)
from lstmbench.worker.loop import Handlers, OutOfOrder, Session
from lstmbench.worker.messages import Finish, Finished, InvalidMessage


class AuditSession(Session):
    """Load, then any number of questions."""

    def __init__(self) -> None:
        self._task: Task | None = None
        self._cell: Cell = LSTM
        self._auditor: Auditor | None = None
        self._probes: dict[str, parity.Probe] = {}
        self._made: dict[str, ProofMade] = {}

    def handlers(self) -> Handlers:
        return {
            LoadAudit: self.load,
            MakeProof: self.make_proof,
            JudgeProof: self.judge_proof,
            AuditSegment: self.segment,
            AuditEvaluation: self.evaluation,
            AuditText: self.text,
            AuditLayer: self.layer,
            Finish: self.finish,
        }

    @property
    def task(self) -> Task:
        if self._task is None:
            raise OutOfOrder("the auditor must be asked to load first")
        return self._task

    @property
    def auditor(self) -> Auditor:
        if self._auditor is None:
            self._auditor = Auditor(self.task.training, self.task.dtype, self._cell)
        return self._auditor

    def load(self, request: LoadAudit) -> AuditLoaded:
        """What the trials train, and the reference that says what is correct."""
        self._cell = load_cell(request.reference)
        self._task = request.task
        return AuditLoaded(model_facts(self._cell, request.task.model))

    def make_proof(self, request: MakeProof) -> ProofMade:
        """The reference's part of parity."""
        if request.dtype not in self._made:
            batches = self._batches(request.batches)
            self._made[request.dtype] = self._make_proof(
                batches, Path(request.folder), request.dtype
            )
        return self._made[request.dtype]

    def _make_proof(self, batches: Batches, folder: Path, dtype: str) -> ProofMade:
        task = replace(self.task, dtype=dtype)
        setting = parity.choose_setting(task, batches, cell=self._cell)
        try:
            probe = self._probes[dtype] = parity.make_probe(setting)
        except parity.Unprovable as error:
            return ProofMade(setting.task, [], setting.cut, str(error))
        passes = []
        for asked in probe.passes:
            names = [f"{dtype}-{asked.label}-{what}.npy" for what in ("parameters", "batches")]
            paths = [folder / name for name in names]
            write_parameters(paths[0], asked.start)
            write_batches(paths[1], asked.batches)
            start, batches_of_pass = map(File.of, paths)
            passes.append(ProofPass(asked.label, start, batches_of_pass, asked.told_rate))
        return ProofMade(probe.setting.task, passes, probe.setting.cut)

    def judge_proof(self, request: JudgeProof) -> Proof:
        """Compare."""
        if request.dtype not in self._probes:
            raise OutOfOrder("the auditor must be asked to make a proof first")
        probe = self._probes[request.dtype]
        setting, errors = probe.setting, dict[str, float]()
        for asked, claim in zip(probe.passes, request.claims, strict=True):
            loss = EpochLoss(claim.nats, asked.batches.tokens)
            errors |= asked.errors(loss, self._parameters(claim.parameters))
        shape: tuple[int, int, int] = setting.batches.inputs.shape
        tolerance = parity.TOLERANCE[setting.task.dtype]
        result = parity.ParityResult(errors, probe.allowed, tolerance, shape, setting.cut)
        return Proof(
            worst=result.worst,
            tolerance=result.tolerance,
            errors=result.errors,
            allowed=result.allowed,
            shape=result.shape,
            cut=result.cut,
            difference=result.worst_difference,
        )

    def segment(self, request: AuditSegment) -> Audited:
        """Some epochs of training."""
        start, kept = self._trained(request.start)
        end, moments = self._trained(request.end)
        course = Course(
            tuple(request.rates), kept if request.updates else (), request.updates, request.seed
        )
        verdict = self.auditor.segment(
            start,
            [self._batches(file) for file in request.epochs],
            Trained(end, tuple(request.nats), moments),
            request.bias_copies,
            course,
        )
        return _audited(verdict.comparison, verdict.bias_copies)

    def evaluation(self, request: AuditEvaluation) -> Audited:
        """A pass over held-out text."""
        parameters = self._parameters(request.parameters)
        batches = self._batches(request.batches)
        return _audited(self.auditor.evaluation(parameters, batches, request.nats))

    def text(self, request: AuditText) -> Audited:
        """What the model writes."""
        parameters = self._parameters(request.parameters)
        return _audited(self.auditor.continuation(parameters, request.prefix, request.ids))

    def layer(self, request: AuditLayer) -> Audited:
        """A pass through the layers alone."""
        inputs, slopes = (
            None if file is None else np.load(_unchanged(file), allow_pickle=False)
            for file in (request.inputs, request.slopes)
        )
        assert inputs is not None
        steps, batch, _ = inputs.shape
        shapes = result_shapes(self.task.model, steps, batch, slopes is not None, self._cell)
        claimed = read_layer_result(_unchanged(request.result), shapes)
        parameters = self._parameters(request.parameters)
        return _audited(self.auditor.layer(parameters, inputs, slopes, claimed))

    def finish(self, request: Finish) -> Finished:
        """The end."""
        return Finished({}, {})

    def _parameters(self, file: File) -> Parameters:
        return self._trained(file)[0]

    def _trained(self, file: File) -> tuple[Parameters, tuple[Parameters, ...]]:
        """Parameters, and what the optimizer keeps if that is there too."""
        shapes = tensor_shapes(self._cell, self.task.model)
        return read_trained(_unchanged(file), shapes, len(self.task.training.moments))

    def _batches(self, file: File) -> Batches:
        return read_batches(_unchanged(file))


def model_facts(cell: Cell, model: ModelConfig) -> ModelFacts | None:
    """What a record says of a plugin's own model; of the LSTM it is known."""
    if cell is LSTM:
        return None
    tensors = {name: list(shape) for name, shape in tensor_shapes(cell, model).items()}
    return ModelFacts(tensors, float(operations_per_token(cell, model)))


def _unchanged(file: File) -> io.BytesIO:
    """The content; :class:`InvalidMessage` if it is not what the host has seen."""
    content = Path(file.path).read_bytes()
    if hashlib.sha256(content).hexdigest() != file.sha256:
        raise InvalidMessage(f"{Path(file.path).name} was changed after it was written")
    return io.BytesIO(content)


def _audited(comparison: Comparison, bias_copies: int = 1) -> Audited:
    errors = {name: float(np.float64(error)) for name, error in comparison.errors.items()}
    return Audited(errors, dict(comparison.allowed), bias_copies)
