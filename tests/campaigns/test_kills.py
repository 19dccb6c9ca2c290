"""Runs that are killed at a random moment, one after the other in one store.

``LSTMBENCH_KILLS`` is the number of runs. Each is the next start of those before it, so that what
they left must be recovered and gone once it is on its way. Every other one goes on at once with
``--resume``, and of these every other is killed again; all others go on at the end. Whatever is
killed:

- no record of a trial that had ended is changed or lost, though it is set aside if its group is
  run again;
- no epoch is lost that had ended when the next one began;
- no process outlives the run, and none that a backend started outlives the next start;
- no scratch folder and no journal outlives the next start;
- a run that has gone on is complete: every trial of its plan is ok, and its records verify.
"""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest

RUNS = int(os.environ.get("LSTMBENCH_KILLS", "13"))
#: Of the choice of moments; they differ all the same, as machines are never equally fast.
SEED = int(os.environ.get("LSTMBENCH_KILLS_SEED", "0"))
EPOCHS = 10
#: Seconds that anything may take on a busy machine.
MAX_SECONDS = 300
#: Every epoch of the timed instance first notes that those before it have ended. The log says
#: where. One backend starts a process that nothing but the host would end.
PLUGIN = """
import os, subprocess, time
from pathlib import Path
from lstmbench import BackendSpec, hookimpl
from lstmbench_numpy.backend import NumpyBackend

class Witness(NumpyBackend):
    built = 0

    def __init__(self, task):
        super().__init__(task)
        type(self).built += 1
        self.notes = None
        if self.built == 2:
            self.notes = Path({folder!r}, f"{{time.time_ns()}}-{{os.getpid()}}")
            print(f"witness {{self.notes}}", flush=True)

    def train_epoch(self, batches):
        if self.notes:
            with self.notes.open("a") as notes:
                notes.write("x")
            time.sleep(0.05)
        return super().train_epoch(batches)

class Parent(Witness):
    def __init__(self, task):
        super().__init__(task)
        if self.notes:
            subprocess.Popen(["sleep", "3600"], start_new_session=True)

@hookimpl
def lstmbench_backends():
    for name in ("Witness", "Parent"):
        yield BackendSpec(name.lower(), "", f"witnesses:{{name}}", {{"cpu": ("eager",)}})
"""


@dataclass
class Started:
    """A run on its way, and what must be true of it later."""

    process: subprocess.Popen[str]
    folder: Path | None = None
    recorded: dict[Path, bytes] = field(default_factory=dict)
    said: list[str] = field(default_factory=list)


def workers(run: Started) -> list[psutil.Process]:
    with suppress(psutil.Error):
        return psutil.Process(run.process.pid).children(recursive=True)
    return []


def to_host(*numbers: signal.Signals) -> Callable[[Started, random.Random], None]:
    def send(run: Started, chance: random.Random) -> None:
        for number in numbers:
            run.process.send_signal(number)
            time.sleep(chance.uniform(0, 0.5))

    return send


def to_group(run: Started, chance: random.Random) -> None:
    """As a terminal and a batch system do."""
    with suppress(ProcessLookupError):
        os.killpg(run.process.pid, signal.SIGTERM)


def to_worker(run: Started, chance: random.Random) -> None:
    for worker in chance.sample(found := workers(run), min(1, len(found))):
        with suppress(psutil.Error):
            worker.kill()


def stopped_worker(run: Started, chance: random.Random) -> None:
    for worker in chance.sample(found := workers(run), min(1, len(found))):
        with suppress(psutil.Error):
            worker.suspend()
            time.sleep(chance.uniform(0, 2))
            worker.kill()


def stopped_worker_of_killed_host(run: Started, chance: random.Random) -> None:
    for worker in chance.sample(found := workers(run), min(1, len(found))):
        with suppress(psutil.Error):
            worker.suspend()
    time.sleep(chance.uniform(0, 0.5))
    run.process.kill()


def close_stdout(run: Started, chance: random.Random) -> None:
    assert run.process.stdout
    run.process.stdout.close()


def close_both(run: Started, chance: random.Random) -> None:
    """As a terminal that goes away while SIGHUP is ignored."""
    assert run.process.stdout
    assert run.process.stderr
    run.process.stdout.close()
    run.process.stderr.close()


