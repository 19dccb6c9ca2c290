"""16 bits: the program is proven in float32, and the run in 16 bits is held to rounding."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from lstmbench.backend import ModelConfig, Parameters, Task, TrainingConfig
from lstmbench.batches import Batches, partition
from lstmbench.worker import parity
from lstmbench.worker.parity_setting import SIXTEEN_BITS, rounded


def load(name: str) -> ModuleType:
    """A module that stands above this folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", [str(Path(__file__).parents[1]), *sys.path])
        return importlib.import_module(name)


BROKEN, FEATURES = load("broken_backends"), load("broken_features")
VOCABULARY = 12
PLAIN = Task(
    ModelConfig(VOCABULARY, 64, 1),
    TrainingConfig(1.0, 1.0, 8, 10),
    device="cpu",
    mode="eager",
    dtype="bfloat16",
    threads=1,
    seed=0,
)
EMBEDDED = replace(PLAIN, model=replace(PLAIN.model, embedding_size=64))
TIED = replace(PLAIN, model=replace(EMBEDDED.model, tied=True))
DEEP = replace(PLAIN, model=replace(PLAIN.model, layers=2))
ADAM = replace(PLAIN, training=replace(PLAIN.training, optimizer="adam"))
RMSPROP = replace(PLAIN, training=replace(PLAIN.training, optimizer="rmsprop"))
SUMMED = replace(PLAIN, training=replace(PLAIN.training, loss="sum"))
MISTAKES: list[tuple[str, Task]] = [
    *((name, PLAIN) for name in ("SwappedGates", "StateNeverReset", "StateNeverCarried")),
    *((name, PLAIN) for name in ("ClipsEachTensor", "NeverClips", "BiasTwice", "GoesUphill")),
    *((name, PLAIN) for name in ("SumForMean", "BiasTwiceAndStateLost")),
    ("SecondLayerUntrained", DEEP),
    *((name, EMBEDDED) for name in ("EmbeddingOverwritten", "EmbeddingOutsideTheNorm")),
    *((name, TIED) for name in ("TiedInputOnly", "TiedOutputOnly", "TiedCountedTwice")),
    ("MeanForSumLoss", SUMMED),
    *((name, ADAM) for name in ("AdamUncorrected", "AdamClipsLast")),
    ("RmspropClipsLast", RMSPROP),
]
#: Of these, those that are caught even if the program has them in 16 bits only.
GROSS = {
    "SwappedGates",
    "ClipsEachTensor",
    "NeverClips",
    "BiasTwice",
    "GoesUphill",
    "SumForMean",
    "BiasTwiceAndStateLost",
    "SecondLayerUntrained",
    "EmbeddingOverwritten",
    "TiedInputOnly",
    "TiedOutputOnly",
    "AdamUncorrected",
}


def kind_of(name: str) -> Any:
    return getattr(BROKEN, name, None) or getattr(FEATURES, name)


@pytest.fixture(scope="module")
def batches() -> Batches:
    rng = np.random.default_rng(0)
    text = np.cumsum(rng.choice([1, 2], p=[0.9, 0.1], size=400)) % (VOCABULARY - 2) + 1
    return partition(text, 8, 10)


def half(kind: Any) -> Any:
    """The same backend computing with rounded parameters, which it keeps in float32."""

    class Half(kind):  # type: ignore[misc]
        def __init__(self, task: Task) -> None:
            self.computes_in = task.dtype
            super().__init__(replace(task, dtype=task.parameter_dtype))

        def slopes(self, *arguments: Any) -> Any:
            own: Parameters = self._parameters  # type: ignore[has-type]
            self._parameters = rounded(own, self.computes_in)
            try:
                return super().slopes(*arguments)
            finally:
                self._parameters = own

    return Half


def proofs(
    make: Callable[[Task], Any], task: Task, batches: Batches
) -> dict[str, parity.ParityResult]:
    """As a trial's worker and the auditor make them, by dtype."""
    found = {}
    for dtype in parity.proof_dtypes(task.dtype):
        setting = parity.choose_setting(replace(task, dtype=dtype), batches)
        found[dtype] = parity.check(make(setting.task), setting)
    return found


@pytest.mark.parametrize("dtype", SIXTEEN_BITS)
@pytest.mark.parametrize("task", [PLAIN, EMBEDDED, TIED, DEEP, ADAM, RMSPROP, SUMMED])
def test_a_correct_backend_passes(task: Task, dtype: str, batches: Batches) -> None:
    found = proofs(half(BROKEN.Open), replace(task, dtype=dtype), batches)
    assert list(found) == [dtype, "float32"]
    assert all(result.worst_difference is None for result in found.values())
    assert found[dtype].worst > 1e-5 > found["float32"].worst


@pytest.mark.parametrize(("name", "task"), MISTAKES, ids=[name for name, _ in MISTAKES])
def test_a_mistake_is_found_by_the_proof_in_float32(
    name: str, task: Task, batches: Batches
) -> None:
    found = proofs(half(kind_of(name)), task, batches)
    assert found["float32"].worst_difference is not None
    if name in GROSS:
        assert found["bfloat16"].worst_difference is not None


@pytest.mark.parametrize("name", sorted(GROSS))
def test_a_gross_mistake_in_16_bits_alone_is_found(name: str, batches: Batches) -> None:
    """A program is free to take another way there, and rounding explains no such error."""
    task = dict(MISTAKES)[name]

    def make(given: Task) -> Any:
        kind = kind_of(name) if given.dtype == "bfloat16" else BROKEN.Open
        return half(kind)(given)

    found = proofs(make, task, batches)
    assert found["float32"].worst_difference is None
    assert found["bfloat16"].worst_difference is not None


class KeepsHalf(half(BROKEN.Open)):  # type: ignore[misc]
    """Rounds what it has updated, too."""

    def step(self, gradient: Parameters) -> Parameters:
        return rounded(super().step(gradient), self.computes_in)


def test_parameters_that_are_kept_in_16_bits_are_another_training(batches: Batches) -> None:
    result = proofs(KeepsHalf, PLAIN, batches)["bfloat16"]
    assert result.worst_difference is not None


def test_other_dtypes_are_proven_by_themselves() -> None:
    assert parity.proof_dtypes("float32") == ("float32",)
    assert parity.proof_dtypes("float64") == ("float64",)
