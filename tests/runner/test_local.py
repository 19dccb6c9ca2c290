"""Workers as child processes: a clean environment, private pipes, nothing left behind."""

from __future__ import annotations

import json
import os
import resource
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from lstmbench.runner import logs
from lstmbench.runner.channel import Launch, WorkerLost
from lstmbench.runner.local import LocalChannel, LocalExecutor
from lstmbench.worker.messages import INTERFACE, Answer, Matmul, Request

HEAD = """
import json, os, signal, subprocess, sys, time
requests, replies = (int(a) for a in sys.argv[1:])
reader, writer = os.fdopen(requests), os.fdopen(replies, "w")

def read():
    return json.loads(reader.readline())

def reply(request, **message):
    writer.write(json.dumps({"number": request["number"], **message}) + "\\n")
    writer.flush()

def answer(text, request=None):
    reply(request or read(), answer={"text": text})

"""


@dataclass(frozen=True)
class Said(Answer):
    text: str


@dataclass(frozen=True)
class Say(Request[Said], name="say"):
    text: str = ""


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
while True:
    request = read()
    answer(request["fields"]["text"], request)
"""


def test_question_and_answer(start: Start) -> None:
    channel = start(ECHO)
    for text in ("", "zwölf\n", "\udce9 \x00"):
        assert channel.ask(Say(text), 60) == Said(text)


def test_long_lines_pass_both_ways(start: Start) -> None:
    channel = start(ECHO)
    long = "x" * 1_000_000
    assert channel.ask(Say(long), 60) == Said(long)


def test_the_environment_is_clean_and_threads_are_set(
    start: Start, monkeypatch: pytest.MonkeyPatch, scratch: Path
) -> None:
    monkeypatch.setenv("OMP_WAIT_POLICY", "PASSIVE")
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    monkeypatch.setenv("OMP_NUM_THREADS", "99")
    monkeypatch.setenv("LSTMBENCH_DATA_DIR", "/secret")
    body = "answer(json.dumps(dict(os.environ)))"
    seen = json.loads(start(body, threads=3, MY_SETTING="1", NPROC="7").ask(Say(), 60).text)
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
        request = read()
        print('{"answer": "garbage"}', flush=True)
        os.write(2, b"\\xff\\xfe\\x00 bytes\\n")
        answer("proper", request)
        """
    )
    assert channel.ask(Say(), 60) == Said("proper")
    channel.close()
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
        ("print('nonsense', file=writer, flush=True); time.sleep(600)", INTERFACE, "nonsense"),
        ("print('[]', file=writer, flush=True); time.sleep(600)", INTERFACE, "[]"),
        ("print('{}', file=writer, flush=True); time.sleep(600)", INTERFACE, "{}"),
        ("print('[' * 100_000, file=writer, flush=True); time.sleep(600)", INTERFACE, "[["),
        ("reply(read(), error=5); time.sleep(600)", INTERFACE, "error: expected dict, got 5"),
        ("reply(read(), answer=[]); time.sleep(600)", INTERFACE, "answer: expected dict, got []"),
        ("reply(read(), answer={}); time.sleep(600)", INTERFACE, "answer.text: missing"),
        ("answer(5); time.sleep(600)", INTERFACE, "answer.text: expected str, got 5"),
    ],
)
def test_a_worker_that_is_lost_says_how(
    start: Start, scratch: Path, body: str, reason: str, words: str
) -> None:
    # those that answer at once must not wait for Python to start within half a second
    channel = start(f"{body}")
    seconds = 0.5 if reason == "timeout" else 60
    with pytest.raises(WorkerLost) as lost:
        channel.ask(Say(), seconds)
    assert lost.value.reason == reason
    assert words in str(lost.value)
    channel.close()
    assert list(scratch.iterdir()) == []


def test_an_error_is_passed_on(start: Start) -> None:
    error = {"reason": "nan", "message": "the loss is nan"}
    channel = start(f"reply(read(), error={error!r})")
    with pytest.raises(WorkerLost) as lost:
        channel.ask(Say(), 60)
    assert (lost.value.reason, str(lost.value)) == ("nan", "the loss is nan")


