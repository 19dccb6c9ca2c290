"""What a record keeps of a trial."""

from __future__ import annotations

from lstmbench.runner.trial_state import MAX_MESSAGE, shortened


def test_a_message_of_megabytes_is_cut() -> None:
    assert shortened("x" * MAX_MESSAGE) == "x" * MAX_MESSAGE
    assert shortened("x" * 10_000_000) == "x" * MAX_MESSAGE + " [...]"
