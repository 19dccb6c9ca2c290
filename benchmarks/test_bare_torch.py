"""The `torch` backend through worker and pipe against a bare loop as the d2l course writes it."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from lstmbench import corpus, machine, plugins
from lstmbench.backend import Task
from lstmbench.batches import Batches, draw_offsets, partition
from lstmbench.execution.channel import Launch
from lstmbench.execution.local import LocalExecutor
from lstmbench.protocol import D2L

ROUNDS = 60


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
def worker(tmp_path: Path) -> Any:
    """A prepared `torch` worker and the tokens it trains on."""
    ids = corpus.resolve(corpus.BUNDLED).ids[:10_000]
    tokens = tmp_path / "tokens.npy"
    np.save(tokens, ids)
    threads = machine.physical_cores()
    spec = plugins.find_backend(plugins.load(), "torch")
    task = Task(D2L.model(28), D2L.training, "cpu", spec.modes["cpu"][0], "float32", threads, 0)
    executor = LocalExecutor()
    channel = executor.start(Launch(tmp_path / "log", threads))
    load = {
        "do": "load",
        "factory": spec.factory,
        "imports": spec.imports,
        "install": spec.install,
        "task": asdict(task),
        "init": "shared",
        "cpus": executor.cpus(threads),
        "tokens": str(tokens),
        "splits": {"train": (0, len(ids))},
    }
    channel.ask(load, 300)
    channel.ask({"do": "prepare"}, 300)
    yield channel, ids, threads
    channel.close()


def test_torch_against_a_bare_loop(worker: Any, benchmark: Any) -> None:
    channel, ids, threads = worker
    train = bare_loop(threads)
    inside: list[float] = []
    bare, trained = [], []

    def alone(offset: int) -> None:
        batches = partition(ids, D2L.batch_size, D2L.steps, offset)
        begin = time.perf_counter()
        train(batches)
        bare.append(time.perf_counter() - begin)

    def through_worker(offset: int) -> None:
        begin = time.perf_counter()
        answer = channel.ask({"do": "epoch", "offset": offset}, 300)
        inside.append(answer["seconds"] / (time.perf_counter() - begin))
        trained.append(answer["seconds"])

    for done, offset in enumerate(draw_offsets(0, ROUNDS, D2L.steps)):
        for side in (alone, through_worker) if done % 2 else (through_worker, alone):
            side(offset)
    ratios = [a / b for a, b in zip(bare, trained, strict=True)]
    # the first rounds warm caches up
    quartiles = statistics.quantiles(ratios[5:], n=4)
    benchmark.extra_info["speed_relative_to_bare_loop"] = statistics.median(ratios[5:])
    benchmark.extra_info["quartiles"] = [quartiles[0], quartiles[2]]
    benchmark.extra_info["share_of_a_round_spent_training"] = statistics.median(inside[5:])
    benchmark.pedantic(
        lambda: channel.ask({"do": "epoch", "offset": 0}, 300), rounds=10, warmup_rounds=1
    )
