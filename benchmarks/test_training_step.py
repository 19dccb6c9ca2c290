"""One training step of every installed backend, as pytest-benchmark shows it side by side."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def test_training_step(lstmbench_training_step: Callable[[], None], benchmark: Any) -> None:
    benchmark.group = "one training step of d2l"
    benchmark.pedantic(lstmbench_training_step, rounds=60, warmup_rounds=10)
