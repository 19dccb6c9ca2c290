"""A backend that is 5 % slower is called worse within five minutes."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from lstmbench.analysis import compare
from lstmbench.records.store import open_runs

SLOWER = 0.05
BUDGET = 300
PLUGIN = f"""
import time
from lstmbench import BackendSpec, hookimpl


def slowed(task):
    from lstmbench_torch.backend import TorchBackend

    class Slowed(TorchBackend):
        def train_epoch(self, batches):
            begin = time.perf_counter()
            loss = super().train_epoch(batches)
            time.sleep({SLOWER} * (time.perf_counter() - begin))
            return loss

    return Slowed(task)


@hookimpl
def lstmbench_backends():
    return [BackendSpec("slowed", "torch, slowed", "slowed_plugin:slowed", {{"cpu": ("eager",)}})]
"""


def install(folder: Path) -> None:
    """A plugin of one module, as pip would leave it."""
    (folder / "slowed_plugin.py").write_text(PLUGIN)
    info = folder / "lstmbench_slowed-0.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: lstmbench-slowed\nVersion: 0.1\n")
    (info / "entry_points.txt").write_text("[lstmbench]\nslowed = slowed_plugin\n")


def test_five_per_cent_slower_is_worse_within_five_minutes(tmp_path: Path, benchmark: Any) -> None:
    install(tmp_path)
    store = tmp_path / "runs"
    command = [sys.executable, "-m", "lstmbench", "run", "--backends", "torch,slowed"]
    more = ["--devices", "cpu", "--protocol", "speed", "--corpus", "bundled"]
    ending = ["--precision", "2%", "--budget", str(BUDGET), "--store", str(store)]
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": path}
    begin = time.monotonic()
    benchmark.pedantic(
        lambda: subprocess.run([*command, *more, *ending], env=environment, check=True), rounds=1
    )
    seconds = time.monotonic() - begin
    records = [record for run in open_runs([store]) for record in run.records()]
    sides = [[r for r in records if r.trial.backend == name] for name in ("slowed", "torch")]
    speed = next(c for c in compare.compare(*sides) if c.metric.key == "tokens_per_second")
    benchmark.extra_info["verdict"] = speed.verdict
    benchmark.extra_info["ratio"] = speed.ratio.value
    benchmark.extra_info["interval"] = [speed.ratio.low, speed.ratio.high]
    benchmark.extra_info["repeats"] = speed.ratio.processes
    assert seconds < 300
    assert speed.verdict == "worse"
