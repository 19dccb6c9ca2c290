"""What the fuzzers have in common: how long they run, and the program in this process."""

from __future__ import annotations

import contextlib
import io
import os
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from lstmbench import cli as program
from lstmbench.errors import UserError
from lstmbench.publish import plots
from lstmbench.records.store import Run
from lstmbench.runner import run as running
from lstmbench.testing import make_record

#: Inputs of each fuzzer: ``LSTMBENCH_FUZZ=100000`` is a night's work.
INPUTS = int(os.environ.get("LSTMBENCH_FUZZ", "20"))
settings.register_profile(
    "fuzz",
    max_examples=INPUTS,
    deadline=None,
    # the folders are the same for all inputs, which change nothing in them
    suppress_health_check=list(HealthCheck),
    # a long run should not give the same inputs as the last
    derandomize="LSTMBENCH_FUZZ" not in os.environ,
)


@dataclass(frozen=True)
class Ended:
    code: int
    out: str
    err: str

    def check(self, *codes: int) -> None:
        """It ended as it may: an error of the user's is exactly one line."""
        assert self.code in (codes or (0, 1, 2)), self
        assert "Traceback" not in self.err, self
        text = f"{self.out}{self.err}"
        assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", text), self
        if self.code == 2:
            *notes, last = self.err.splitlines()
            assert last.startswith(("lstmbench: ", "Usage: ")) or "Usage: " in self.err, self
            assert all(line.startswith("lstmbench: ") for line in notes) or "Usage" in self.err


Invoke = Callable[..., Ended]


@pytest.fixture(scope="module")
def invoke(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Invoke]:
    """``lstmbench`` in this process, without plugins; nothing is trained, drawn or downloaded."""
    folder = tmp_path_factory.mktemp("fuzz")

    def refuse(*_: Any, **__: Any) -> None:
        raise UserError("nothing is trained here")

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("LSTMBENCH_DISABLE_PLUGINS", "")
        patch.setattr(running, "conduct", refuse)
        patch.setattr("lstmbench.testing.runner.run_checks", refuse)
        patch.setattr("lstmbench.corpora.files._download", lambda *_: "no network")
        patch.setattr(plots, "MAX_PLOTS", 0)
        patch.setattr(plots, "MAX_PLOTS_OF_LONG", 0)
        patch.setattr("lstmbench.streams.prepare", lambda: None)

        def call(*arguments: str | Path) -> Ended:
            out, err = io.StringIO(), io.StringIO()
            patch.setattr(sys, "argv", ["lstmbench", *map(str, arguments)])
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                try:
                    program.main()
                except SystemExit as ended:
                    code = ended.code
            assert isinstance(code, int)
            return Ended(code, out.getvalue(), err.getvalue())

        yield call


@pytest.fixture
def folder() -> Path:
    """The current one of :func:`invoke`."""
    return Path.cwd()


@pytest.fixture(scope="module")
def run_folder(invoke: Invoke) -> Path:
    """A run of three trials in the current folder."""
    run = Run(Path("run"))
    (run.folder / "records").mkdir(parents=True)
    run.write_plan({})
    for backend in ("numpy", "torch", "jax"):
        run.write_record(make_record(backend=backend))
    return run.folder
