"""pytest plugin (``pytest11``): the option ``--all-modes`` and the fixture ``training_step``.

Imported by every pytest of an environment with lstmbench: nothing heavy until it is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest


def pytest_addoption(parser: Any) -> None:
    parser.addoption(
        "--all-modes", action="store_true", help="lstmbench: check every mode, not the defaults"
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "training_step" not in metafunc.fixturenames:
        return
    from lstmbench.machine import facts
    from lstmbench.plugin import manager

    every = bool(metafunc.config.getoption("--all-modes", default=False))
    cases = [
        pytest.param((spec, mode, device), id=f"{spec.name}:{mode}-{device}")
        for spec in manager.load().backends().values()
        for device in facts.devices()
        for mode in spec.modes_on(device.partition(":")[0], ["all" if every else "default"])
    ]
    metafunc.parametrize("training_step", cases, indirect=True)


@pytest.fixture
def training_step(request: Any, tmp_path: Any) -> Iterator[Callable[[], None]]:
    """One training step of the default protocol, of each installed backend in turn.

    A call trains one window of 32 x 35 tokens in a worker process that has proven parity, and
    returns when the updated parameters exist; asking costs about a tenth of a millisecond. A call
    is an epoch of one window: a backend that compiles epochs may run a window of a longer one
    faster, as ``jax`` does. Made for pytest-benchmark::

        def test_training_step(training_step, benchmark):
            benchmark(training_step)
    """
    from dataclasses import replace

    from lstmbench.protocol import D2L
    from lstmbench.runner.channel import WorkerLost
    from lstmbench.testing.bench import bundled, prepared_worker
    from lstmbench.worker.messages import TrainEpoch

    spec, mode, device = request.param
    # so many tokens make one window at every offset
    window = replace(D2L, train_tokens=(D2L.batch_size + 1) * D2L.steps + 1)
    try:
        with prepared_worker(spec, mode, device, window, tmp_path) as live:
            request = TrainEpoch(live.give(bundled(window)))

            def step() -> None:
                live.ask(request)

            yield step
    except WorkerLost as lost:
        if lost.reason != "unavailable":
            raise
        pytest.skip(str(lost))
