"""One run at a time on each device."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from lstmbench.errors import UserError
from lstmbench.machine import facts
from lstmbench.runner import devices
from lstmbench.runner.devices import held, lock_name

#: Holds a device until its standard input ends.
HOLDER = """
import sys
from lstmbench.runner.devices import held
with held(["cpu"], "lstmbench run --backends mine"):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(devices.FOLDER, str(tmp_path / "locks"))
    return tmp_path / "locks"


@pytest.fixture
def holder(place: Path) -> Any:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_who_holds_a_device_is_said_and_since_when_and_why(holder: Any) -> None:
    with pytest.raises(UserError) as refused, held(["cpu"], "another", wait=False):
        raise AssertionError("it is held by another process")
    said = str(refused.value)
    assert f"cpu is in use by process {holder.pid} since 2" in said
    assert ": lstmbench run --backends mine: try later" in said


def test_the_second_waits_until_the_first_has_ended(holder: Any) -> None:
    told: list[str] = []

    def tell(line: str) -> None:
        told.append(line)
        holder.stdin.close()

    with held(["cpu"], "another", tell=tell):
        assert len(told) == 1
        assert told[0].endswith("waiting")


def test_who_was_killed_is_no_obstacle(holder: Any, place: Path) -> None:
    holder.kill()
    holder.wait()
    assert {path.name for path in place.iterdir()} == {"cpu.lock", "cpu.json"}
    told: list[str] = []
    with held(["cpu"], "another", wait=False, tell=told.append):
        assert json.loads((place / "cpu.json").read_text())["pid"] == os.getpid()
    assert told == []
    assert not (place / "cpu.json").exists()


def test_waiting_can_be_interrupted(holder: Any) -> None:
    def interrupt(_line: str) -> None:
        threading.Timer(0.1, signal.raise_signal, [signal.SIGINT]).start()

    with pytest.raises(KeyboardInterrupt), held(["cpu"], "another", tell=interrupt):
        raise AssertionError("it is held by another process")


def test_devices_do_not_wait_for_each_other(holder: Any) -> None:
    with held(["cuda:0", "mps"], "another", wait=False):
        pass


def test_a_run_within_a_run_is_refused_rather_than_waiting_for_itself() -> None:
    with held(["cpu"], "outer"):
        with pytest.raises(UserError, match="cannot wait"), held(["cpu"], "inner"):
            raise AssertionError("it would wait for itself")
        with held(["cuda:0"], "inner"):
            pass
    with held(["cpu"], "again", wait=False):
        pass


def test_threads_of_one_process_wait_for_each_other() -> None:
    inside: list[str] = []

    def use(name: str) -> None:
        # named in different orders: neither waits for what the other one has
        with held(["cpu", "cuda:0"] if name == "a" else ["cuda:0", "cpu"], name):
            inside.append(name)
            assert inside == [name]
            inside.remove(name)

    threads = [threading.Thread(target=use, args=(name,)) for name in "abab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()


def test_where_no_lock_can_be_had_a_run_is_not_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv(devices.FOLDER, str(tmp_path / "file" / "locks"))
    told: list[str] = []
    with held(["cpu"], "it", tell=told.append):
        assert len(told) == 1
        assert "no device is locked" in told[0]


@pytest.mark.parametrize(
    ("visible", "device", "name"),
    [
        (None, "cuda:1", "cuda-1"),
        ("3", "cuda:0", "cuda-3"),
        ("2,5", "cuda:1", "cuda-5"),
        ("GPU-8f1a/x", "cuda:0", "GPU-8f1a_x"),
        ("3", "cuda:4", "cuda_4"),
        ("3", "cpu", "cpu"),
    ],
)
def test_a_gpu_is_called_alike_by_all(
    monkeypatch: pytest.MonkeyPatch, visible: str | None, device: str, name: str
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.delenv("CUDA_DEVICE_ORDER", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    facts.gpus.cache_clear()
    assert lock_name(device) == name


def test_the_default_place_is_no_scratch_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    from lstmbench.runner.scratch import PREFIX

    monkeypatch.delenv(devices.FOLDER)
    assert not devices.folder().name.startswith(PREFIX)


def test_a_run_refuses_or_waits(cli: Any, one_line: Any) -> None:
    environment = {devices.FOLDER: str(cli.folder / "locks")}
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=cli.environment(**environment),
    )
    with process:
        assert process.stdin
        assert process.stdout
        assert process.stdout.readline() == "held\n"
        one_line(cli.run("--backends", "numpy", "--no-wait"), "cpu is in use by process")
        assert cli.runs() == []
        waiting = cli.start(*cli.tiny_run, "--backends", "numpy")
        assert "waiting" in waiting.stderr.readline()
        process.stdin.close()
        _, said = waiting.communicate(timeout=300)
        assert waiting.returncode == 0, said
