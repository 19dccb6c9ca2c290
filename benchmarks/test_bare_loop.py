"""The `torch` backend through worker and pipe against a bare loop as the d2l course writes it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from lstmbench import corpus, machine, plugins, statistics
from lstmbench.batches import Batches, draw_offsets, partition
from lstmbench.protocol import D2L
from lstmbench.testing.bench import prepared_worker

WARM_UP, STRETCH = 5, 30
ROUNDS = WARM_UP + 6 * STRETCH


def bare_loop(threads: int) -> Callable[[Batches], None]:
    """`train_epoch_ch8` of the course over `nn.LSTM`: one-hot input, clip and SGD by hand."""
    torch.set_num_threads(threads)
    size, hidden = 28, D2L.hidden_size
    rnn, linear = nn.LSTM(size, hidden), nn.Linear(hidden, size)
    loss = nn.CrossEntropyLoss()
    parameters = [*rnn.parameters(), *linear.parameters()]

    def clip(theta: float) -> None:
        norm = torch.sqrt(sum(torch.sum(p.grad**2) for p in parameters))
        if norm > theta:
            for p in parameters:
                p.grad[:] *= theta / norm

    def train(batches: Batches) -> None:
        state = None
        for inputs, targets in batches:
            x = torch.from_numpy(inputs).long()
            y = torch.from_numpy(targets).long().T.reshape(-1)
            if state is not None:
                for s in state:
                    s.detach_()
            output, state = rnn(nn.functional.one_hot(x.T, size).to(torch.float32), state)
            value = loss(linear(output.reshape(-1, hidden)), y).mean()
            for p in parameters:
                p.grad = None
            value.backward()
            clip(D2L.clip_norm)
            with torch.no_grad():
                for p in parameters:
                    p -= D2L.learning_rate * p.grad
            value.item()

    return train


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[Any]:
    """A prepared `torch` worker and the tokens it trains on."""
    spec = plugins.find_backend(plugins.load(), "torch")
    ids = corpus.resolve(corpus.BUNDLED).ids[: D2L.train_tokens]
    with prepared_worker(spec, spec.modes["cpu"][0], "cpu", D2L, tmp_path) as channel:
        yield channel, ids, machine.physical_cores()


def test_torch_against_a_bare_loop(worker: Any, benchmark: Any) -> None:
    """Ratios by the estimator of every table, with an interval over several stretches of rounds."""
    channel, ids, threads = worker
    train = bare_loop(threads)
    bare: list[float] = []
    trained: list[float] = []
    asked: list[float] = []

    def alone(offset: int) -> None:
        batches = partition(ids, D2L.batch_size, D2L.steps, offset)
        begin = time.perf_counter()
        train(batches)
        bare.append(time.perf_counter() - begin)

    def through_worker(offset: int) -> None:
        begin = time.perf_counter()
        answer = channel.ask({"do": "epoch", "offset": offset}, 300)
        asked.append(time.perf_counter() - begin)
        trained.append(answer["seconds"])

    for done, offset in enumerate(draw_offsets(0, ROUNDS, D2L.steps)):
        for side in (alone, through_worker) if done % 2 else (through_worker, alone):
            side(offset)
    stretches = [slice(start, start + STRETCH) for start in range(WARM_UP, ROUNDS, STRETCH)]
    ratio = statistics.interval([faster(bare[part]) / faster(trained[part]) for part in stretches])
    share = statistics.interval([faster(trained[part]) / faster(asked[part]) for part in stretches])
    assert ratio is not None
    assert share is not None
    benchmark.extra_info["speed_relative_to_bare_loop"] = ratio.value
    benchmark.extra_info["interval"] = [ratio.low, ratio.high]
    benchmark.extra_info["share_of_a_round_spent_training"] = share.value
    benchmark.pedantic(
        lambda: channel.ask({"do": "epoch", "offset": 0}, 300), rounds=10, warmup_rounds=1
    )


def faster(seconds: list[float]) -> float:
    return statistics.faster_half_mean(seconds) or float("nan")
