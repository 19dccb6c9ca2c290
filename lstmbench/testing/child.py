"""The child process of the kit: one backend, mode and device, one check per request."""

from __future__ import annotations

import importlib
import sys
import traceback
from typing import Any

from lstmbench.errors import Unavailable
from lstmbench.testing.checks import CHECKS
from lstmbench.testing.lab import CheckContext
from lstmbench.worker import loop, session
from lstmbench.worker.answers import InvalidAnswer

FRAMEWORKS = ("tensorflow", "keras", "torch", "jax")


class Session:
    """Verbs ``load`` and ``check``."""

    lab: CheckContext

    def load(self, request: dict[str, Any]) -> loop.Answer:
        """Import the plugin's package, then its backend; tell what the first of them dragged in."""
        package = request["factory"].partition(":")[0].partition(".")[0]
        before = set(sys.modules)
        importlib.import_module(package)
        dragged_in = {name.partition(".")[0] for name in set(sys.modules) - before}
        factory = session.import_factory(request)
        self.lab = CheckContext(
            factory, request["device"], request["mode"], request["dtype"], request["threads"]
        )
        return {"dragged_in": sorted(dragged_in & {*request["imports"], *FRAMEWORKS})}

    def check(self, request: dict[str, Any]) -> loop.Answer:
        """Run one check."""
        try:
            CHECKS[request["name"]].run(self.lab)
        except Unavailable:
            raise
        except (AssertionError, InvalidAnswer) as error:
            return {"failure": str(error)}
        except Exception as error:
            traceback.print_exc()
            return {"failure": f"raised {type(error).__name__}: {error}"}
        return {}


if __name__ == "__main__":
    loop.main(sys.argv[1:], Session())
