"""The `torch` backend through worker and pipe against a bare loop as the d2l course writes it."""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from lstmbench.analysis import intervals, metrics
from lstmbench.batches import draw_offsets
from lstmbench.plugin import manager
from lstmbench.protocol import D2L
from lstmbench.runner.channel import Channel
from lstmbench.testing.bench import TIMEOUT, prepared_worker, start_worker
from lstmbench.worker.messages import TrainEpoch, WaitUntilIdle

PAIRS, ROUNDS, WARM_UP = 6, 35, 5


def test_torch_against_a_bare_loop(tmp_path: Path, benchmark: Any, monkeypatch: Any) -> None:
    """Ratios by the estimator of every table, with an interval over pairs of fresh processes."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    ratios, shares = [], []
    for number in range(PAIRS):
        folder = tmp_path / str(number)
        folder.mkdir()
        ratio, share = pair(folder)
        ratios.append(ratio)
        shares.append(share)
    ratio, share = intervals.interval(ratios), intervals.interval(shares)
    assert ratio is not None
    assert share is not None
    benchmark.extra_info["speed_relative_to_bare_loop"] = ratio.value
    benchmark.extra_info["interval"] = [ratio.low, ratio.high]
    benchmark.extra_info["share_of_a_round_spent_training"] = share.value
    benchmark.extra_info["share_interval"] = [share.low, share.high]
    spec = manager.find_backend(manager.load(), "torch")
    with prepared_worker(spec, "eager", "cpu", D2L, tmp_path) as channel:
        benchmark.pedantic(lambda: channel.ask(TrainEpoch(0), TIMEOUT), rounds=10, warmup_rounds=1)


def pair(folder: Path) -> tuple[float, float]:
    """Speed of the backend over the bare loop's, and the share of a round that is training."""
    spec = manager.find_backend(manager.load(), "torch")
    seconds: dict[str, list[float]] = {"bare": [], "backend": []}
    asked: list[float] = []
    with ExitStack() as stack:
        backend = stack.enter_context(prepared_worker(spec, "eager", "cpu", D2L, folder))
        bare = stack.enter_context(start_worker(spec, "eager", "cpu", D2L, folder, "bare"))
        sides: list[tuple[str, Channel]] = [("bare", bare), ("backend", backend)]
        for done, offset in enumerate(draw_offsets(0, ROUNDS, D2L.steps)):
            for name, channel in sides[:: 1 if done % 2 else -1]:
                begin = time.perf_counter()
                answer = channel.ask(TrainEpoch(offset), TIMEOUT)
                if name == "backend":
                    asked.append(time.perf_counter() - begin)
                seconds[name].append(answer.seconds)
                channel.ask(WaitUntilIdle(), TIMEOUT)

    def faster(values: list[float]) -> float:
        return metrics.faster_half_mean(values[WARM_UP:]) or float("nan")

    return faster(seconds["bare"]) / faster(seconds["backend"]), (
        faster(seconds["backend"]) / faster(asked)
    )
