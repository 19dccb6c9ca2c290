"""A stage for the conductor: workers, an auditor and a probe that answer at once."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from lstmbench import reference
from lstmbench.audit import messages as audit
from lstmbench.backend import Task
from lstmbench.batches import Batches, window_count
from lstmbench.protocol import D2L
from lstmbench.runner.channel import Launch
from lstmbench.worker import messages
from lstmbench.worker.arrays import read_batches, write_parameters

TEXT = "the time traveller smiled round at us " * 300
SMALL = D2L.override({"epochs": 5, "batch_size": 4, "steps": 5, "hidden_size": 3})
SMALL_TASK = Task(SMALL.model(16), SMALL.training, "cpu", "eager", "float32", 2, 0)
#: Of an epoch of SMALL over the text's first 10,000 tokens.
TOKENS = window_count(10_000, 4, 5) * 4 * 5
PROOF = audit.Proof(
    worst=1e-6,
    tolerance=1e-4,
    errors={"text: loss": 1e-6},
    allowed={},
    shape=(1, 2, 3),
    cut=False,
    difference=None,
)
#: Of no process: no system counts so far.
NO_PID = 2**22 + 1
Script = dict[tuple[str, str, int], Exception]


class Stage:
    """Hands out channels that answer at once, and notes every request.

    ``script`` makes the n-th request of a name to a backend, to the ``probe`` or to the ``audit``
    raise instead. Epochs from parameters that were loaded are called ``challenge``.
    """

    def __init__(self, script: Script) -> None:
        self.script = script
        self.folder = Path()
        self.asked: list[tuple[str, str]] = []
        self.matmuls: list[tuple[str, str]] = []
        self.work: list[tuple[str, str]] = []
        self.offers: dict[str, float] = {}
        self.library = "fake"
        self.loads: dict[str, messages.LoadTrial] = {}
        self.builds: dict[str, list[messages.Build]] = {}
        self.batches: dict[str, list[Batches]] = {}
        self.timeouts: dict[str, set[float]] = {}
        self.answers: dict[tuple[str, str, int], messages.Answer] = {}
        self.audited: list[messages.Request[Any]] = []
        self.environments: list[dict[str, str]] = []
        self.open: list[Any] = []
        self.max_open = 0

    def start(self, launch: Launch) -> Any:
        if launch.module == "lstmbench.worker.probe":
            return FakeProbe(self)
        if launch.module == "lstmbench.audit":
            self.open.append(FakeAuditor(self))
            return self.open[-1]
        launch.log.write_text("a line\n")
        self.environments.append(dict(launch.environment))
        self.open.append(FakeChannel(self, launch.log.name.partition("-")[0]))
        workers = [channel for channel in self.open if isinstance(channel, FakeChannel)]
        self.max_open = max(self.max_open, len(workers))
        return self.open[-1]

    def cpus(self, threads: int) -> list[int] | None:
        return list(range(threads))

    def answer(self, key: tuple[str, str, int], answer: messages.Answer) -> messages.Answer:
        """What is answered, unless the script has something else."""
        if key in self.script:
            raise self.script[key]
        return self.answers.get(key, answer)

    def closed(self, channel: Any) -> None:
        if channel in self.open:
            self.open.remove(channel)


class FakeChannel:
    pid, marker = NO_PID, ""

    def __init__(self, stage: Stage, name: str) -> None:
        self.stage, self.name, self.counts = stage, name, dict[str, int]()
        self.folder = stage.folder / f"worker-{len(stage.environments)}"
        self.folder.mkdir()
        self.parameters: Path | None = None
        self.challenged = False

    def ask(self, request: messages.Request[Any], timeout: float) -> Any:
        messages.encode_request(1, request)  # as a real channel would
        stage, name = self.stage, request.name
        if name == "epoch" and self.challenged:
            name = "challenge"
        self.counts[name] = self.counts.get(name, 0) + 1
        if name in ("epoch", "challenge", "matmul", "wait_until_idle", "evaluate"):
            stage.work.append((name, self.name))
        if name == "matmul":
            stage.matmuls.append((self.name, name))
        elif name != "wait_until_idle":
            stage.asked.append((name, self.name))
            stage.timeouts.setdefault(name, set()).add(timeout)
        key = (self.name, name, self.counts[name])
        if key in stage.script:
            raise stage.script[key]
        return stage.answer(key, self.answer(request, self.counts[name]))

    def answer(self, request: messages.Request[Any], count: int) -> messages.Answer:
        match request:
            case messages.LoadTrial():
                self.stage.loads[self.name] = request
                return messages.TrialLoaded(import_seconds=1.0, imported_bytes=1)
            case messages.Build(task, _, given):
                self.stage.builds.setdefault(self.name, []).append(request)
                self.parameters = self.folder / "now"
                if given is None:
                    native = reference.draw_parameters(task.model, 99)
                    with self.parameters.open("wb") as file:
                        write_parameters(file, native)
                else:
                    shutil.copyfile(given, self.parameters)
                return messages.Built(build_seconds=1.0, prepare_seconds=2.0)
            case messages.LoadParameters():
                self.challenged = True
                return messages.Done()
            case messages.SaveParameters(path):
                assert self.parameters is not None
                shutil.copyfile(self.parameters, path)
                return messages.Done()
            case messages.Ping() | messages.Drop():
                return messages.Done()
            case messages.TrainEpoch(path):
                batches = read_batches(path)
                if not self.challenged:
                    self.stage.batches.setdefault(self.name, []).append(batches)
                return messages.EpochTrained(0.5, 200.0 / count, batches.tokens)
            case messages.Matmul():
                offer = self.stage.offers.get(self.name)
                return messages.Timed(None if offer is None else [offer])
            case messages.WaitUntilIdle():
                return messages.Idle(True)
            case messages.Evaluate(path):
                return messages.Evaluated(50.0, read_batches(path).tokens)
            case messages.Generate():
                return messages.Generated([[1, 2]] * 2, seconds=0.5)
            case messages.Finish():
                return messages.Finished({"kernel": "fake"}, {"peak": 2})
        raise AssertionError(request)

    def close(self) -> None:
        self.stage.closed(self)


class FakeAuditor:
    """Finds everything as it should be. A proof asks for no epoch."""

    pid, marker = NO_PID, ""

    def __init__(self, stage: Stage) -> None:
        self.stage, self.folder = stage, stage.folder

    def ask(self, request: messages.Request[Any], timeout: float) -> Any:
        self.stage.audited.append(request)
        count = [each.name for each in self.stage.audited].count(request.name)
        return self.stage.answer(("audit", request.name, count), self.answer(request))

    def answer(self, request: messages.Request[Any]) -> messages.Answer:
        match request:
            case audit.LoadAudit(task):
                self.task = task
                return audit.AuditLoaded()
            case audit.MakeProof():
                return audit.ProofMade(self.task, [], cut=False)
            case audit.JudgeProof():
                return PROOF
        return audit.Audited({"parameters": 1e-6}, {"parameters": 1e-4})

    def close(self) -> None:
        self.stage.closed(self)


class FakeProbe:
    """NumPy's part; ``script`` may lose it under the name ``probe``."""

    pid = NO_PID

    def __init__(self, stage: Stage) -> None:
        self.stage, self.counts = stage, dict[str, int]()

    def ask(self, request: messages.Request[Any], timeout: float) -> Any:
        name = request.name
        self.counts[name] = self.counts.get(name, 0) + 1
        error = self.stage.script.get(("probe", name, self.counts[name]))
        if error:
            raise error
        if isinstance(request, messages.LoadProbe):
            return messages.ProbeLoaded(self.stage.library)
        self.stage.work.append((name, "probe"))
        if isinstance(request, messages.WaitUntilIdle):
            return messages.Idle(True)
        self.stage.matmuls.append(("probe", name))
        return messages.Timed([1.0])

    def close(self) -> None:
        self.stage.matmuls.append(("probe", "close"))


class Noting:
    def __init__(self) -> None:
        self.seen: list[tuple[str, Any]] = []

    def phase(self, trial: Any, name: str) -> None:
        self.seen.append((trial.backend, name))

    def epoch(self, trial: Any, done: int, perplexity: float | None, rate: float) -> None:
        self.seen.append((trial.backend, done))

    def recorded(self, record: Any) -> None:
        self.seen.append((record.trial.backend, str(record.status)))
