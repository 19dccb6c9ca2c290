"""The child process of the kit: one backend, mode and device, one check per request."""

from __future__ import annotations

import faulthandler
import importlib.util
import sys
import traceback
from collections.abc import Callable

from lstmbench.cells import load_cell
from lstmbench.errors import Unavailable
from lstmbench.testing.checks import CHECKS
from lstmbench.testing.crash import crash
from lstmbench.testing.debug import examine
from lstmbench.testing.lab import CheckContext
from lstmbench.testing.messages import (
    Check,
    Checked,
    CheckFailure,
    Examine,
    Examined,
    KitLoaded,
    LoadKit,
    Step,
)
from lstmbench.worker.answers import InvalidAnswer
from lstmbench.worker.loop import Handlers, OutOfOrder, Session, main
from lstmbench.worker.session import import_factory

FRAMEWORKS = ("tensorflow", "keras", "torch", "jax")
CRASH_ADVICE = "The exception is the plugin's own: repair that first."
NAN_ADVICE = "lstmbench debug shows the first quantity that is not finite."


class KitSession(Session):
    """Load, then any number of checks."""

    def __init__(self) -> None:
        self._context: CheckContext | None = None
        self._package = ""

    def handlers(self) -> Handlers:
        return {LoadKit: self.load, Check: self.check, Examine: self.examine}

    def load(self, request: LoadKit) -> KitLoaded:
        """Import the plugin's package, then its backend; tell what the first of them dragged in."""
        faulthandler.enable()
        self._package = request.factory.partition(":")[0].partition(".")[0]
        before = set(sys.modules)
        importlib.import_module(self._package)
        dragged_in = {name.partition(".")[0] for name in set(sys.modules) - before}
        factory = import_factory(request.factory, request.imports, request.install)
        self._context = CheckContext(
            factory,
            request.device,
            request.mode,
            request.dtype,
            request.threads,
            load_cell(request.reference),
        )
        missing = [name for name in request.imports if importlib.util.find_spec(name) is None]
        return KitLoaded(sorted(dragged_in & {*request.imports, *FRAMEWORKS}), missing)

    def check(self, request: Check) -> Checked:
        """Run one check."""
        context = self._loaded()
        run = CHECKS[request.which].run
        return Checked(self._failure(lambda: run(context), request.stack_after))

    def examine(self, request: Examine) -> Examined:
        """Compare one window, quantity by quantity, at the sizes asked for."""
        context = self._loaded()
        steps: list[Step] = []
        failure = self._failure(
            lambda: steps.extend(examine(context, request)), request.stack_after
        )
        return Examined(steps, failure)

    def _loaded(self) -> CheckContext:
        if self._context is None:
            raise OutOfOrder("the kit must be asked to load first")
        return self._context

    def _failure(self, work: Callable[[], None], stack_after: float) -> CheckFailure | None:
        """Do ``work`` and say how it failed; a hang leaves its stack in the log first."""
        faulthandler.dump_traceback_later(stack_after)
        try:
            work()
        except Unavailable:
            raise
        except InvalidAnswer as error:
            return CheckFailure(str(error), [], NAN_ADVICE if error.reason == "nan" else None)
        except Exception as error:
            if crashed := crash(error, self._package):
                traceback.print_exc()
                return CheckFailure(crashed.message, list(crashed.lines), CRASH_ADVICE)
            message = str(error)
            if not isinstance(error, AssertionError):
                message = f"raised {type(error).__name__}: {error}"
            return CheckFailure(message, list(getattr(error, "lines", ())))
        finally:
            faulthandler.cancel_dump_traceback_later()
        return None


if __name__ == "__main__":
    main(sys.argv[1:], KitSession())
