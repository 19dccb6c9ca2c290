"""Silence between turns: no thread of whoever has just computed may take a core from the next.

Libraries let their threads spin for a while after their work, in case there is more to do; for how
long differs from one to another and by version. So silence is seen, not assumed.
"""

from __future__ import annotations

import sys
import time

#: Seconds: the least silence there is, and how long is waited for it.
PAUSE_SECONDS, TIMEOUT_SECONDS = 0.005, 0.5
#: The share of a pause that a silent process may spend on a processor.
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
                f"still computing {TIMEOUT_SECONDS} s after its turn: slows others", file=sys.stderr
            )
            return False