def test_a_worker_cannot_judge_itself(start: Start) -> None:
    """Parity and audits are judged elsewhere."""
    error = {"reason": "parity", "message": "differs"}
    channel = start(f"reply(read(), error={error!r})")
    with pytest.raises(WorkerLost) as lost:
        channel.ask(Say(), 60)
    assert lost.value.reason == INTERFACE


def test_one_reply_too_many_does_not_pass_for_the_next(start: Start) -> None:
    channel = start("request = read()\nanswer('a', request)\nanswer('b', request)\n" + ECHO)
    assert channel.ask(Say("a"), 60) == Said("a")
    with pytest.raises(WorkerLost, match="expected a reply to request 2, got one to 1") as lost:
        channel.ask(Say("b"), 60)
    assert lost.value.reason == INTERFACE


@pytest.mark.parametrize("seconds", ["0.0", "-1.0", "1e10", "float('nan')", "float('inf')", "'x'"])
def test_no_time_that_no_clock_shows_is_taken(start: Start, seconds: str) -> None:
    channel = start(f"reply(read(), answer={{'seconds': [0.5, {seconds}]}})")
    with pytest.raises(WorkerLost, match=r"answer\.seconds\.1: expected") as lost:
        channel.ask(Matmul(side=8, count=2), 60)
    assert lost.value.reason == INTERFACE


