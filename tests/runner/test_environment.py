"""The environment of a worker: what it inherits, what is its own, and what the guide says of it."""

from __future__ import annotations

import re
import site
from pathlib import Path

import pytest

from lstmbench.runner import environment
from lstmbench.runner.channel import Launch
from lstmbench.runner.environment import worker_environment

GUIDE = Path(__file__).parents[2] / "docs" / "plugin-guide.md"


def variables(threads: int = 2, **named: str) -> dict[str, str]:
    return worker_environment(Launch(Path("log"), threads, named), "/scratch/of-this-worker")


def test_nothing_else_is_inherited(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (
        "OMP_WAIT_POLICY",
        "JAX_COMPILATION_CACHE_DIR",
        "KERAS_BACKEND",
        "XDG_CONFIG_HOME",
    ):
        monkeypatch.setenv(name, "x")
    assert not {"OMP_WAIT_POLICY", "JAX_COMPILATION_CACHE_DIR", "KERAS_BACKEND"} & set(variables())
    assert "XDG_CONFIG_HOME" not in variables()


def test_what_is_kept_is_kept_in_the_worker_s_own_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in environment.SCRATCH:
        monkeypatch.setenv(name, "/home/someone")
    assert "someone" not in str(variables())
    for name in ("HOME", "TMPDIR", "XDG_CACHE_HOME", "TORCHINDUCTOR_CACHE_DIR", "KERAS_HOME"):
        assert variables()[name] == "/scratch/of-this-worker"


def test_packages_in_the_home_folder_are_found_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(site, "ENABLE_USER_SITE", True)
    monkeypatch.setattr(site, "USER_BASE", None)
    monkeypatch.delenv("PYTHONUSERBASE", raising=False)
    monkeypatch.setenv("HOME", "/home/someone")
    assert variables()["PYTHONUSERBASE"] == "/home/someone/.local"


def test_cards_are_counted_as_the_driver_does_unless_told_otherwise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("CUDA_DEVICE_ORDER", raising=False)
    assert variables()["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"
    monkeypatch.setenv("CUDA_DEVICE_ORDER", "FASTEST_FIRST")
    assert variables()["CUDA_DEVICE_ORDER"] == "FASTEST_FIRST"


def test_what_is_named_wins() -> None:
    seen = variables(3, HOME="/home/someone", NPROC="7")
    assert (seen["HOME"], seen["NPROC"], seen["OMP_NUM_THREADS"]) == ("/home/someone", "7", "3")


def test_the_guide_names_every_variable() -> None:
    text = GUIDE.read_text(encoding="utf-8")
    _, _, section = text.partition("## The environment of a worker\n")
    table = [
        line.split("|")[1] for line in section.partition("\n## ")[0].splitlines() if "|" in line
    ]
    named = re.findall(r"`([A-Z_]+)`", " ".join(table))
    known = {*environment.PASSED_ON, *environment.THREADS, *environment.SCRATCH}
    known |= {
        *environment.FIXED,
        environment.MARKER,
        "PYTHONPATH",
        "PYTHONHOME",
        "PYTHONUSERBASE",
        "PYTHONNOUSERSITE",
    }
    assert sorted(named) == sorted(known)
