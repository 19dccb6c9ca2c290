"""All checks: what every backend is asked, then what those are asked that have a feature."""

from __future__ import annotations

from lstmbench.testing import core_checks, feature_checks  # noqa: F401 - they register themselves
from lstmbench.testing.registry import CHECKS as CHECKS
