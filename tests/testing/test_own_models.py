"""Models that plugins bring, at the documents' examples: proven against their own references."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lstmbench import reference
from lstmbench.analysis.tables import tables_from
from lstmbench.backend import ModelConfig
from lstmbench.cells import LSTM, Cell, load_cell, operations_per_token, tensor_shapes
from lstmbench.records.record import Record
from lstmbench.testing.checks import CHECKS
from lstmbench.testing.lab import CheckContext, random_batches

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples" / "own-models"
MODEL = ModelConfig(vocabulary_size=11, hidden_size=16, layers=2)
REFERENCE = "lstmbench_own_models.reference"
#: A GRU whose backend or reference is wrong in one place, beside the right ones.
WRONG = """
from lstmbench import BackendSpec, Batches, hookimpl
from lstmbench_own_models.backend import GruBackend
from lstmbench_own_models.reference import GruCell, PeepholeCell


class NoResetCell(GruCell):
    def forward(self, layer, projected, state):
        layer.extra["recurrent_bias"][:] = 0
        return super().forward(layer, projected, state)


class WrongSlopesCell(GruCell):
    def backward(self, layer, tape, slopes):
        d_own, gradient = super().backward(layer, tape, slopes)
        return d_own, {**gradient, "recurrent_bias": 2 * gradient["recurrent_bias"]}


class NoResetBackend(GruBackend):
    cell = NoResetCell()


class WrongSlopesBackend(GruBackend):
    cell = WrongSlopesCell()


class LazyBackend(GruBackend):
    # leaves out the first window, but not of the first epochs, which are the proof
    def train_epoch(self, batches):
        self.done = getattr(self, "done", 0) + 1
        if self.done <= 2:
            return super().train_epoch(batches)
        before = self._parameters
        loss = super().train_epoch(batches)
        super().load_parameters(before)
        super().train_epoch(Batches(batches.inputs[1:], batches.targets[1:]))
        return loss


class NoCell:
    pass


@hookimpl
def lstmbench_backends():
    return [
        BackendSpec(
            name, "", f"wrong:{backend}", {"cpu": ("eager",)}, model="gru", reference=cell
        )
        for name, backend, cell in (
            ("no-reset", "NoResetBackend", "lstmbench_own_models.reference:GruCell"),
            ("wrong-slopes", "WrongSlopesBackend", "wrong:WrongSlopesCell"),
            ("no-cell", "GruBackend", "wrong:NoCell"),
            ("lazy", "LazyBackend", "lstmbench_own_models.reference:GruCell"),
            ("other", "GruBackend", "other_reference:OtherCell"),
        )
    ]
"""
#: The same cell in a module that says which processes import it.
OTHER = """
import sys
from pathlib import Path
from lstmbench_own_models.reference import GruCell

with Path(__file__).with_suffix(".txt").open("a") as file:
    print(" ".join(sys.orig_argv), file=file)


class OtherCell(GruCell):
    pass
