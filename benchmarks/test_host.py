"""What the host costs: starting it, planning 10,000 trials, reporting and publishing as many."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lstmbench.backend import BackendSpec
from lstmbench.protocol import SPEED
from lstmbench.records.record import Copy, Epochs, Matmul, Peak, StoppingRule
from lstmbench.records.store import Run
from lstmbench.runner.plan import Selection, make_plan
from lstmbench.testing import make_record

SIZES = range(16, 16 + 125)
BACKENDS = [BackendSpec(f"backend-{i}", "", "x:Y", {"cpu": ("eager", "jit")}) for i in range(4)]
SELECTION = Selection(
    backends=[(spec, None) for spec in BACKENDS],
    devices=["cpu"],
    modes=["all"],
    dtype="float32",
    protocols=[(replace(SPEED, hidden_size=n), {"hidden_size": n}) for n in SIZES],
    init="shared",
    corpus="time-machine",
    corpus_digest="8424dbd9" * 8,
    seeds=[0],
    threads=[2],
    environment={},
    repeats=10,
)


def test_help(benchmark: Any) -> None:
    command = [sys.executable, "-m", "lstmbench", "--help"]
    benchmark.pedantic(
        lambda: subprocess.run(command, check=True, capture_output=True),
        rounds=10,
        warmup_rounds=1,
    )


def test_planning_10_000_trials(benchmark: Any) -> None:
    plan = benchmark.pedantic(lambda: make_plan(SELECTION), rounds=3)
    assert len(plan.trials) == 10_000


@pytest.fixture(scope="module")
def big_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of 10,000 records with 60 epochs each."""
    run = Run.create(tmp_path_factory.mktemp("store"), "speed")
    plan = make_plan(SELECTION)
    run.write_plan(plan.to_json())
    matmul = Matmul(library="blas", side=1024, dtype="float32", seconds=[0.012] * 36)
    peak = Peak(matmul=matmul, copies=Copy(size=1 << 27, seconds=[0.02] * 18))
    rule = StoppingRule(precision=0.02, seconds=600)
    for index, trial in enumerate(plan.trials):
        seconds = [0.1 + (index * 7919 + epoch * 104_729) % 1000 / 1e5 for epoch in range(60)]
        epochs = Epochs(seconds=seconds, nats=[25_000.0] * 60, tokens=[8960] * 60)
        record = make_record(
            trial=trial, run=run.name, stopping_rule=rule, epochs=epochs, peak=peak
        )
        run.write_record(record)
    return run.folder


def test_reporting_10_000_records(big_run: Path, benchmark: Any) -> None:
    command = [sys.executable, "-m", "lstmbench", "report", str(big_run)]
    done = benchmark.pedantic(
        lambda: subprocess.run(command, check=True, capture_output=True, text=True), rounds=1
    )
    assert done.stdout.count("backend-3") > 100


def test_publishing_10_000_records(big_run: Path, tmp_path: Path, benchmark: Any) -> None:
    """Tables, plots, pages and all, into an empty folder."""
    command = [sys.executable, "-m", "lstmbench", "publish", str(big_run), "--to"]
    store = tmp_path / "results"
    benchmark.pedantic(
        lambda: subprocess.run([*command, str(store)], check=True, capture_output=True), rounds=1
    )
    assert len(list((store / "records").iterdir())) == 10_000
