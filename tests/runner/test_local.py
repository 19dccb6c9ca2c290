"""Workers as child processes: a clean environment, private pipes, nothing left behind."""

from __future__ import annotations

import os
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from lstmbench.runner.channel import Launch, WorkerLost
from lstmbench.runner.local import LocalChannel, LocalExecutor

HEAD = """
import json, os, signal, subprocess, sys, time
commands, answers = (int(a) for a in sys.argv[1:])
reader, writer = os.fdopen(commands), os.fdopen(answers, "w")

def answer(value):
    writer.write(json.dumps({"answer": value}) + "\\n")
    writer.flush()

"""
Start = Callable[..., LocalChannel]


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    import tempfile

    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.fixture
def start(tmp_path: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """Starts a child that runs ``body``."""
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.syspath_prepend(str(site))
    channels = []

    def launch(body: str, threads: int = 1, **environment: str) -> LocalChannel:
        (site / "child.py").write_text(HEAD + textwrap.dedent(body))
        log = tmp_path / "log"
        channels.append(LocalChannel(Launch(log, threads, environment, module="child")))
        return channels[-1]

    yield launch
    for channel in channels:
        channel.close()


ECHO = """
for line in reader:
    answer(json.loads(line))
"""


def test_question_and_answer(start: Start) -> None:
    channel = start(ECHO)
    for value in (1, "zwölf\n", [None, 1.5]):
        assert channel.ask({"value": value}, 60) == {"value": value}


def test_long_lines_pass_both_ways(start: Start) -> None:
    channel = start(ECHO)
    long = {"text": "x" * 1_000_000}
    assert channel.ask(long, 60) == long


def test_the_environment_is_clean_and_threads_are_set(
    start: Start, monkeypatch: pytest.MonkeyPatch, scratch: Path
) -> None:
    monkeypatch.setenv("OMP_WAIT_POLICY", "PASSIVE")
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    monkeypatch.setenv("OMP_NUM_THREADS", "99")
    monkeypatch.setenv("LSTMBENCH_DATA_DIR", "/secret")
    seen = start(
        "reader.readline()\nanswer(dict(os.environ))", threads=3, MY_SETTING="1", NPROC="7"
    ).ask({}, 60)
    for name in ("OMP_WAIT_POLICY", "KERAS_BACKEND", "LSTMBENCH_DATA_DIR"):
        assert name not in seen
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "TF_NUM_INTRAOP_THREADS"):
        assert seen[name] == "3"
    assert seen["MY_SETTING"] == "1"
    assert seen["NPROC"] == "7"
    assert Path(seen["TMPDIR"]).parent == scratch
    assert seen["PATH"] == os.environ["PATH"]


def test_standard_output_and_error_go_to_the_log(start: Start, tmp_path: Path) -> None:
    channel = start(
        """
        reader.readline()
        print('{"answer": "garbage"}', flush=True)
        os.write(2, b"\\xff\\xfe\\x00 bytes\\n")
        answer("proper")
        """
    )
    assert channel.ask({}, 60) == "proper"
    log = (tmp_path / "log").read_bytes()
    assert b"garbage" in log
    assert b"\xff\xfe\x00 bytes" in log


@pytest.mark.parametrize(
    ("body", "reason", "words"),
    [
        ("os._exit(1)", "exit", "exit status 1"),
        ("os._exit(0)", "exit", "exit status 0"),
        ("sys.exit(7)", "exit", "exit status 7"),
        ("raise SystemError", "exit", "exit status 1"),
        ("os.kill(os.getpid(), signal.SIGKILL)", "signal", "SIGKILL"),
        ("os.kill(os.getpid(), signal.SIGSEGV)", "signal", "SIGSEGV"),
        ("reader.readline(); time.sleep(600)", "timeout", "no answer within 0.5 s"),
        ("writer.write('{\"answer\"'); writer.flush(); time.sleep(600)", "timeout", "0.5 s"),
        ("print('nonsense', file=writer, flush=True); time.sleep(600)", "protocol", "nonsense"),
        ("print('[]', file=writer, flush=True); time.sleep(600)", "protocol", "[]"),
        ("print('{}', file=writer, flush=True); time.sleep(600)", "protocol", "{}"),
        ("print('{\"error\": 5}', file=writer, flush=True); time.sleep(600)", "protocol", "error"),
    ],
)
def test_a_worker_that_is_lost_says_how(
    start: Start, scratch: Path, body: str, reason: str, words: str
) -> None:
    # those that answer at once must not wait for Python to start within half a second
    channel = start(f"{body}")
    seconds = 0.5 if reason == "timeout" else 60
    with pytest.raises(WorkerLost) as lost:
        channel.ask({}, seconds)
    assert lost.value.reason == reason
    assert words in str(lost.value)
    channel.close()
    assert list(scratch.iterdir()) == []


def test_an_error_carries_its_detail(start: Start) -> None:
    error = {"reason": "parity", "message": "differs", "parity": {"worst": 1}}
    channel = start(f"print(json.dumps({{'error': {error!r}}}), file=writer, flush=True)")
    with pytest.raises(WorkerLost) as lost:
        channel.ask({}, 60)
    assert (lost.value.reason, str(lost.value)) == ("parity", "differs")
    assert lost.value.detail == {"parity": {"worst": 1}}


GRANDCHILD = """
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
reader.readline()
answer(child.pid)
reader.readline()
"""


def gone(pid: int) -> bool:
    try:
        _, alive = psutil.wait_procs([psutil.Process(pid)], timeout=20)
    except psutil.NoSuchProcess:
        return True
    return not alive or alive[0].status() == psutil.STATUS_ZOMBIE


@pytest.mark.parametrize("end", ["", "os._exit(1)", "os.kill(os.getpid(), signal.SIGKILL)"])
def test_what_a_worker_started_goes_with_it(start: Start, end: str) -> None:
    channel = start(GRANDCHILD + end)
    pid = channel.ask({}, 60)
    assert psutil.pid_exists(pid)
    if end:
        with pytest.raises(WorkerLost):
            channel.ask({}, 60)
    channel.close()
    assert gone(pid)


def test_closing_twice_is_harmless(start: Start, scratch: Path) -> None:
    channel = start(ECHO)
    assert len(list(scratch.iterdir())) == 1
    channel.close()
    channel.close()
    assert list(scratch.iterdir()) == []


def test_asking_after_the_worker_has_gone(start: Start) -> None:
    channel = start("reader.readline(); pid = os.getpid(); answer(pid); os._exit(4)")
    os.waitid(os.P_PID, channel.ask({}, 60), os.WEXITED | os.WNOWAIT)
    with pytest.raises(WorkerLost) as lost:
        channel.ask({}, 60)
    assert lost.value.reason == "exit"
    assert "4" in str(lost.value)


@pytest.mark.skipif(sys.platform == "win32", reason="descriptors are inherited otherwise there")
def test_no_descriptor_leaks(start: Start) -> None:
    before = psutil.Process().num_fds()
    for _ in range(3):
        channel = start(ECHO)
        channel.ask({}, 60)
        channel.close()
    assert psutil.Process().num_fds() == before


def test_a_log_that_cannot_be_opened_leaves_nothing(tmp_path: Path, scratch: Path) -> None:
    before = psutil.Process().num_fds()
    with pytest.raises(OSError, match="No such file"):
        LocalExecutor().start(Launch(tmp_path / "none" / "log", 1))
    assert list(scratch.iterdir()) == []
    assert psutil.Process().num_fds() == before