KINDS: dict[str, Callable[[Started, random.Random], None]] = {
    "SIGKILL host": to_host(signal.SIGKILL),
    "SIGKILL worker": to_worker,
    "SIGTERM host": to_host(signal.SIGTERM),
    "SIGTERM group": to_group,
    "SIGINT": to_host(signal.SIGINT),
    "SIGINT twice": to_host(signal.SIGINT, signal.SIGINT),
    "SIGHUP": to_host(signal.SIGHUP),
    "SIGHUP, SIGTERM, SIGKILL": to_host(signal.SIGHUP, signal.SIGTERM, signal.SIGKILL),
    "SIGQUIT": to_host(signal.SIGQUIT),
    "SIGSTOP, SIGKILL worker": stopped_worker,
    "SIGSTOP worker, SIGKILL host": stopped_worker_of_killed_host,
    "stdout closed": close_stdout,
    "stdout and stderr closed": close_both,
}
#: Nothing but the streams is lost, so that the run is whole.
HARMLESS = {"stdout closed", "stdout and stderr closed"}


class Campaign:
    def __init__(self, cli: Any) -> None:
        self.cli = cli
        self.witnesses = cli.folder / "witnesses"
        self.witnesses.mkdir()
        cli.plugin("witnesses", PLUGIN.format(folder=str(self.witnesses)))
        self.ended: list[Started] = []
        self.codes: Counter[tuple[str, int]] = Counter()
        self.before: set[Path] = set()
        self.leftovers: set[Path] = set()
        self.whole: list[Path] = []

    def start(self, repeats: int = 2) -> Started:
        trials = ("--backends", "witness,parent", "--repeats", str(repeats))
        few_windows = ("--epochs", str(EPOCHS), "--batch-size", "64", "--steps", "20")
        return self._start(*self.cli.tiny_run, *trials, *few_windows)

    def resume(self, folder: Path) -> Started:
        """The run goes on; what failed for it was killed is run again."""
        run = self._start("run", "--resume", str(folder), "--retry")
        run.folder = folder
        return run

    def _start(self, *words: str) -> Started:
        self.before = set(self.cli.runs())
        self.leftovers = set(self.cli.scratch.iterdir())
        process = subprocess.Popen(
            [sys.executable, "-m", "lstmbench", *words],
            cwd=self.cli.folder,
            env=self.cli.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        return Started(process)

    def until(self, run: Started, words: str) -> bool:
        """Whether the run says a line with these words."""
        assert run.process.stderr
        for line in run.process.stderr:
            run.said.append(line)
            if words in line:
                return True
        return False

    def snapshot(self, run: Started) -> None:
        """What is on disk must stay there; asked before anything is sent."""
        for folder in set(self.cli.runs()) - self.before:
            run.folder = folder
        if run.folder is not None:
            for path in (run.folder / "records").glob("*.json"):
                run.recorded[path] = path.read_bytes()

    def wait(self, run: Started) -> None:
        for stream in (run.process.stderr, run.process.stdout):
            if stream and not stream.closed:
                run.said.append(stream.read())
                stream.close()
        run.process.wait(MAX_SECONDS)
        for folder in set(self.cli.runs()) - self.before:
            run.folder = folder
        self.ended.append(run)

    def processes(self) -> list[psutil.Process]:
        """All that have to do with this campaign's runs, by the folder that they were born with."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error, OSError):
                folder = process.environ().get("TMPDIR", "")
                if folder.startswith(str(self.cli.scratch)) and is_alive(process):
                    found.append(process)
        return found

    def check_processes(self, but: str = "") -> None:
        """None is left, ``but`` such as have this name; the system takes a moment to end them."""
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            left = []
            for process in self.processes():
                with suppress(psutil.Error):
                    left.append(process.name())
            if all(name == but for name in left):
                return
            time.sleep(0.1)
        raise AssertionError(f"still running: {left}")

    def check_nothing_left(self) -> None:
        self.check_processes()
        assert list(self.cli.scratch.iterdir()) == []

    def check_earlier(self, on_its_way: Path | None = None) -> None:
        """After the next start: nothing is lost, and nothing left. A run that goes on, later."""
        for folder in self.leftovers:
            assert not folder.exists(), folder
        for process in self.processes():
            with suppress(psutil.Error):
                assert Path(process.environ()["TMPDIR"]) not in self.leftovers, process
        for run in self.ended:
            if run.folder is None or run.folder == on_its_way:
                continue
            for path, content in run.recorded.items():
                places = [path, *run.folder.glob(f"replaced/*/{path.name}")]
                assert any(p.exists() and p.read_bytes() == content for p in places), path
            assert not (run.folder / "journal").exists(), run.folder
            for log in run.folder.glob("**/*-eager-*.log"):
                said = re.search(r"witness (\S+)", log.read_text(errors="replace"))
                if said is None:
                    continue
                notes = Path(said[1])
                noted = len(notes.read_text()) if notes.exists() else 0
                finished = min(noted - 1, EPOCHS)  # more may be trained to look at them
                if finished < 1:
                    continue
                beside = run.folder / "records" if log.parent.name == "logs" else log.parent
                record = json.loads((beside / f"{log.stem}.json").read_text())
                kept = len(record["epochs"]["nats"])
                assert kept >= finished, f"{log}: {finished} epochs had ended, {kept} are kept"
        self.ended = [run for run in self.ended if on_its_way and run.folder == on_its_way]

    def go_on(self, folder: Path, chance: random.Random | None = None) -> None:
        """Resume a run to its end; with ``chance``, it is killed once more on the way."""
        if not (folder / "plan.json").exists():
            return  # it had not begun
        if chance:
            again = self.resume(folder)
            if self.until(again, "loading"):
                time.sleep(chance.uniform(0, 3))
                self.snapshot(again)
                again.process.kill()
            self.wait(again)
        last = self.resume(folder)
        if self.until(last, "loading"):
            self.check_earlier(on_its_way=folder)
            self.snapshot(last)
        self.wait(last)
        code = last.process.returncode
        told = "".join(last.said)
        assert code == 0 or (code == 2 and "is complete" in told), told
        planned = json.loads((folder / "plan.json").read_text())["groups"]
        for trial in (trial for group in planned for trial in group):
            record = json.loads((folder / "records" / f"{trial['name']}.json").read_text())
            assert record["status"] == "ok", (trial["name"], record["message"])
        self.whole.append(folder)


def is_alive(process: psutil.Process) -> bool:
    return process.status() != psutil.STATUS_ZOMBIE


@pytest.fixture
def campaign(cli: Any) -> Iterator[Campaign]:
    campaign = Campaign(cli)
    yield campaign
    for process in campaign.processes():
        with suppress(psutil.Error):
            process.kill()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="processes are found by Linux's means")
def test_nothing_is_lost_and_nothing_left(campaign: Campaign) -> None:
    chance = random.Random(SEED)
    began = time.monotonic()
    whole = campaign.start()
    campaign.wait(whole)
    assert whole.process.returncode == 0, whole.said
    usual = time.monotonic() - began
    for number in range(RUNS):
        kind = list(KINDS)[number % len(KINDS)]
        run = campaign.start(repeats=1 + number % 3 // 2)
        if chance.random() < 0.8:  # most of them where there is something to lose
            moment = usual * chance.uniform(0, 0.6)
            on_its_way = campaign.until(run, "loading")
        else:
            moment, on_its_way = usual * chance.uniform(0, 0.4), False
        time.sleep(moment)
        what = f"run {number}, {kind} after {moment:.2f} s{' of loading' if on_its_way else ''}"
        if on_its_way:
            check(what, campaign.check_earlier)
        campaign.snapshot(run)
        KINDS[kind](run, chance)
        campaign.wait(run)
        code = run.process.returncode
        campaign.codes[kind, code] += 1
        print(f"{what}: exit code {code}", flush=True)
        told = "".join(run.said)
        assert "Traceback" not in told or run.folder is None, (what, told)
        if kind in HARMLESS:
            assert code == 0, (what, told)
            assert run.folder is not None
            assert (run.folder / "table.md").exists(), what
        if code >= 0:
            check(what, campaign.check_nothing_left)
        elif "SIGSTOP" not in kind:
            # what a backend started, the host could not end
            check(what, campaign.check_processes, "sleep")
        if number % 2 and run.folder and kind not in HARMLESS:
            check(
                f"{what}, resumed", campaign.go_on, run.folder, chance if number % 4 == 1 else None
            )
    last = campaign.start()
    campaign.wait(last)
    assert last.process.returncode == 0, last.said
    campaign.check_earlier()
    campaign.check_nothing_left()
    for folder in campaign.cli.runs():
        if folder not in campaign.whole:
            check(f"{folder}, resumed", campaign.go_on, folder)
    campaign.check_earlier()
    campaign.check_nothing_left()
    for command in ("report", "verify"):
        done = campaign.cli(command, campaign.cli.store)
        assert done.returncode == 0, (done.stdout, done.stderr)
    print(f"{len(campaign.whole)} runs are complete after --resume")
    for (kind, code), count in sorted(campaign.codes.items()):
        print(f"{kind}: exit code {code} {count} times")


def check(what: str, ask: Callable[..., None], *arguments: Any) -> None:
    """Name the run with what is wrong."""
    try:
        ask(*arguments)
    except Exception as error:
        raise AssertionError(f"{what}: {error}") from error
