"""The `torch` backend through worker and pipe against a bare loop as the d2l course writes it."""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from lstmbench.analysis import intervals, series
from lstmbench.batches import draw_offsets
from lstmbench.corpora import corpus
from lstmbench.machine import facts
from lstmbench.plugin import manager
from lstmbench.protocol import D2L
from lstmbench.runner.live import LiveTrial
from lstmbench.testing.bench import bundled, prepared_worker, start_worker
from lstmbench.worker.messages import Build, LoadTrial, TrainEpoch, WaitUntilIdle

PAIRS, ROUNDS, WARM_UP = 6, 35, 5


def test_torch_against_a_bare_loop(tmp_path: Path, benchmark: Any, monkeypatch: Any) -> None:
    """Ratios by the estimator of every table, with an interval over pairs of fresh processes."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    ratios: list[float] = []
    shares: list[float] = []
    for number in range(PAIRS):
        folder = tmp_path / str(number)
        folder.mkdir()
        for values, value in zip((ratios, shares), pair(folder), strict=True):
            values.append(value)
    ratio, share = intervals.interval(ratios), intervals.interval(shares)
    assert ratio is not None
    assert share is not None
    benchmark.extra_info["speed_relative_to_bare_loop"] = ratio.value
    benchmark.extra_info["interval"] = [ratio.low, ratio.high]
    benchmark.extra_info["share_of_a_round_spent_training"] = share.value
    benchmark.extra_info["share_interval"] = [share.low, share.high]
    spec = manager.find_backend(manager.load(), "torch")
    with prepared_worker(spec, "eager", "cpu", D2L, tmp_path) as live:
        request = TrainEpoch(live.give(bundled(D2L)))
        benchmark.pedantic(lambda: live.ask(request), rounds=10, warmup_rounds=1)


def pair(folder: Path) -> tuple[float, float]:
    """Speed of the backend over the bare loop's, and the share of a round that is training."""
    spec = manager.find_backend(manager.load(), "torch")
    seconds: dict[str, list[float]] = {"bare": [], "backend": []}
    asked: list[float] = []
    with ExitStack() as stack:
        backend = stack.enter_context(prepared_worker(spec, "eager", "cpu", D2L, folder))
        bare = stack.enter_context(start_worker(spec, "eager", "cpu", D2L, folder, "bare"))
        start = bundled(D2L)
        bare.ask(LoadTrial(spec.factory, [], "", facts.choose_cpus(bare.trial.threads)))
        symbols = len(corpus.resolve(corpus.BUNDLED).vocabulary)
        bare.ask(Build(bare.trial.task(symbols), bare.give(start), None))
        sides: list[tuple[str, LiveTrial]] = [("bare", bare), ("backend", backend)]
        for done, offset in enumerate(draw_offsets(0, ROUNDS, D2L.steps)):
            batches = bundled(D2L, offset)
            for name, live in sides[:: 1 if done % 2 else -1]:
                request = TrainEpoch(live.give(batches))
                begin = time.perf_counter()
                answer = live.ask(request)
                if name == "backend":
                    asked.append(time.perf_counter() - begin)
                seconds[name].append(answer.seconds)
                live.ask(WaitUntilIdle())

    def faster(values: list[float]) -> float:
        return series.faster_half_mean(values[WARM_UP:]) or float("nan")

    return faster(seconds["bare"]) / faster(seconds["backend"]), (
        faster(seconds["backend"]) / faster(asked)
    )
