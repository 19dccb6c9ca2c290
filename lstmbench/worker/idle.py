"""Rest between epochs: no thread of the worker that has just computed may slow the next one.

Libraries let their threads spin for a while after their work, in case there is more to do. How
long differs from library to library and by version (a tenth of a second for OpenBLAS), so the end
of it is observed, not assumed.
"""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path

from lstmbench.worker.messages import Idle, WaitUntilIdle

#: The shortest pause that shows an idle process (systems count processor time in steps of some
#: milliseconds), and how long to wait for one.
PAUSE_SECONDS, TIMEOUT_SECONDS = 0.005, 0.5
#: The share of a pause that an idle process may spend on a processor.
IDLE_SHARE = 0.1
#: Where Linux tells the state of each thread of this process.
THREADS = Path("/proc/self/task")


def wait_until_idle() -> bool:
    """Return once this process has slept through a pause; False if it never does.

    Child processes are not seen.
    """
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while True:
        spent = time.process_time()
        time.sleep(PAUSE_SECONDS)
        if time.process_time() - spent < IDLE_SHARE * PAUSE_SECONDS and not others_run():
            return True
        if time.monotonic() > deadline:
            print(
                f"still computing {TIMEOUT_SECONDS} s after its epoch: slows other trials",
                file=sys.stderr,
            )
            return False


def others_run() -> bool:
    """Whether a thread but this one computes, or waits for a processor to do so.

    On a busy machine a thread that spins may get none for a whole pause. False where the system
    does not tell.
    """
    own = threading.get_native_id()
    try:
        threads = [int(path.name) for path in THREADS.iterdir()]
    except OSError:
        return False
    return any(_is_runnable(thread) for thread in threads if thread != own)


def _is_runnable(thread: int) -> bool:
    try:
        stat = (THREADS / str(thread) / "stat").read_text(errors="replace")
    except OSError:  # it has ended
        return False
    return stat.rpartition(")")[2].split()[:1] == ["R"]


def when_idle(request: WaitUntilIdle) -> Idle:
    """The answer of every session to :class:`WaitUntilIdle`."""
    return Idle(wait_until_idle())
