"""The auditor's process, asked as a host asks it: parity is judged here, not where a plugin is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lstmbench_numpy.backend import NumpyBackend

from lstmbench import reference
from lstmbench.audit.messages import (
    AuditEvaluation,
    AuditSegment,
    AuditText,
    Claim,
    File,
    JudgeProof,
    LoadAudit,
    MakeProof,
    Proof,
    ProofMade,
)
from lstmbench.audit.session import AuditSession
from lstmbench.backend import EpochLoss, ModelConfig, Parameters, Task, TrainingConfig
from lstmbench.batches import Batches, partition
from lstmbench.cells import LSTM, tensor_shapes
from lstmbench.worker import parity
from lstmbench.worker.arrays import read_batches, read_parameters, write_batches, write_parameters
from lstmbench.worker.loop import OutOfOrder
from lstmbench.worker.messages import InvalidMessage

TASK = Task(
    ModelConfig(vocabulary_size=9, hidden_size=8, layers=1),
    TrainingConfig(learning_rate=1.0, clip_norm=1.0, batch_size=4, steps=5),
    device="cpu",
    mode="eager",
    dtype="float32",
    threads=1,
    seed=3,
)
IDS = np.random.default_rng(0).integers(0, 9, 300, dtype=np.int32)
BATCHES = partition(IDS, 4, 5)


class Asked:
    """A session for one task, and the files that are handed to it."""

    def __init__(self, folder: Path, task: Task = TASK) -> None:
        self.folder, self.task, self.session = folder, task, AuditSession()
        self.session.load(LoadAudit(task))

    def batches(self, batches: Batches) -> File:
        path = self.folder / f"given-{len(list(self.folder.iterdir()))}.npy"
        write_batches(path, batches)
        return File.of(path)

    def parameters(self, parameters: Parameters) -> File:
        path = self.folder / f"given-{len(list(self.folder.iterdir()))}.npy"
        write_parameters(path, parameters)
        return File.of(path)

    def make(self, batches: Batches = BATCHES) -> ProofMade:
        return self.session.make_proof(
            MakeProof(self.batches(batches), str(self.folder), TASK.dtype)
        )

    def prove(self, kind: Callable[[Task], NumpyBackend]) -> Proof:
        """What the host does, with a backend in this process."""
        made = self.make()
        backend, claims = kind(made.task), []
        for asked in made.passes:
            start = read_parameters(asked.parameters.path, tensor_shapes(LSTM, self.task.model))
            backend.load_parameters(start.astype(self.task.dtype))
            loss = backend.train_epoch(read_batches(asked.batches.path))
            claims.append(Claim(self.parameters(backend.parameters()), loss.nats))
        return self.session.judge_proof(JudgeProof(claims, TASK.dtype))


@pytest.fixture
def asked(tmp_path: Path) -> Asked:
    return Asked(tmp_path)


class Twice(NumpyBackend):
    """Updates everything twice as far as it should."""

    def train_epoch(self, batches: Batches) -> EpochLoss:
        before = self._parameters
        loss = super().train_epoch(batches)
        pairs = zip(before.items(), self._parameters.items(), strict=True)
        self._parameters = Parameters.from_arrays([2 * b - a for (_, a), (_, b) in pairs])
        return loss


def test_parity_is_proven_with_the_trial_s_shapes(asked: Asked) -> None:
    proof = asked.prove(NumpyBackend)
    assert proof.difference is None
    assert 0 < proof.worst < proof.tolerance == 1e-4
    assert tuple(proof.shape) == BATCHES.inputs.shape
    assert proof.cut is False
    assert len(proof.errors) == 2 * 6


def test_a_failed_proof_names_the_quantity(asked: Asked) -> None:
    proof = asked.prove(Twice)
    assert proof.worst > 0.5
    assert proof.difference is not None
    assert proof.errors[proof.difference] == proof.worst == max(proof.errors.values())


def test_a_loss_that_is_made_up_is_named(asked: Asked) -> None:
    class Flattering(NumpyBackend):
        def train_epoch(self, batches: Batches) -> EpochLoss:
            loss = super().train_epoch(batches)
            return EpochLoss(0.99 * loss.nats, loss.tokens)

    assert asked.prove(Flattering).difference in ("text: loss", "clipped: loss")


def test_parity_is_proven_at_a_rate_that_shows_changes(tmp_path: Path) -> None:
    slow = replace(TASK, training=replace(TASK.training, learning_rate=1e-5))
    asked = Asked(tmp_path, slow)
    assert asked.make().task.training.learning_rate == pytest.approx(1.31072)
    proof = asked.prove(NumpyBackend)
    assert proof.difference is None


def test_what_cannot_be_proven_is_said_and_nothing_is_asked(tmp_path: Path) -> None:
    training = replace(TASK.training, batch_size=1, steps=1)
    model = ModelConfig(vocabulary_size=9, hidden_size=1, layers=1000)
    made = Asked(tmp_path, replace(TASK, model=model, training=training)).make(
        partition(IDS[:5], 1, 1)
    )
    assert made.passes == []
    assert made.unprovable is not None
    assert made.unprovable.startswith("parity cannot be proven for 1000 layers of 1")


def test_a_proof_that_is_asked_for_again_is_not_computed_again(
    asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = asked.make()
    monkeypatch.setattr(parity, "make_probe", lambda setting: pytest.fail("computed again"))
    assert asked.make() == made


def test_what_was_changed_after_it_was_written_is_refused(asked: Asked) -> None:
    """The reference judges what the host has seen, and nothing else."""
    start = asked.parameters(reference.draw_parameters(TASK.model, 3))
    batches = asked.batches(BATCHES)
    asked.session.evaluation(AuditEvaluation(start, batches, 100.0))
    write_parameters(start.path, reference.draw_parameters(TASK.model, 4))
    with pytest.raises(InvalidMessage, match="was changed after it was written"):
        asked.session.evaluation(AuditEvaluation(start, batches, 100.0))


def test_claims_are_compared_with_the_reference(asked: Asked) -> None:
    start = reference.draw_parameters(TASK.model, 3, scale=0.1)
    end, loss = reference.train_epoch(start, BATCHES, TASK.training)
    before, after, batches = asked.parameters(start), asked.parameters(end), asked.batches(BATCHES)

    def segment(nats: float) -> Any:
        return asked.session.segment(AuditSegment(before, [batches], [nats], after, [1]))

    answer = segment(loss.nats)
    assert all(answer.errors[name] <= allowed for name, allowed in answer.allowed.items())
    assert {"parameters", "loss 1"} <= answer.allowed.keys()
    wrong = segment(0.99 * loss.nats)
    assert wrong.errors["loss 1"] > wrong.allowed["loss 1"]
    nats = reference.evaluate(end, BATCHES).nats
    for factor, is_right in ((1.0, True), (0.99, False)):
        found = asked.session.evaluation(AuditEvaluation(after, batches, factor * nats))
        assert (found.errors["loss"] <= found.allowed["loss"]) is is_right
    ids = reference.generate(end, [1, 2], 4)
    assert asked.session.text(AuditText(after, [1, 2], ids)).errors["text"] == 0.0


def test_what_must_come_first_is_said(asked: Asked) -> None:
    with pytest.raises(OutOfOrder, match="make a proof first"):
        asked.session.judge_proof(JudgeProof([], "float32"))
    with pytest.raises(OutOfOrder, match="load first"):
        AuditSession().make_proof(MakeProof(asked.batches(BATCHES), str(asked.folder), "float32"))
