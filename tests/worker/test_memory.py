"""Resident memory of this process."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from lstmbench.worker import memory

MIB = 2**20


@pytest.mark.skipif(sys.platform != "linux", reason="the peak can be restarted on Linux only")
def test_the_peak_counts_from_its_restart() -> None:
    block = np.ones(300 * MIB, np.uint8)
    assert memory.peak_memory() > 300 * MIB
    del block
    assert memory.restart_peak()
    low = memory.peak_memory()
    assert low < memory.resident() + 100 * MIB
    block = np.ones(100 * MIB, np.uint8)
    assert memory.peak_memory() >= low + 90 * MIB
    assert memory.resident() >= low + 90 * MIB
    del block


def test_without_proc_the_largest_size_so_far_stands_in(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(memory, "STATUS", tmp_path / "nothing")
    assert memory.resident() == memory.peak_memory() > MIB