"""


@pytest.fixture
def own(cli: Any) -> Any:
    """The command line with the examples, and with wrong ones beside them."""
    (cli.site / "lstmbench_own_models").symlink_to(EXAMPLES / "lstmbench_own_models")
    entry_points = "[lstmbench]\nown-models = lstmbench_own_models\n"
    cli.distribution("lstmbench-own-models", entry_points)
    cli.plugin("wrong", WRONG)
    (cli.site / "other_reference.py").write_text(OTHER)
    return cli


@pytest.fixture(params=["GruCell", "PeepholeCell"])
def cell(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Cell:
    monkeypatch.syspath_prepend(str(EXAMPLES))
    return load_cell(f"{REFERENCE}:{request.param}")


def test_a_reference_s_gradients_are_the_slopes_of_its_loss(cell: Cell) -> None:
    factory: Any = None  # only the reference is asked
    CHECKS["own_reference"].run(CheckContext(factory, "cpu", "eager", "float64", 1, cell))


def test_a_reference_states_shapes_and_operations(cell: Cell) -> None:
    drawn = reference.draw_parameters(MODEL, 0, cell=cell)
    shapes = tensor_shapes(cell, MODEL)
    assert {name: array.shape for name, array in drawn.items()} == shapes
    kernels = [s for name, s in shapes.items() if name.endswith("kernel")]
    # without the first layer's input, which is a look-up
    assert operations_per_token(cell, MODEL) == 2 * sum(a * b for a, b in kernels[1:])


def test_parameters_of_any_shape_keep_their_names(cell: Cell) -> None:
    drawn = reference.draw_parameters(MODEL, 0, bias_scale=1.0, cell=cell)
    again = drawn.like([array for _, array in drawn.astype("float64").items()])
    assert [name for name, _ in again.items()] == [name for name, _ in drawn.items()]
    assert again.astype("float32").digest() == drawn.digest()


def test_a_peephole_lstm_without_peepholes_is_the_lstm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(EXAMPLES))
    peephole = load_cell(f"{REFERENCE}:PeepholeCell")
    batches = random_batches(2, 4, 6)
    plain, closed = (
        reference.draw_parameters(MODEL, 0, 0.3, cell=each).astype(np.float64)
        for each in (LSTM, peephole)
    )
    losses = [
        reference.evaluate(parameters, batches, each).nats
        for parameters, each in ((plain, LSTM), (closed, peephole))
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-12)


@pytest.mark.frameworks
def test_the_gru_is_the_one_of_pytorch(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.syspath_prepend(str(EXAMPLES))
    gru = load_cell(f"{REFERENCE}:GruCell")
    parameters = reference.draw_parameters(MODEL, 0, 0.3, 0.3, gru).astype(np.float64)
    inputs, targets = next(iter(random_batches(1, 4, 6)))
    state = reference.zero_state(parameters, 4, gru)
    nats, gradient, _ = reference.gradients(parameters, inputs, targets, state, gru)
    layers = torch.nn.GRU(11, 16, 2, dtype=torch.float64)
    with torch.no_grad():
        for ours, theirs in zip(parameters.layers, layers.all_weights, strict=True):
            theirs[0].copy_(torch.tensor(ours.input_kernel.T))
            theirs[1].copy_(torch.tensor(ours.recurrent_kernel.T))
            theirs[2].copy_(torch.tensor(ours.bias))
            theirs[3].zero_()[32:] = torch.tensor(ours.extra["recurrent_bias"])
    one_hot = torch.nn.functional.one_hot(torch.tensor(inputs.T, dtype=torch.int64), 11).double()
    outputs, _ = layers(one_hot)
    kernel, bias = (torch.tensor(a) for a in (parameters.output_kernel, parameters.output_bias))
    logits = (outputs @ kernel + bias).flatten(0, 1)
    loss = torch.nn.functional.cross_entropy(logits, torch.tensor(targets.T).flatten().long())
    loss.backward()
    assert nats / targets.size == pytest.approx(loss.item(), rel=1e-12)
    for ours, theirs in zip(gradient.layers, layers.all_weights, strict=True):
        expected = [each.grad.numpy().T for each in theirs]
        for got, slope in zip(ours.tensors().values(), expected, strict=True):
            np.testing.assert_allclose(got, slope[-got.shape[-1] :] if got.ndim == 1 else slope)


def test_the_kit_proves_a_model_against_its_own_reference(own: Any) -> None:
    done = own("check", "numpy-gru")
    assert done.returncode == 0, done.stdout + done.stderr
    basic = [check for check in CHECKS.values() if not check.features]
    assert done.stdout.count(" passed ") == len(basic) + 1
    shown = own("debug", "numpy-peephole")
    assert shown.returncode == 0, shown.stdout + shown.stderr
    assert "gradient of layer0.peepholes" in shown.stdout


@pytest.mark.parametrize(
    ("name", "failing", "said"),
    [
        ("no-reset", "forward_loss", "nats of one window"),
        ("wrong-slopes", "own_reference", "slope of the loss by layer0.recurrent_bias"),
        ("no-cell", "spec_imports_no_framework", "not a lstmbench.Cell"),
    ],
)
def test_a_wrong_model_is_found_by_the_kit(own: Any, name: str, failing: str, said: str) -> None:
    done = own("check", name, "--only", failing)
    assert done.returncode == 1
    (line,) = [row for row in done.stdout.splitlines() if row.startswith(f"  {failing} ")]
    assert " failed " in line
    assert said in line


def test_a_run_audits_own_models_against_their_reference(own: Any) -> None:
    done = own.run("--backends", "numpy-gru,no-reset")
    records = own.records()
    assert records["no-reset"]["reason"] == "parity", done.stderr
    record = records["numpy-gru"]
    assert record["status"] == "ok"
    assert {"segment", "challenge"} <= {part["what"] for part in record["audit"]["parts"]}
    assert not {"unaudited", "suspect"} & set(record["flags"])


@pytest.mark.slow
def test_an_own_model_is_proven_measured_and_never_ranked_with_the_lstm(own: Any) -> None:
    backends = "numpy,numpy-gru,numpy-peephole,no-reset,lazy,other"
    done = own.run("--backends", backends)
    records = own.records()
    assert done.returncode == 1, done.stderr
    assert {name: record["status"] for name, record in records.items()} == {
        "numpy": "ok",
        "numpy-gru": "ok",
        "numpy-peephole": "ok",
        "no-reset": "failed",
        "lazy": "failed",
        "other": "ok",
    }
    assert records["lazy"]["reason"] == "audit"
    assert records["no-reset"]["reason"] == "parity"
    assert records["numpy"]["own_model"] is None
    model = records["numpy-gru"]["own_model"]
    assert model["reference"] == f"{REFERENCE}:GruCell"
    assert model["tensors"]["layer0.recurrent_bias"] == [8]
    assert records["numpy-gru"]["trial"]["model"] == "gru"
    for name in ("numpy-gru", "numpy-peephole"):
        kinds = {part["what"] for part in records[name]["audit"]["parts"]}
        assert kinds >= {"segment", "challenge"}
        assert not {"unaudited", "suspect"} & set(records[name]["flags"])
    named = records["numpy-gru"]["interleaved_with"]
    together = sorted(name.partition("-eager-cpu")[0] for name in named)
    assert together == ["lazy", "no_reset"]
    assert records["other"]["interleaved_with"] == []
    imported = (own.site / "other_reference.txt").read_text().splitlines()
    assert {line.split(" -m ")[1].split()[0] for line in imported} == {
        "lstmbench.worker",
        "lstmbench.audit",
    }
    tables = tables_from([Record.model_validate(record) for record in records.values()])
    assert sorted(sorted(row.first.trial.backend for row in table.rows) for table in tables) == [
        ["lazy", "no-reset", "numpy-gru"],
        ["numpy"],
        ["numpy-peephole"],
        ["other"],
    ]
    assert "model gru by its plugin's own reference" in done.stdout
    (folder,) = own.runs()
    published = own("publish", folder, "--to", own.folder / "results", "--allow-dirty")
    assert published.returncode == 0, published.stderr
    verified = own("verify", own.folder / "results")
    assert verified.returncode == 0, verified.stdout + verified.stderr
    replayed = own("verify", own.folder / "results", "--replay")
    assert replayed.returncode == 0, replayed.stdout + replayed.stderr
    assert "not vouched for: losses, which were not trained again: model 'gru'" in replayed.stdout


@pytest.mark.slow
@pytest.mark.parametrize("init", ["shared", "native"])
def test_audits_of_own_models_find_nothing_at_the_sizes_of_a_protocol(own: Any, init: str) -> None:
    backends = "numpy-gru,numpy-peephole"
    asked = ("--backends", backends, "--protocol", "quick", "--init", init)
    text = ("--devices", "cpu", "--corpus", "bundled", "--store", own.store)
    done = own("run", *text, *asked, "--epochs", "6")
    assert done.returncode == 0, done.stdout + done.stderr
    for name, record in own.records().items():
        assert record["status"] == "ok", name
        # beside other programs the challenge may be too slow to show the speed
        doubts = {"suspect"} if "interference" in record["flags"] else {"suspect", "unaudited"}
        assert not doubts & set(record["flags"]), name
        parts = {part["what"]: part for part in record["audit"]["parts"]}
        assert {"challenge", "segment", "text"} <= set(parts), name
        assert "layer0.recurrent_kernel" in parts["segment"]["allowed"], name


@pytest.mark.slow
def test_all_leaves_the_examples_out(own: Any) -> None:
    own.run("--backends", "all", "--epochs", "1")
    assert set(own.records()) == {
        *("numpy", "no-reset", "wrong-slopes", "no-cell", "lazy", "other"),
    }


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"own_model": {"reference": "a:b", "tensors": {}, "operations_per_token": 1}}, "none"),
        ({"trial": {"model": "gru"}}, "expected one"),
    ],
)
def test_a_record_says_of_an_own_model_what_it_must(
    make_record: Any, fields: dict[str, Any], said: str
) -> None:
    record = json.loads(make_record().model_dump_json())
    trial = {**record["trial"], **fields.pop("trial", {})}
    with pytest.raises(ValueError, match=f"own_model: expected {said}|own_model: {said}"):
        Record.model_validate({**record, "trial": trial, **fields})
