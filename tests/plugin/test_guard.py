"""A plugin's code under guard: it cannot end, hang or talk over the host."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable

import pytest

from lstmbench.plugin.guard import PluginFailed, TookTooLong, exits_raise, guarded


class Wordless(Exception):
    def __str__(self) -> str:
        raise RuntimeError("nor this")


class Odd(BaseException):
    pass


def throw(error: BaseException) -> Callable[[], None]:
    def thrower() -> None:
        raise error

    return thrower


@pytest.mark.parametrize(
    ("act", "words"),
    [
        (throw(ValueError("first\nsecond")), "ValueError: first second"),
        (throw(Odd("no Exception")), "Odd: no Exception"),
        (throw(GeneratorExit()), "GeneratorExit"),
        (throw(StopIteration()), "StopIteration"),
        (throw(ValueError("\x1b]0;title\x07")), "ValueError: ]0;title"),
        (throw(Wordless()), "Wordless: it cannot say what is wrong"),
        (lambda: sys.exit(3), "SystemExit: 3"),
        (lambda: sys.exit(0), "SystemExit: 0"),
        (lambda: os._exit(0), "SystemExit: os._exit(0)"),
    ],
)
def test_whatever_is_raised_is_one_line(act: Callable[[], None], words: str) -> None:
    with pytest.raises(PluginFailed) as failed, guarded():
        act()
    assert str(failed.value) == words


def test_long_texts_are_cut() -> None:
    with pytest.raises(PluginFailed) as failed, guarded():
        raise ValueError("x" * 10**7)
    assert len(str(failed.value)) < 1000


def test_ctrl_c_is_the_user_s() -> None:
    with pytest.raises(KeyboardInterrupt), guarded(5):
        raise KeyboardInterrupt


def test_what_is_changed_is_put_back() -> None:
    def state() -> tuple[object, ...]:
        handler = signal.getsignal(signal.SIGALRM)
        return os._exit, sys.stdout, handler, os.path.sameopenfile(1, kept)

    kept = os.dup(1)
    before = state()
    with pytest.raises(PluginFailed), guarded(5):
        raise ValueError
    with guarded(5):
        pass
    assert state() == before
    os.close(kept)
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_a_hang_is_interrupted() -> None:
    with pytest.raises(TookTooLong, match=r"longer than 0\.1 s"), guarded(0.1):
        threading.Event().wait(60)


def test_what_swallows_the_interruption_is_interrupted_again() -> None:
    swallowed = []

    def swallow() -> None:
        for _ in range(2):
            try:
                threading.Event().wait(20)
            except BaseException as error:
                swallowed.append(error)

    with pytest.raises(TookTooLong), guarded(0.1):
        swallow()
    assert len(swallowed) == 2


def test_outside_the_main_thread_slowness_is_told_afterwards() -> None:
    failed = []

    def slow() -> None:
        try:
            with guarded(0.05):
                time.sleep(0.1)
        except TookTooLong as error:
            failed.append(error)

    thread = threading.Thread(target=slow)
    thread.start()
    thread.join()
    assert failed


def test_an_alarm_of_another_else_still_rings() -> None:
    rung = threading.Event()
    signal.signal(signal.SIGALRM, lambda *_: rung.set())
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    try:
        with pytest.raises(TookTooLong), guarded(0.1):
            time.sleep(0.2)
        assert rung.is_set()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)


PRINTS = """
import os, subprocess, sys
from lstmbench.plugin.guard import guarded
print("before")
with guarded():
    print("print")
    print("saved stream", file=sys.__stdout__)
    os.write(1, b"descriptor\\n")
    subprocess.run([sys.executable, "-c", "print('child')"])
print("after")
"""


def test_nothing_reaches_standard_output() -> None:
    done = subprocess.run([sys.executable, "-c", PRINTS], capture_output=True, text=True)
    assert done.stdout == "before\nafter\n"
    assert sorted(done.stderr.splitlines()) == ["child", "descriptor", "print", "saved stream"]


@pytest.mark.parametrize("closed", ["1", "2"])
def test_closed_descriptors_are_no_obstacle(closed: str) -> None:
    code = "from lstmbench.plugin.guard import guarded\nwith guarded(): print('x')\n"
    done = subprocess.run(
        ["sh", "-c", f'exec "$0" "$@" {closed}>&-', sys.executable, "-c", code], capture_output=True
    )
    assert done.returncode == 0
    assert done.stdout == b""


def test_a_forked_child_may_still_end() -> None:
    with exits_raise():
        child = os.fork()
        if not child:
            os._exit(7)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