GRANDCHILD = """
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
answer(str(child.pid))
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
    pid = int(channel.ask(Say(), 60).text)
    assert psutil.pid_exists(pid)
    if end:
        with pytest.raises(WorkerLost):
            channel.ask(Say(), 60)
    channel.close()
    assert gone(pid)


def test_closing_twice_is_harmless(start: Start, scratch: Path) -> None:
    channel = start(ECHO)
    assert len(list(scratch.iterdir())) == 1
    channel.close()
    channel.close()
    assert list(scratch.iterdir()) == []


def test_asking_after_the_worker_has_gone(start: Start) -> None:
    channel = start("answer(str(os.getpid())); os._exit(4)")
    os.waitid(os.P_PID, int(channel.ask(Say(), 60).text), os.WEXITED | os.WNOWAIT)
    with pytest.raises(WorkerLost) as lost:
        channel.ask(Say(), 60)
    assert lost.value.reason == "exit"
    assert "4" in str(lost.value)


@pytest.mark.skipif(sys.platform == "win32", reason="descriptors are inherited otherwise there")
def test_no_descriptor_leaks(start: Start) -> None:
    before = psutil.Process().num_fds()
    for _ in range(3):
        channel = start(ECHO)
        channel.ask(Say(), 60)
        channel.close()
    assert psutil.Process().num_fds() == before


def test_a_log_that_cannot_be_opened_leaves_nothing(tmp_path: Path, scratch: Path) -> None:
    before = psutil.Process().num_fds()
    with pytest.raises(WorkerLost, match="cannot be started: No such file"):
        LocalExecutor().start(Launch(tmp_path / "none" / "log", 1))
    assert list(scratch.iterdir()) == []
    assert psutil.Process().num_fds() == before


@pytest.mark.parametrize("left", range(1, 8))
def test_too_few_descriptors_are_a_worker_that_cannot_start(
    tmp_path: Path, scratch: Path, left: int
) -> None:
    before = psutil.Process().num_fds()
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.dup(0)
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest + left, limits[1]))
    try:
        with pytest.raises(WorkerLost, match="cannot be started: Too many open files"):
            LocalExecutor().start(Launch(tmp_path / "log", 1))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert psutil.Process().num_fds() == before
    assert list(scratch.iterdir()) == []


def test_the_log_s_last_line_says_why(start: Start) -> None:
    with pytest.raises(WorkerLost) as lost:
        start("import no_such_module").ask(Say(), 60)
    assert str(lost.value) == (
        "the worker ended with exit status 1, after "
        "\"ModuleNotFoundError: No module named 'no_such_module'\""
    )


ESCAPES = {
    "a session of its own": "subprocess.Popen(SLEEP, start_new_session=True)",
    "orphaned": "os.fork() or (subprocess.Popen(SLEEP), os._exit(0))",
    "a daemon": """
        if not os.fork():
            os.setsid()
            subprocess.Popen(SLEEP, start_new_session=True)
            os._exit(0)
        os.wait()
    """,
    "a daemon without variables": """
        if not os.fork():
            os.setsid()
            subprocess.Popen(SLEEP, start_new_session=True, env={})
            os._exit(0)
        os.wait()
    """,
}
FAMILY = """
from lstmbench.worker.loop import die_with_parent
die_with_parent()
SLEEP = [sys.executable, "-c", "import time; time.sleep(600)", "{name}"]
"""


def sleepers(name: str) -> list[psutil.Process]:
    return [
        process
        for process in psutil.process_iter(["cmdline"])
        if name in (process.info["cmdline"] or []) and process.status() != psutil.STATUS_ZOMBIE
    ]


@pytest.mark.skipif(sys.platform != "linux", reason="orphans are adopted on Linux")
@pytest.mark.parametrize(
    ("way", "end"),
    [
        (way, end)
        for way in ESCAPES
        for end in ("", "os.kill(os.getpid(), signal.SIGKILL)")
        # of a worker that was killed itself, nothing leads to one
        if not (end and "without variables" in way)
    ],
)
def test_nothing_escapes(start: Start, tmp_path: Path, way: str, end: str) -> None:
    name = f"sleeper-of-{tmp_path}"
    head = FAMILY.format(name=name) + textwrap.dedent(ESCAPES[way])
    channel = start(f"{head}\nanswer('')\nread()\n{end}")
    channel.ask(Say(), 60)
    deadline = time.monotonic() + 60
    while not sleepers(name) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert len(sleepers(name)) == 1
    if end:
        with pytest.raises(WorkerLost):
            channel.ask(Say(), 60)
    channel.close()
    assert sleepers(name) == []


def test_a_child_that_holds_the_pipe_hides_no_death(start: Start) -> None:
    channel = start(
        """
        read()
        if not os.fork():
            time.sleep(600)
        os._exit(3)
        """
    )
    with pytest.raises(WorkerLost, match="exit status 3") as lost:
        channel.ask(Say(), 300)
    assert lost.value.reason == "exit"


def test_an_answer_before_the_end_is_an_answer(start: Start) -> None:
    channel = start("answer('x' * 1_000_000)\nos._exit(0)")
    assert channel.ask(Say(), 60) == Said("x" * 1_000_000)


def test_what_is_printed_without_end_does_not_fill_the_disk(start: Start, tmp_path: Path) -> None:
    channel = start(
        """
        request = read()
        for number in range(400):
            os.write(1, b"x" * (1 << 17))
        print("\\nthe last line", flush=True)
        answer("", request)
        signal.pause()
        """
    )
    assert channel.ask(Say(), 600) == Said("")
    channel.close()
    log = tmp_path / "log"
    assert log.stat().st_size <= logs.MAX_LOG
    assert logs.tail(log, 14) == "the last line\n"
    assert log.read_bytes().startswith(logs.DROPPED)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_log_on_a_full_disk_makes_no_printing_wait() -> None:
    log = logs.Log(Path("/dev/full"))
    for _ in range(4):
        os.write(log.sink, b"x" * 1_000_000)
    os.close(log.sink)
    log.finish()
    assert not log.is_alive()


def test_the_tail_of_a_log(tmp_path: Path) -> None:
    assert logs.tail(tmp_path / "none", 4) == ""
    (tmp_path / "log").write_bytes(b"ab\xff")
    assert logs.tail(tmp_path / "log", 2) == "b\ufffd"
    assert logs.tail(tmp_path / "log", 20) == "ab\ufffd"
    (tmp_path / "link").symlink_to(tmp_path / "log")
    os.mkfifo(tmp_path / "pipe")
    for other in ("link", "pipe"):
        assert logs.tail(tmp_path / other, 4) == ""
