"""Facts about the machine."""

from __future__ import annotations

import getpass
import json
import os
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lstmbench.machine import facts


@pytest.fixture(autouse=True)
def _nothing_kept() -> Iterator[None]:
    kept = (facts.gpus, facts.facts, facts.versions)
    for function in kept:
        function.cache_clear()
    yield
    for function in kept:
        function.cache_clear()


def nvidia(monkeypatch: pytest.MonkeyPatch, folder: Path, script: str) -> None:
    """A ``nvidia-smi`` that runs ``script``."""
    program = folder / "nvidia-smi"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


def only_cuda(devices: dict[str, str]) -> dict[str, str]:
    return {name: model for name, model in devices.items() if name != "mps"}


def test_devices_are_the_cpu_and_every_gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    nvidia(monkeypatch, tmp_path, "echo NVIDIA A; echo NVIDIA B")
    assert only_cuda(facts.gpus()) == {"cuda:0": "NVIDIA A", "cuda:1": "NVIDIA B"}
    assert facts.devices()[:3] == ["cpu", "cuda:0", "cuda:1"]


@pytest.mark.parametrize(
    ("visible", "expected"),
    [
        ("1", {"cuda:0": "NVIDIA B"}),
        ("1,0", {"cuda:0": "NVIDIA B", "cuda:1": "NVIDIA A"}),
        ("", {}),
        ("-1", {}),
        # the driver stops at the first that is not there
        ("0,7", {"cuda:0": "NVIDIA A"}),
        ("7", {}),
    ],
)
def test_gpus_are_numbered_as_frameworks_see_them(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, visible: str, expected: dict[str, str]
) -> None:
    nvidia(monkeypatch, tmp_path, "echo NVIDIA A; echo NVIDIA B")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert only_cuda(facts.gpus()) == expected


@pytest.mark.parametrize("visible", [None, "0"])
@pytest.mark.parametrize("script", ["exit 9", "echo no devices >&2; exit 6", ":"])
def test_a_driver_that_fails_means_no_gpu(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, script: str, visible: str | None
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    nvidia(monkeypatch, tmp_path, script)
    assert only_cuda(facts.gpus()) == {}
    assert facts.devices()[0] == "cpu"


def test_cores_are_counted_within_what_may_be_used() -> None:
    assert 1 <= facts.physical_cores() <= len(facts.usable_cpus())


def test_threads_get_different_processors() -> None:
    for threads in range(1, len(facts.usable_cpus()) + 1):
        chosen = facts.choose_cpus(threads)
        if chosen is None:
            assert not hasattr(os, "sched_setaffinity")
            continue
        assert len(set(chosen)) == threads
        assert set(chosen) <= set(facts.usable_cpus())


def test_physical_cores_come_before_hardware_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(facts, "usable_cpus", lambda: [0, 1, 2, 3])
    monkeypatch.setattr(facts, "_siblings", lambda cpu: f"core {cpu // 2}")
    monkeypatch.setattr(os, "sched_setaffinity", None, raising=False)
    assert facts.choose_cpus(2) == [0, 2]
    assert facts.choose_cpus(4) == [0, 1, 2, 3]


def test_facts_are_plain_and_name_nobody() -> None:
    written = json.dumps(facts.facts())
    assert not re.search(r"/\w+/", written)
    for name in (socket.gethostname(), getpass.getuser()):
        assert not re.search(rf"\b{re.escape(name)}\b", written)
    assert facts.facts()["physical_cores"] >= 1
    assert facts.facts()["processor"]


def test_the_digest_is_of_the_facts(monkeypatch: pytest.MonkeyPatch) -> None:
    first = facts.digest()
    assert first == facts.digest()
    assert re.fullmatch("[0-9a-f]{64}", first)

    def others() -> dict[str, Any]:
        return {"processor": "another"}

    monkeypatch.setattr(facts, "facts", others)
    assert facts.digest() != first


def test_versions_name_python_host_and_plugins() -> None:
    versions = facts.versions()
    assert versions["lstmbench"]
    assert versions["lstmbench-numpy"]
    assert versions["numpy"]
    assert re.match(r"3\.\d+", versions["python"])


def test_versions_name_what_backends_import(monkeypatch: pytest.MonkeyPatch) -> None:
    providers = {"sklearn": ["scikit-learn"], "yaml": ["PyYAML"], "pytest": ["pytest"]}
    monkeypatch.setattr(facts.importlib.metadata, "packages_distributions", lambda: providers)
    versions = facts.versions(("pytest", "sklearn.linear_model", "numpy", "nosuch"))
    assert versions["pytest"] == pytest.__version__
    assert "nosuch" not in versions
    assert facts._distributions(["sklearn.linear_model", "numpy"]) == ["scikit-learn"]


@pytest.mark.parametrize("order", ["FASTEST_FIRST", "?"])
def test_an_order_of_cuda_s_own_has_no_numbers(monkeypatch: pytest.MonkeyPatch, order: str) -> None:
    monkeypatch.setenv("CUDA_DEVICE_ORDER", order)
    with pytest.raises(ValueError, match="CUDA_DEVICE_ORDER"):
        facts.physical_gpu(0)


@pytest.mark.parametrize(
    ("visible", "index", "expected"), [(None, 1, 1), ("2,0", 0, 2), ("2,0", 1, 0)]
)
def test_frameworks_number_the_visible_gpus_the_driver_all(
    monkeypatch: pytest.MonkeyPatch, visible: str | None, index: int, expected: int
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert facts.physical_gpu(index) == expected


def test_a_gpu_named_by_its_uuid_has_no_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-1234")
    with pytest.raises(ValueError, match="GPU-1234"):
        facts.physical_gpu(0)
