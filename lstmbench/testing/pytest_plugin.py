"""pytest plugin (``pytest11``): the fixture ``lstmbench_training_step``, and options.

Imported by every pytest of an environment with lstmbench: nothing heavy until it is asked for, and
no name that another project might use. The old names, without the prefix, work for one version
more wherever the project has none of its own.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest

_OLD_ALL_MODES = "lstmbench_old_all_modes"


def pytest_addoption(parser: Any) -> None:
    group = parser.getgroup("lstmbench", "lstmbench: backends of LSTM training")
    group.addoption(
        "--lstmbench-all-modes",
        action="store_true",
        help="check or step every mode, not the defaults only",
    )
    group.addoption(
        "--lstmbench-backends",
        default="all",
        help="what lstmbench_training_step steps: 'all', or NAME or NAME:MODE, comma-separated",
    )
    group.addoption("--lstmbench-devices", default="all", help="where: 'all', or cpu, cuda:0, mps")


@pytest.hookimpl(trylast=True)
def pytest_load_initial_conftests(parser: Any) -> None:
    """Take the old option too, unless a conftest has one of that name."""
    with contextlib.suppress(ValueError):
        parser.addoption(
            "--all-modes", action="store_true", dest=_OLD_ALL_MODES, help="--lstmbench-all-modes"
        )


def all_modes(config: pytest.Config) -> bool:
    """Whether every mode is asked for."""
    if config.getoption(_OLD_ALL_MODES, default=False):
        warnings.warn("--all-modes is now --lstmbench-all-modes", DeprecationWarning, stacklevel=2)
        return True
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
    from lstmbench.testing.bench import TIMEOUT, prepared_worker

    spec, mode, device = request.param
    # so many tokens make one window at every offset
    window = replace(D2L, train_tokens=(D2L.batch_size + 1) * D2L.steps + 1)
    try:
        with prepared_worker(spec, mode, device, window, tmp_path) as channel:

            def step() -> None:
                channel.ask({"do": "epoch", "offset": 0}, TIMEOUT)

            yield step
    except WorkerLost as lost:
        if lost.reason != "unavailable":
            raise
        pytest.skip(str(lost))


@pytest.fixture
def training_step(lstmbench_training_step: Callable[[], None]) -> Callable[[], None]:
    """The old name of ``lstmbench_training_step``."""
    warnings.warn(
        "the fixture training_step is now lstmbench_training_step", DeprecationWarning, stacklevel=2
    )
    return lstmbench_training_step
