"""From a worker that has just been started to one that is ready to train."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

from lstmbench.audit.messages import Claim, File, JudgeProof, MakeProof, Proof, ProofMade
from lstmbench.backend import BackendSpec, Parameters, Task
from lstmbench.batches import Batches
from lstmbench.machine.resident import resident
from lstmbench.runner.auditing import Auditor, AuditorLost
from lstmbench.runner.channel import WorkerLost
from lstmbench.runner.evidence import Snapshot
from lstmbench.runner.exchange import place
from lstmbench.runner.live import LiveTrial
from lstmbench.worker import parity
from lstmbench.worker.arrays import write_batches
from lstmbench.worker.messages import Build, Drop, LoadParameters, LoadTrial, Prepare, TrainEpoch


class Prover:
    """Proves parity for the trials of one group.

    The reference's part is the same for all of them. ``folder`` takes the files, ``timeout`` is in
    seconds, for any answer that may import, compile or train.
    """

    def __init__(self, auditor: Auditor, batches: Batches, folder: Path, timeout: float) -> None:
        self._auditor, self._batches = auditor, batches
        self._folder, self._timeout = folder, timeout
        self._own: File | None = None

    def load(self, live: LiveTrial, spec: BackendSpec, cpus: list[int] | None) -> None:
        """Import the plugin."""
        request = LoadTrial(spec.factory, list(spec.imports), spec.install, cpus, spec.reference)
        live.state.loaded(live.channel.ask(request, self._timeout), resident(live.channel.pid))

    def prove(self, live: LiveTrial) -> None:
        """Hold an instance, which is then thrown away, against the reference; one of 16 bits, and
        another of the same program in float32.

        Raises :class:`WorkerLost` if it computes something else.
        """
        for dtype in parity.proof_dtypes(live.trial.dtype):
            try:
                proof = self._prove(live, dtype)
            except AuditorLost as lost:
                raise WorkerLost("audit", f"parity cannot be judged: {lost}") from None
            live.state.proven(proof, own=dtype == live.trial.dtype)
            if proof.difference:
                allowed = proof.allowed.get(proof.difference, proof.tolerance)
                where = "" if dtype == live.trial.dtype else f"in {dtype}: "
                raise WorkerLost(
                    "parity",
                    f"{where}{proof.difference} differs from the reference by "
                    f"{proof.errors[proof.difference]:.1e}, allowed is {allowed:.0e}",
                )

    def _prove(self, live: LiveTrial, dtype: str) -> Proof:
        made = self._auditor.ask(self._make(dtype))
        live.shapes = self._auditor.shapes
        live.state.models(self._auditor.model, self._auditor.reference)
        if made.unprovable:
            raise WorkerLost("unavailable", made.unprovable)
        self._build(live, made.task)
        begin = time.perf_counter()
        claims = self._claims(live, made)
        proof = self._auditor.ask(JudgeProof(claims, dtype), before=self._make(dtype))
        phases = live.state.phases
        phases["parity"] = phases.get("parity", 0.0) + time.perf_counter() - begin
        return proof

    def rebuild(self, live: LiveTrial, task: Task, start: Parameters | None) -> None:
        """Build the instance that is timed."""
        given = live.give_parameters(start) if start is not None else None
        live.channel.ask(Drop(), self._timeout)
        live.restart_peak_memory()
        request = Build(task, live.give(self._batches), given)
        answer = live.channel.ask(request, self._timeout)
        live.state.phases["rebuild"] = answer.build_seconds + answer.prepare_seconds

    def _make(self, dtype: str) -> MakeProof:
        if self._own is None:
            path = self._folder / "own-batches.npy"
            write_batches(path, self._batches)
            self._own = File.of(path)
        return MakeProof(self._own, str(self._folder), dtype)

    def _build(self, live: LiveTrial, task: Task) -> None:
        own = replace(task, mode=live.trial.mode)
        request = Build(own, live.give(self._batches), None)
        if task.dtype != live.trial.dtype:
            live.channel.ask(Drop(), self._timeout)
        answer = live.channel.ask(request, self._timeout)
        # of the first instance, when nothing is compiled yet
        live.state.phases.setdefault("build", answer.build_seconds)
        live.state.phases.setdefault("prepare", answer.prepare_seconds)

    def _claims(self, live: LiveTrial, made: ProofMade) -> list[Claim]:
        claims = []
        for index, asked in enumerate(made.passes):
            # a copy for each worker: one cannot change what another is given
            start = _copy(asked.parameters, live.channel.folder / "start.npy")
            batches = _copy(asked.batches, live.channel.folder / "batches.npy")
            if made.cut and index == 0:
                live.channel.ask(Prepare(batches), self._timeout)
            live.channel.ask(LoadParameters(start), self._timeout)
            answer = live.channel.ask(TrainEpoch(batches, asked.learning_rate), self._timeout)
            shown = Snapshot.of(live.show())
            claims.append(Claim(shown.written(self._folder / f"claim-{index}.npy"), answer.nats))
        return claims


def _copy(file: File, to: Path) -> str:
    content = Path(file.path).read_bytes()
    return place(to, lambda copy: copy.write(content))
