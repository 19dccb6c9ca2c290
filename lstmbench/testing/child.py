"""The child process of the kit: one backend, mode and device, one check per request."""

from __future__ import annotations

import faulthandler
import importlib
import sys
import traceback
from collections.abc import Callable
from typing import Any

from lstmbench.errors import Unavailable
from lstmbench.testing.checks import CHECKS
from lstmbench.testing.crash import crash
from lstmbench.testing.debug import examine
from lstmbench.testing.lab import CheckContext
from lstmbench.worker import loop, session
from lstmbench.worker.answers import InvalidAnswer

FRAMEWORKS = ("tensorflow", "keras", "torch", "jax")
CRASH_ADVICE = "The exception is the plugin's own: repair that first."
NAN_ADVICE = "lstmbench debug shows the first quantity that is not finite."


class Session:
    """Requests ``load``, ``check`` and ``debug``."""

    lab: CheckContext

    def load(self, request: dict[str, Any]) -> loop.Answer:
        """Import the plugin's package, then its backend; tell what the first of them dragged in."""
        faulthandler.enable()
        self.package = request["factory"].partition(":")[0].partition(".")[0]
        before = set(sys.modules)
        importlib.import_module(self.package)
        dragged_in = {name.partition(".")[0] for name in set(sys.modules) - before}
        self.factory = session.import_factory(request)
        self.where = {name: request[name] for name in ("device", "mode", "dtype", "threads")}
        self.lab = CheckContext(self.factory, **self.where)
        return {"dragged_in": sorted(dragged_in & {*request["imports"], *FRAMEWORKS})}

    def check(self, request: dict[str, Any]) -> loop.Answer:
        """Run one check; the answer is empty, or tells ``failure``, ``lines`` and ``advice``."""
        check = CHECKS[request["name"]]
        return self._told(lambda: check.run(self.lab), request["seconds"]) or {}

    def debug(self, request: dict[str, Any]) -> loop.Answer:
        """Compare one window, quantity by quantity, at the sizes asked for."""
        steps: list[dict[str, Any]] = []

        def work() -> None:
            steps.extend(examine(self.factory, self.where, request["sizes"]))

        failure = self._told(work, request["seconds"])
        return {"steps": steps, "failure": failure}

    def _told(self, work: Callable[[], None], seconds: float) -> dict[str, Any] | None:
        """Run ``work`` and tell its failure; a hang leaves its stack in the log first."""
        faulthandler.dump_traceback_later(seconds)
        try:
            work()
        except Unavailable:
            raise
        except InvalidAnswer as error:
            advice = {"advice": NAN_ADVICE} if error.reason == "nan" else {}
            return {"failure": str(error), **advice}
        except Exception as error:
            crashed = crash(error, self.package)
            if crashed:
                traceback.print_exc()
                return {
                    "failure": crashed.message,
                    "lines": crashed.lines,
                    "advice": CRASH_ADVICE,
                }
            told = str(error)
            if not isinstance(error, AssertionError):
                told = f"raised {type(error).__name__}: {error}"
            return {"failure": told, "lines": getattr(error, "lines", ())}
        finally:
            faulthandler.cancel_dump_traceback_later()
        return None


if __name__ == "__main__":
    loop.main(sys.argv[1:], Session())
