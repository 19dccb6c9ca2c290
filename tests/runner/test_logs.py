"""Logs are whole when they are read, and never longer than they may be."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lstmbench.runner import logs
from lstmbench.runner.logs import Log


def test_what_was_written_is_in_the_file_once_it_is_waited_for(tmp_path: Path) -> None:
    log = Log(tmp_path / "log")
    said = b""
    for number in range(200):
        line = f"line {number} {'x' * number}\n".encode()
        os.write(log.sink, line)
        said += line
        log.drain()
        assert (tmp_path / "log").read_bytes() == said
    os.close(log.sink)
    log.finish()
    log.drain()  # of one that has ended, there is nothing to wait for
    assert not log.is_alive()


def test_a_log_begins_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "MAX_LOG", 1000)
    log = Log(tmp_path / "log")
    for number in range(30):
        os.write(log.sink, f"{number:02}{'x' * 97}\n".encode())
        log.drain()
    os.close(log.sink)
    log.finish()
    content = (tmp_path / "log").read_bytes()
    assert content.startswith(logs.DROPPED)
    assert content.endswith(f"29{'x' * 97}\n".encode())
    assert len(content) <= 1000 + len(logs.DROPPED)
