"""The plain data between host and plugins."""

from __future__ import annotations

import dataclasses
import importlib

import numpy as np
import pytest

import lstmbench
from lstmbench import reference
from lstmbench.backend import Backend, BackendSpec, ModelConfig, Parameters, Task, TrainingConfig

SPEC = BackendSpec(
    name="mine",
    summary="",
    factory="mine:Mine",
    modes={"cpu": ("eager", "jit", "graph"), "cuda": ("graphs",)},
    dtypes={"cuda": ("float32", "bfloat16")},
)
MODEL = ModelConfig(vocabulary_size=5, hidden_size=3, layers=2)


@pytest.mark.parametrize(
    ("kind", "asked", "modes"),
    [
        ("cpu", ["default"], ("eager",)),
        ("cpu", ["all"], ("eager", "jit", "graph")),
        ("cpu", ["graph", "jit"], ("jit", "graph")),
        ("cpu", ["default", "graph"], ("eager", "graph")),
        ("cpu", ["nonesuch"], ()),
        ("cuda", ["default"], ("graphs",)),
        ("mps", ["all"], ()),
    ],
)
def test_modes_of_a_device(kind: str, asked: list[str], modes: tuple[str, ...]) -> None:
    assert SPEC.modes_on(kind, asked) == modes


def test_dtypes_of_a_device() -> None:
    assert SPEC.dtypes_on("cpu") == ("float32",)
    assert SPEC.dtypes_on("cuda") == ("float32", "bfloat16")


def test_the_kind_of_a_device() -> None:
    task = Task(MODEL, TrainingConfig(1, 1, 1, 1), "cuda:3", "graphs", "float32", threads=1, seed=0)
    assert task.device_kind == "cuda"


def test_parameters_keep_their_order() -> None:
    parameters = reference.draw_parameters(MODEL, 0)
    names = [name for name, _ in parameters.items()]
    assert names == [
        *(
            f"layer{k}.{what}"
            for k in (0, 1)
            for what in ("input_kernel", "recurrent_kernel", "bias")
        ),
        "output_kernel",
        "output_bias",
    ]
    shapes = [array.shape for _, array in parameters.items()]
    assert shapes == [(5, 12), (3, 12), (12,), (3, 12), (3, 12), (12,), (3, 5), (5,)]
    again = Parameters.from_arrays([array for _, array in parameters.items()])
    assert again.digest() == parameters.digest()


def test_the_digest_sees_values_shapes_and_dtypes_but_not_the_layout() -> None:
    parameters = reference.draw_parameters(MODEL, 0)
    digest = parameters.digest()
    assert digest != reference.draw_parameters(MODEL, 1).digest()
    assert digest != parameters.astype(np.float64).digest()
    turned = Parameters.from_arrays([np.asfortranarray(a) for _, a in parameters.items()])
    assert digest == turned.digest()
    swapped = Parameters.from_arrays(
        [a.astype(a.dtype.newbyteorder(">")) for _, a in parameters.items()]
    )
    assert digest == swapped.digest()


def test_one_ulp_changes_the_digest() -> None:
    parameters = reference.draw_parameters(MODEL, 0)
    before = parameters.digest()
    array = parameters.layers[1].recurrent_kernel
    array[0, 0] = np.nextafter(array[0, 0], np.float32(1))
    assert parameters.digest() != before


def test_another_dtype_is_a_copy() -> None:
    parameters = reference.draw_parameters(MODEL, 0)
    copy = parameters.astype("float32")
    copy.output_bias[0] = 5
    assert parameters.output_bias[0] == 0


@pytest.mark.parametrize(
    "missing", ["load_parameters", "parameters", "train_epoch", "evaluate", "generate"]
)
def test_every_method_must_be_written(missing: str) -> None:
    written = {name: lambda self: None for name in Backend.__abstractmethods__ if name != missing}
    incomplete = type("Incomplete", (Backend,), written)
    with pytest.raises(TypeError, match=missing):
        incomplete(None)


def test_specs_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        SPEC.name = "other"  # type: ignore[misc]


@pytest.mark.parametrize("name", lstmbench.__all__)
def test_all_that_an_author_needs_is_at_the_top(name: str) -> None:
    found = getattr(lstmbench, name)
    assert getattr(found, "__name__", name) == name
    assert callable(found)


def test_what_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="nonesuch"):
        importlib.import_module("lstmbench").nonesuch  # noqa: B018
