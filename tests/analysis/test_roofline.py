"""Operations and bytes of a token, and the share of a measured peak."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lstmbench import reference
from lstmbench.analysis import roofline
from lstmbench.backend import ModelConfig, TrainingConfig
from lstmbench.protocol import D2L
from lstmbench.records.record import Copy, Epochs, Matmul, Peak

Make = Callable[..., Any]
models = st.builds(
    ModelConfig,
    vocabulary_size=st.integers(2, 50),
    hidden_size=st.integers(1, 40),
    layers=st.integers(1, 4),
)


def test_the_default_model_needs_1_62_million_operations_a_token() -> None:
    assert roofline.cost(D2L.model(28), D2L.training).operations == pytest.approx(1.62e6, rel=2e-3)


@given(models)
def test_forward_counts_two_operations_per_entry_of_every_kernel_but_the_looked_up_one(
    model: ModelConfig,
) -> None:
    parameters = reference.draw_parameters(model, seed=0)
    kernels = [array for name, array in parameters.items() if "kernel" in name]
    entries = sum(kernel.size for kernel in kernels[1:])
    cost = roofline.cost(model, TrainingConfig(1.0, 1.0, 4, 5))
    assert cost.forward == 2 * entries
    assert cost.backward == 4 * entries


@given(models, st.integers(1, 64), st.integers(1, 64))
def test_the_update_s_share_falls_with_the_window(
    model: ModelConfig, batch: int, steps: int
) -> None:
    cost = roofline.cost(model, TrainingConfig(1.0, 1.0, batch, steps))
    wider = roofline.cost(model, TrainingConfig(1.0, 1.0, 2 * batch, steps))
    assert cost.update * batch * steps == pytest.approx(4 * model.parameter_count)
    assert wider.update < cost.update
    assert wider.bytes < cost.bytes
    assert wider.intensity > cost.intensity
    assert (wider.forward, wider.backward) == (cost.forward, cost.backward)


def test_bytes_follow_the_dtype() -> None:
    sizes = [
        roofline.cost(D2L.model(28), D2L.training, dtype).bytes for dtype in ("float32", "float64")
    ]
    assert sizes[1] == 2 * sizes[0]


def test_the_share_of_the_peak_is_achieved_over_measured(make_record: Make) -> None:
    operations = roofline.cost(D2L.model(28), D2L.training).operations
    epochs = Epochs(seconds=[1.0] * 12, nats=[1.0] * 12, tokens=[1000] * 12)
    # the faster half are matmuls of half a second: 4 million operations a second
    matmul = Matmul(library="x", side=100, dtype="float32", seconds=[0.5, 0.5, 9.0])
    record = make_record(
        epochs=epochs, peak=Peak(matmul=matmul, copies=Copy(size=100, seconds=[0.5, 4.0]))
    )
    assert roofline.achieved(record) == pytest.approx(1000 * operations)
    assert roofline.peak(record) == pytest.approx(4e6)
    assert roofline.peak_share(record) == pytest.approx(1000 * operations / 4e6)
    assert roofline.bandwidth(record) == pytest.approx(400.0)


def test_without_matmuls_or_epochs_there_is_no_share(make_record: Make) -> None:
    assert roofline.peak_share(make_record()) is None
    assert roofline.bandwidth(make_record()) is None
    matmul = Matmul(library="x", side=100, dtype="float32", seconds=[0.5])
    unborn = make_record(status="interrupted", epochs=Epochs(), peak=Peak(matmul=matmul))
    assert roofline.peak_share(unborn) is None
    assert roofline.bandwidth(unborn) is None
