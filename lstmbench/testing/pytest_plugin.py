"""pytest plugin (``pytest11``): the fixture ``lstmbench_training_step``, and options.

Imported by every pytest of an environment with lstmbench: nothing heavy until it is asked for, and
no name that another project might use.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest


def pytest_addoption(parser: Any) -> None:
    group = parser.getgroup("lstmbench", "lstmbench: backends of LSTM training")
    group.addoption(
        "--lstmbench-all-modes",
        action="store_true",
        help="check or step every mode, not the defaults only",
    )
    group.addoption(
        "--lstmbench-no-features",
        action="store_true",
        help="leave out the checks of features, such as dropout: each takes an instance of its own",
    )
    group.addoption(
        "--lstmbench-backends",
        default="all",
        help="what lstmbench_training_step steps: 'all', or NAME or NAME:MODE, comma-separated",
    )
    group.addoption("--lstmbench-devices", default="all", help="where: 'all', or cpu, cuda:0, mps")


def all_modes(config: pytest.Config) -> bool:
    """Whether every mode is asked for."""
    return bool(config.getoption("--lstmbench-all-modes", default=False))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "lstmbench_training_step" not in metafunc.fixturenames:
        return
    from lstmbench.errors import UserError
    from lstmbench.plugin import manager
    from lstmbench.runner.selection import choose_backends, choose_devices

    try:
        backends = choose_backends(
            manager.load(), metafunc.config.getoption("--lstmbench-backends")
        )
        devices = choose_devices(metafunc.config.getoption("--lstmbench-devices"))
    except UserError as error:
        raise pytest.UsageError(str(error)) from error
    usual = "all" if all_modes(metafunc.config) else "default"
    cases = [
        pytest.param((spec, mode, device), id=f"{spec.name}:{mode}-{device}")
        for spec, only in backends
        for device in devices
        for mode in spec.modes_on(device.partition(":")[0], [only or usual])
    ]
    metafunc.parametrize("lstmbench_training_step", cases, indirect=True)


@pytest.fixture
def lstmbench_training_step(request: Any, tmp_path: Any) -> Iterator[Callable[[], None]]:
    """One training step of the default protocol, of each installed backend in turn.

    A call trains one window of 32 x 35 tokens in a worker process that has proven parity, and
    returns when the updated parameters exist; asking costs about a tenth of a millisecond. A call
    is an epoch of one window: a backend that compiles epochs may run a window of a longer one
    faster, as ``jax`` does. The options ``--lstmbench-backends``, ``--lstmbench-all-modes`` and
    ``--lstmbench-devices`` choose. Made for pytest-benchmark::

        def test_training_step(lstmbench_training_step, benchmark):
            benchmark(lstmbench_training_step)
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
