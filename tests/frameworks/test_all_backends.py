"""The main job on real input: every installed backend on the same text."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.frameworks

BACKENDS = {
    "numpy",
    "tf-scratch",
    "keras",
    "keras-jax",
    "keras-torch",
    "torch",
    "torch-scratch",
    "jax",
}


def records(store: Path) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in sorted(store.glob("*/records/*.json"))]


def run(
    store: Path, *arguments: str
) -> tuple[subprocess.CompletedProcess[str], list[dict[str, Any]]]:
    command = [sys.executable, "-m", "lstmbench", "run", "--store", str(store), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done, records(store)


@pytest.fixture(scope="module")
def everything(
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[subprocess.CompletedProcess[str], list[dict[str, Any]]]:
    """All backends for 30 epochs of `d2l`, interleaved, as the README's command runs them."""
    if not os.environ.get("LSTMBENCH_DATA_DIR"):
        pytest.skip("LSTMBENCH_DATA_DIR names no folder with timemachine.txt")
    store = tmp_path_factory.mktemp("store")
    named = ["--backends", "all", "--devices", "cpu", "--epochs", "30", "--corpus", "time-machine"]
    return run(store, *named)


def test_all_backends_end_well(everything: Any) -> None:
    done, found = everything
    assert done.returncode == 0, done.stderr
    assert {r["status"] for r in found} == {"ok"}, done.stderr
    assert {r["trial"]["backend"] for r in found} == BACKENDS
    for backend in BACKENDS:
        assert any(line.split()[:1] == [backend] for line in done.stdout.splitlines())


def test_perplexities_agree_at_epoch_30(everything: Any) -> None:
    _, found = everything
    at_30 = {
        r["trial"]["backend"]: math.exp(r["epochs"]["nats"][29] / r["epochs"]["tokens"][29])
        for r in found
    }
    expected = at_30["numpy"]
    for backend, perplexity in at_30.items():
        assert perplexity == pytest.approx(expected, rel=1e-5), backend


def test_parity_is_proven_at_the_size_that_is_timed(everything: Any) -> None:
    _, found = everything
    for record in found:
        assert record["parity"]["worst"] < 1e-4, record["trial"]["backend"]
        assert record["parity"]["shape"] == [8, 32, 35]
        assert not record["parity"]["cut"]
        assert any(k.startswith("clipped") for k in record["parity"]["errors"])


def test_frameworks_count_the_parameters_of_the_formula(everything: Any) -> None:
    _, found = everything
    for record in found:
        counted = record["runtime"].get("parameters")
        assert counted is not None, record["trial"]["backend"]
        assert int(counted) == record["parameters"], record["trial"]["backend"]
        for fact in ("kernel", "threads", "biases"):
            assert record["runtime"].get(fact), (record["trial"]["backend"], fact)


@pytest.mark.slow
def test_every_mode_agrees(tmp_path: Path) -> None:
    """All modes of all backends from the same parameters, proven and compared."""
    done, found = run(
        tmp_path, "--backends", "all", "--modes", "all", "--devices", "cpu", "--epochs", "3",
        "--corpus", "bundled",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    losses = {(r["trial"]["backend"], r["trial"]["mode"]): r["epochs"]["nats"][2] for r in found}
    for label, nats in losses.items():
        assert nats == pytest.approx(losses["numpy", "eager"], rel=1e-6), label
    for record in found:
        assert record["parity"]["worst"] < 1e-4, record["trial"]
