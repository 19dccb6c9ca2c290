"""Joules from a counter that the test writes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lstmbench.analysis import series
from lstmbench.machine import energy
from lstmbench.records.record import Epochs

RANGE = 1_000_000_000


class Zone:
    """One package's counter, in microjoules."""

    def __init__(self, root: Path, index: int, name: str = "package") -> None:
        self.folder = root / f"intel-rapl:{index}"
        self.folder.mkdir(parents=True)
        (self.folder / "name").write_text(f"{name}-{index}\n")
        (self.folder / "max_energy_range_uj").write_text(f"{RANGE - 1}\n")
        self.set(0)

    def set(self, microjoules: int) -> None:
        (self.folder / "energy_uj").write_text(f"{microjoules}\n")


def test_packages_are_added_and_their_parts_are_not(tmp_path: Path) -> None:
    zones = [Zone(tmp_path, 0), Zone(tmp_path, 1)]
    part = Zone(tmp_path / "intel-rapl:0", 0)
    part.folder.rename(tmp_path / "intel-rapl:0:0")
    counter = energy.counter("cpu", tmp_path)
    assert counter is not None
    zones[0].set(2_000_000)
    zones[1].set(500_000)
    assert counter() == 2.5
    zones[1].set(1_500_000)
    assert counter() == 3.5


def test_a_counter_that_starts_again_from_zero_loses_nothing(tmp_path: Path) -> None:
    zone = Zone(tmp_path, 0)
    zone.set(RANGE - 1_000_000)
    counter = energy.counter("cpu", tmp_path)
    assert counter is not None
    zone.set(3_000_000)
    assert counter() == 4.0


@pytest.mark.parametrize("device", ["cpu", "cuda:99", "mps", "cuda:x"])
def test_where_nothing_counts_there_is_no_counter(device: str, tmp_path: Path) -> None:
    assert energy.counter(device, tmp_path) is None


def test_a_counter_that_may_not_be_read_is_none(tmp_path: Path) -> None:
    (Zone(tmp_path, 0).folder / "energy_uj").write_text("")
    assert energy.counter("cpu", tmp_path) is None


def test_other_zones_are_no_packages(tmp_path: Path) -> None:
    Zone(tmp_path, 0, name="psys")
    assert energy.counter("cpu", tmp_path) is None


def test_joules_per_million_tokens_leave_the_first_epochs_out() -> None:
    joules = [500.0] + [2.0] * 9
    epochs = Epochs(seconds=[1.0] * 10, nats=[1.0] * 10, tokens=[100] * 10, joules=joules)
    assert series.joules_per_million_tokens(epochs) == pytest.approx(20_000)


def test_without_a_counter_there_is_no_figure(make_record: Callable[..., Any]) -> None:
    assert series.joules_per_million_tokens(make_record().epochs) is None


def test_a_counter_that_stops_counting_is_no_failure(tmp_path: Path) -> None:
    zone = Zone(tmp_path, 0)
    counter = energy.counter("cpu", tmp_path)
    assert counter is not None
    assert counter() == 0.0
    (zone.folder / "energy_uj").unlink()
    assert counter() is None


def test_one_epoch_has_no_steady_joules() -> None:
    epochs = Epochs(seconds=[1.0], nats=[1.0], tokens=[100], joules=[5.0])
    assert series.joules_per_million_tokens(epochs) is None
