"""The child process of the kit: one backend, mode and device, one check per request."""

from __future__ import annotations

import importlib
import sys
import traceback

from lstmbench.errors import Unavailable
from lstmbench.testing.checks import CHECKS
from lstmbench.testing.lab import CheckContext
from lstmbench.worker.answers import InvalidAnswer
from lstmbench.worker.loop import Handlers, OutOfOrder, Session, main
from lstmbench.worker.messages import Check, Checked, KitLoaded, LoadKit
from lstmbench.worker.session import import_factory

FRAMEWORKS = ("tensorflow", "keras", "torch", "jax")


class KitSession(Session):
    """Load, then any number of checks."""

    def __init__(self) -> None:
        self._context: CheckContext | None = None

    def handlers(self) -> Handlers:
        return {LoadKit: self.load, Check: self.check}

    def load(self, request: LoadKit) -> KitLoaded:
        """Import the plugin's package, then its backend; tell what the first of them dragged in."""
        package = request.factory.partition(":")[0].partition(".")[0]
        before = set(sys.modules)
        importlib.import_module(package)
        dragged_in = {name.partition(".")[0] for name in set(sys.modules) - before}
        factory = import_factory(request.factory, request.imports, request.install)
        self._context = CheckContext(
            factory, request.device, request.mode, request.dtype, request.threads
        )
        return KitLoaded(sorted(dragged_in & {*request.imports, *FRAMEWORKS}))

    def check(self, request: Check) -> Checked:
        """Run one check."""
        if self._context is None:
            raise OutOfOrder("the kit must be asked to load first")
        try:
            CHECKS[request.which].run(self._context)
        except Unavailable:
            raise
        except (AssertionError, InvalidAnswer) as error:
            return Checked(str(error))
        except Exception as error:
            traceback.print_exc()
            return Checked(f"raised {type(error).__name__}: {error}")
        return Checked(None)


if __name__ == "__main__":
    main(sys.argv[1:], KitSession())
