"""pytest plugin (``pytest11``): the option ``--all-modes`` of the conformance kit."""

from __future__ import annotations

from typing import Any


def pytest_addoption(parser: Any) -> None:
    parser.addoption(
        "--all-modes", action="store_true", help="lstmbench: check every mode, not the defaults"
    )
