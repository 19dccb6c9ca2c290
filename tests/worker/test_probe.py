"""The worker without a backend, in a real process."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lstmbench.runner.channel import Launch, WorkerLost
from lstmbench.runner.local import LocalExecutor
from lstmbench.worker.messages import Copy, LoadProbe, Matmul

LOAD = LoadProbe(cpus=None, threads=2, dtype="float32")


@pytest.fixture
def probe(tmp_path: Path) -> Iterator[Any]:
    channel = LocalExecutor().start(Launch(tmp_path / "log", 2, module="lstmbench.worker.probe"))
    yield channel
    channel.close()


def test_it_multiplies_and_copies_as_often_as_asked(probe: Any) -> None:
    assert "numpy" in probe.ask(LOAD, 60).library
    for side in (64, 32):
        seconds = probe.ask(Matmul(side, count=3), 60).seconds
        assert len(seconds) == 3
        assert min(seconds) > 0
    seconds = probe.ask(Copy(1 << 16, count=2), 60).seconds
    assert len(seconds) == 2
    assert min(seconds) > 0


def test_what_it_cannot_do_ends_it(probe: Any) -> None:
    probe.ask(LOAD, 60)
    with pytest.raises(WorkerLost):
        probe.ask(Matmul(-1, count=1), 60)
