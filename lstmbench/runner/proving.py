"""From a worker that has just been started to one that is ready to train."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

from lstmbench.audit.messages import Claim, File, JudgeProof, MakeProof, ProofMade
from lstmbench.backend import BackendSpec, Parameters, Task
from lstmbench.batches import Batches
from lstmbench.machine.resident import resident
from lstmbench.runner.auditing import Auditor, AuditorLost
from lstmbench.runner.channel import WorkerLost
from lstmbench.runner.evidence import Snapshot
from lstmbench.runner.exchange import place
from lstmbench.runner.live import LiveTrial
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
        self._request: MakeProof | None = None

    def load(self, live: LiveTrial, spec: BackendSpec, cpus: list[int] | None) -> None:
        """Import the plugin."""
        request = LoadTrial(spec.factory, list(spec.imports), spec.install, cpus, spec.reference)
        live.state.loaded(live.channel.ask(request, self._timeout), resident(live.channel.pid))

    def prove(self, live: LiveTrial) -> None:
        """Hold an instance, which is then thrown away, against the reference.

        Raises :class:`WorkerLost` if it computes something else.
        """
        try:
            made = self._auditor.ask(self._make())
            live.shapes = self._auditor.shapes
            live.state.models(self._auditor.model, self._auditor.reference)
            if made.unprovable:
                raise WorkerLost("unavailable", made.unprovable)
            self._build(live, made.task)
            begin = time.perf_counter()
            proof = self._auditor.ask(JudgeProof(self._claims(live, made)), before=self._make())
        except AuditorLost as lost:
            raise WorkerLost("audit", f"parity cannot be judged: {lost}") from None
        live.state.phases["parity"] = time.perf_counter() - begin
        live.state.proven(proof)
        if proof.difference:
            allowed = proof.allowed.get(proof.difference, proof.tolerance)
            raise WorkerLost(
                "parity",
                f"{proof.difference} differs from the reference by "
                f"{proof.errors[proof.difference]:.1e}, allowed is {allowed:.0e}",
            )

    def rebuild(self, live: LiveTrial, task: Task, start: Parameters | None) -> None:
        """Build the instance that is timed."""
        given = live.give_parameters(start) if start is not None else None
        live.channel.ask(Drop(), self._timeout)
        live.restart_peak_memory()
        request = Build(task, live.give(self._batches), given)
        answer = live.channel.ask(request, self._timeout)
        live.state.phases["rebuild"] = answer.build_seconds + answer.prepare_seconds

    def _make(self) -> MakeProof:
        if self._request is None:
            path = self._folder / "own-batches.npy"
            write_batches(path, self._batches)
            self._request = MakeProof(File.of(path), str(self._folder))
        return self._request

    def _build(self, live: LiveTrial, task: Task) -> None:
        own = replace(task, mode=live.trial.mode)
        request = Build(own, live.give(self._batches), None)
        answer = live.channel.ask(request, self._timeout)
        live.state.phases["build"] = answer.build_seconds
        live.state.phases["prepare"] = answer.prepare_seconds

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
