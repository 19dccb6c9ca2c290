"""A worker that takes more memory than it was given."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from lstmbench.runner.channel import Launch, WorkerLost
from lstmbench.runner.local import LocalChannel
from lstmbench.worker.messages import Ping

MIB = 2**20
CHILD = """
import json, os, subprocess, sys, time
requests, replies = (int(a) for a in sys.argv[1:])
reader, writer = os.fdopen(requests), os.fdopen(replies, "w")

def take(mib):
    return bytearray(mib * 2**20)

request = json.loads(reader.readline())
{body}
writer.write(json.dumps({{"number": request["number"], "answer": {{}}}}) + "\\n")
writer.flush()
time.sleep(60)
"""
#: What a worker does, and whether that is more than 200 MiB.
BODIES = {
    "little": ("held = take(20)", False),
    "much at once": ("held = take(300); time.sleep(30)", True),
    "much for a moment": ("held = take(300); del held; time.sleep(30)", True),
    "slowly": ("held = [(take(10), time.sleep(0.05)) for _ in range(30)]; time.sleep(30)", True),
    "much, but not touched": (
        "import mmap; held = mmap.mmap(-1, 2**34); time.sleep(0.7)",
        False,
    ),
    "by a process of its own": (
        "subprocess.run([sys.executable, '-c', 'import time; a = bytearray(300 * 2**20);'"
        "'time.sleep(30)'])",
        True,
    ),
    "shared with its children": (
        "held = take(120)\nfor _ in range(3):\n    if not os.fork(): time.sleep(60)\ntime.sleep(1)",
        False,
    ),
}
Start = Callable[[str, int | None], LocalChannel]


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    monkeypatch.syspath_prepend(str(tmp_path))
    channels = []

    def launch(body: str, limit: int | None) -> LocalChannel:
        (tmp_path / "child.py").write_text(CHILD.format(body=body))
        channels.append(LocalChannel(Launch(tmp_path / "log", 1, module="child", memory=limit)))
        return channels[-1]

    yield launch
    for channel in channels:
        channel.close()


@pytest.mark.skipif(sys.platform != "linux", reason="the system's account is Linux's")
@pytest.mark.parametrize(("body", "much"), BODIES.values(), ids=BODIES)
def test_what_is_too_much(start: Start, body: str, much: bool) -> None:
    channel = start(body, 200 * MIB)
    if not much:
        channel.ask(Ping(), 60.0)
        return
    with pytest.raises(WorkerLost, match="more than --memory-limit allows: 200 MiB") as lost:
        channel.ask(Ping(), 60.0)
    assert lost.value.reason == "memory"
    assert not psutil.pid_exists(channel.pid)


def test_without_a_limit_nothing_is_looked_at(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    def look(_pid: int) -> int:
        raise AssertionError("looked")

    monkeypatch.setattr("lstmbench.machine.resident.peak", look)
    start("held = take(300)", None).ask(Ping(), 60.0)


PLUGIN = """
from lstmbench import BackendSpec, hookimpl
from lstmbench_numpy.backend import NumpyBackend

class Grows(NumpyBackend):
    built = 0

    def __init__(self, task):
        super().__init__(task)
        type(self).built += 1
        self.held = []

    def train_epoch(self, batches):
        if self.built == 2:
            self.held.append(bytearray(400 * 2**20))
        return super().train_epoch(batches)

@hookimpl
def lstmbench_backends():
    yield BackendSpec("grows", "", "grows:Grows", {"cpu": ("eager",)})
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the system's account is Linux's")
def test_an_excess_is_a_row_and_the_others_go_on(cli: Any) -> None:
    cli.plugin("grows", PLUGIN)
    done = cli.run("--backends", "grows,numpy", "--memory-limit", "600MiB", "--batch-size", "32")
    assert done.returncode == 1, done.stderr
    records = cli.records()
    assert records["numpy"]["status"] == "ok"
    assert (records["grows"]["status"], records["grows"]["reason"]) == ("failed", "memory")
    assert "--memory-limit allows: 600 MiB" in records["grows"]["message"]
    assert "failed: memory" in done.stdout


@pytest.mark.parametrize(
    ("size", "said"),
    [("8GX", "no size such as 8GiB"), ("0", "no size"), ("-1", "no size"), ("1MB", "at least 32")],
)
def test_a_size_that_is_none_is_one_line(
    call: Any, one_line: Callable[..., None], size: str, said: str
) -> None:
    one_line(call("run", "--backends", "numpy", f"--memory-limit={size}"), said)


@pytest.mark.parametrize(
    ("text", "size"), [("8GiB", 8 * 2**30), ("1.5 GB", 15 * 10**8), ("64MiB", 2**26), ("7", 7)]
)
def test_sizes(text: str, size: int) -> None:
    from lstmbench.commands.options import Size

    assert Size().convert(text, None, None) == size
