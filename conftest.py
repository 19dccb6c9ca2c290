"""For all tests, the host's and the plugins'."""

from __future__ import annotations

import os
import signal
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest

# machines are shared and noisy: no test is about time
hypothesis.settings.register_profile("noisy", deadline=None)
hypothesis.settings.load_profile("noisy")


def _listen_to_signals() -> None:
    """A shell's background job is started with some signals ignored, and one of ``nohup``, too."""
    handlers: dict[signal.Signals, Any] = {
        signal.SIGINT: signal.default_int_handler,
        signal.SIGHUP: signal.SIG_DFL,
        signal.SIGQUIT: signal.SIG_DFL,
    }
    for number, handler in handlers.items():
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, handler)


_listen_to_signals()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, Any, Any]:
    """Where everything a test needs is there, a skipped test is a broken promise."""
    report = yield
    if (
        report.skipped
        and os.environ.get("LSTMBENCH_FORBID_SKIPS")
        and not hasattr(report, "wasxfail")
    ):
        report.outcome = "failed"
        report.longrepr = f"skipped where nothing may be: {report.longrepr}"
    return report


@pytest.fixture(scope="session", autouse=True)
def _own_locks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Tests wait for no run but their own: each process of pytest has its own locks of devices."""
    place = tmp_path_factory.mktemp("locks")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LSTMBENCH_LOCK_DIR", str(place))
        yield place
