"""Rest between epochs: no thread of the worker that has just computed may slow the next one.

Libraries let their threads spin for a while after their work, in case there is more to do. How
long differs from library to library and by version, so the end of it is observed, not assumed.
"""

from __future__ import annotations

import sys
import time

from lstmbench.worker.messages import Idle, WaitUntilIdle

#: The shortest pause that shows an idle process (threads of OpenBLAS rest within shorter ones, and
#: compute again), and how long to wait for one.
PAUSE_SECONDS, TIMEOUT_SECONDS = 0.005, 0.5
#: The share of a pause that an idle process may spend on a processor.
IDLE_SHARE = 0.1


def wait_until_idle() -> bool:
    """Return once this process has slept through a pause; False if it never does.

    Child processes are not seen.
    """
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while True:
        spent = time.process_time()
        time.sleep(PAUSE_SECONDS)
        if time.process_time() - spent < IDLE_SHARE * PAUSE_SECONDS:
            return True
        if time.monotonic() > deadline:
            print(
                f"still computing {TIMEOUT_SECONDS} s after its epoch: slows other trials",
                file=sys.stderr,
            )
            return False


def when_idle(request: WaitUntilIdle) -> Idle:
    """The answer of every session to :class:`WaitUntilIdle`."""
    return Idle(wait_until_idle())
