"""Ctrl-C and worse: finished epochs are kept, and no process is left behind."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import psutil
import pytest

from lstmbench.runner.interrupts import deferred_interrupts

PLUGIN = """
from lstmbench import BackendSpec, hookimpl

@hookimpl
def lstmbench_backends():
    for name, factory in (("slow", "Slow"), ("unprepared", "SlowToPrepare"), ("other", "Slow")):
        yield BackendSpec(name, "", f"faulty_backends:{factory}", {"cpu": ("eager",)})
"""


@pytest.fixture
def running(cli: Any) -> Iterator[Any]:
    """Starts a long run and waits for a line of it; yields process and descendants."""
    cli.plugin("waiting", PLUGIN)
    started: list[subprocess.Popen[str]] = []

    def start(backends: str, until: str, *more: str) -> tuple[Any, list[psutil.Process]]:
        process = cli.start(*cli.tiny_run, "--backends", backends, "--epochs", "100", *more)
        started.append(process)
        for line in process.stderr:
            if until in line:
                return process, psutil.Process(process.pid).children(recursive=True)
        raise AssertionError(f"never said {until!r}")

    yield start
    for process in started:
        process.kill()
        process.communicate()


def gone(processes: list[psutil.Process]) -> bool:
    _, alive = psutil.wait_procs(processes, timeout=20)
    return all(process.status() == psutil.STATUS_ZOMBIE for process in alive)


@pytest.mark.parametrize(
    "number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT], ids=lambda n: n.name
)
def test_an_interrupted_run_keeps_what_is_finished(cli: Any, running: Any, number: int) -> None:
    process, children = running("slow,numpy", "slow:eager cpu: epoch 10/100")
    assert len(children) == 4  # with the probe and the auditor
    process.send_signal(number)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert gone(children)
    records = cli.records()
    assert {r["status"] for r in records.values()} == {"interrupted"}
    assert len(records["slow"]["epochs"]["nats"]) >= 10
    assert abs(len(records["slow"]["epochs"]["nats"]) - len(records["numpy"]["epochs"]["nats"])) < 2
    assert list(cli.scratch.iterdir()) == []
    assert "interrupted" in out
    (folder,) = cli.runs()
    assert "interrupted" in (folder / "table.md").read_text()
    assert (folder / "perplexity.svg").exists()
    assert cli("report", folder).returncode == 0


def test_trials_that_never_began_are_recorded_too(cli: Any, running: Any) -> None:
    process, children = running("slow,other", "slow:eager cpu: epoch 10/100", "--no-interleave")
    assert len(children) == 3  # with the probe and the auditor
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=300)
    assert process.returncode == 130
    assert gone(children)
    records = cli.records()
    assert {r["status"] for r in records.values()} == {"interrupted"}
    assert records["other"]["epochs"]["nats"] == []


def test_an_interruption_while_preparing(cli: Any, running: Any) -> None:
    process, children = running("unprepared,numpy", "unprepared:eager cpu: preparing")
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=300)
    assert process.returncode == 130
    assert gone(children)
    assert {r["status"] for r in cli.records().values()} == {"interrupted"}
    assert list(cli.scratch.iterdir()) == []


def test_a_second_interruption_does_not_stop_the_records(cli: Any, running: Any) -> None:
    process, children = running("slow,numpy", "slow:eager cpu: epoch 10/100")
    process.send_signal(signal.SIGINT)
    assert any("interrupted" in line for line in process.stderr)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=300)
    assert process.returncode == 130
    assert gone(children)
    assert set(cli.records()) == {"slow", "numpy"}


def test_an_interruption_waits_whichever_thread_is_asked_first() -> None:
    done = threading.Event()
    thread = threading.Thread(target=done.wait)  # as that of a library, which blocks no signal
    thread.start()
    reached = []

    def interrupted() -> None:
        with deferred_interrupts(), deferred_interrupts():
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.1)
            reached.append("the end")
        reached.append("beyond")

    try:
        with pytest.raises(KeyboardInterrupt):
            interrupted()
    finally:
        done.set()
    assert reached == ["the end"]


def test_an_interruption_before_the_run_writes_nothing(cli: Any) -> None:
    process = cli.start("run", "--backends", "numpy", "--store", cli.store, LSTMBENCH_DATA_DIR="/")
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=300)
    assert process.returncode in (130, -signal.SIGINT)
    assert not cli.runs()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a child with its parent")
def test_a_run_that_is_killed_leaves_no_process_and_no_epoch_is_lost(
    cli: Any, running: Any
) -> None:
    process, children = running("slow,numpy", "slow:eager cpu: epoch 10/100")
    assert len(children) == 4  # with the probe and the auditor
    process.kill()
    process.wait(60)
    assert gone(children)
    (folder,) = cli.runs()
    assert list((folder / "records").iterdir()) == []
    report = cli("report", folder)
    assert report.returncode == 0
    assert f"run {folder.name} was killed: 2 trials are recorded as interrupted" in report.stderr
    records = cli.records()
    assert {r["status"] for r in records.values()} == {"interrupted"}
    assert len(records["slow"]["epochs"]["nats"]) >= 10
    assert records["slow"]["parity"]["worst"] < 1e-4
    assert not (folder / "journal").exists()
    assert cli("report", folder).stderr == ""
    assert cli("verify", folder).returncode == 0


@pytest.mark.slow
def test_what_a_killed_run_left_behind_is_gone_after_the_next(cli: Any, running: Any) -> None:
    process, children = running("slow,numpy", "slow:eager cpu: epoch 10/100")
    process.kill()
    process.wait(60)
    assert gone(children)
    assert list(cli.scratch.iterdir())
    (killed,) = cli.runs()
    done = cli.run("--backends", "numpy", "--epochs", "1")
    assert done.returncode == 0, done.stderr
    assert list(cli.scratch.iterdir()) == []
    assert f"run {killed.name} was killed" in done.stderr
    assert len(list((killed / "records").iterdir())) == 2


@pytest.mark.slow
def test_a_run_that_is_on_its_way_is_left_alone(
    cli: Any, running: Any, tmp_path_factory: pytest.TempPathFactory
) -> None:
    process, _ = running("slow,numpy", "slow:eager cpu: epoch 10/100")
    (folder,) = cli.runs()
    before = set(cli.scratch.iterdir())
    report = cli("report", folder)
    assert "was killed" not in report.stderr
    assert list((folder / "records").iterdir()) == []
    # it would wait for the other one's device
    locks = str(tmp_path_factory.mktemp("locks"))
    done = cli.run("--backends", "numpy", "--epochs", "1", LSTMBENCH_LOCK_DIR=locks)
    assert done.returncode == 0, done.stderr
    assert before <= set(cli.scratch.iterdir())
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=300)
    assert process.returncode == 130
    assert list(cli.scratch.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("stream", ["stderr", "stdout"])
def test_a_stream_whose_reader_goes_away_ends_no_run(cli: Any, running: Any, stream: str) -> None:
    process, _ = running("numpy,other", "epoch 10/100")
    getattr(process, stream).close()
    other = process.stdout if stream == "stderr" else process.stderr
    said = other.read()
    process.wait(300)
    assert "Traceback" not in said
    assert process.returncode == 0
    records = cli.records()
    assert {(r["status"], len(r["epochs"]["nats"])) for r in records.values()} == {("ok", 100)}
    (folder,) = cli.runs()
    assert (folder / "table.md").exists()


@pytest.mark.slow
def test_a_run_that_is_to_outlive_its_terminal_does(cli: Any, running: Any) -> None:
    """As under ``nohup``, which has SIGHUP ignored."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        process, _ = running("numpy,other", "epoch 10/100")
    finally:
        signal.signal(signal.SIGHUP, before)
    process.send_signal(signal.SIGHUP)
    process.communicate(timeout=300)
    assert process.returncode == 0
    assert {record["status"] for record in cli.records().values()} == {"ok"}


def test_a_terminal_that_goes_away_ends_no_run_that_ignores_it(cli: Any) -> None:
    master, terminal = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "lstmbench", *cli.tiny_run, "--backends", "numpy"],
        env=cli.environment(TERM="xterm"),
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN),
    )
    os.close(terminal)
    said = b""
    while b"preparing" not in said:
        said += os.read(master, 1024)
    os.close(master)
    process.wait(300)
    assert cli.records()["numpy"]["status"] == "ok"
    assert (cli.runs()[0] / "table.md").exists()
