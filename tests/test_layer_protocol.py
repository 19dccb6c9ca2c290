"""The protocol ``layer`` from the command line to verified records."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lstmbench.analysis import impossible
from lstmbench.analysis.metrics import BY_KEY
from lstmbench.analysis.tables import tables_from
from lstmbench.records.record import Record

PLUGIN = """
from lstmbench import BackendSpec, hookimpl

@hookimpl
def lstmbench_backends():
    for name in {names!r}:
        features = () if name == "Without" else ("layer",)
        yield BackendSpec(
            name.lower(), "", f"layer_backends:{{name}}", {{"cpu": ("eager",)}}, features=features
        )
"""
#: Passes of about a millisecond, nine to a round.
SIZE = (
    *("--protocol", "layer", "--epochs", "6", "--hidden-size", "48", "--input-size", "20"),
    *("--batch-size", "64", "--steps", "35", "--layers", "2", "--repeats", "1", "--threads", "1"),
)
#: Status, reason, and words of the message or of what cannot be true.
BROKEN = {
    "Without": ("unavailable", None, "without has no layer"),
    "DoublesBias": ("failed", "parity", "backward: layer"),
    "Half": ("failed", "parity", "differs from the reference"),
    "OtherShape": ("failed", "interface", "layer_result: outputs: expected shape (35, 64, 48)"),
    "Exits": ("failed", "exit", "exit status 7"),
    "NoGradientOfInputs": ("failed", "audit", "inputs differs from the reference"),
    "FirstPassOnly": ("failed", "audit", "differs from the reference"),
    "OnceShown": ("failed", "audit", "differs from the reference"),
    "WhenStaged": ("ok", None, "before the clock ran"),
    "WhenShown": ("ok", None, "of the fastest matmul"),
}


def records(store: Path) -> dict[str, Record]:
    found = [json.loads(file.read_text()) for file in store.glob("*/records/*.json")]
    return {data["trial"]["backend"]: Record.model_validate(data) for data in found}


@pytest.fixture(scope="module")
def measured(module_cli: Any) -> dict[str, Record]:
    module_cli.plugin("layers", PLUGIN.format(names=["Honest", *BROKEN]))
    done = module_cli(
        "run", *SIZE, "--backends", "all", "--devices", "cpu", "--store", module_cli.store
    )
    assert done.returncode == 1, done.stderr
    assert "ms forward" in done.stdout
    assert "us/step" in done.stdout
    assert "perplexity" not in done.stdout
    assert "corpus" not in done.stdout
    return records(module_cli.store)


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_wrong_with_a_backend_is_found(name: str, measured: dict[str, Record]) -> None:
    status, reason, words = BROKEN[name]
    record = measured[name.lower()]
    assert (record.status, record.reason) == (status, reason), record.message
    assert words in "; ".join([record.message, *impossible.reasons(record)])
    if status == "ok":
        assert "suspect" in record.flags


@pytest.mark.parametrize("name", ["honest", "numpy"])
def test_an_honest_backend_has_every_figure(name: str, measured: dict[str, Record]) -> None:
    record = measured[name]
    assert record.status == "ok", record.message
    assert "suspect" not in record.flags, impossible.reasons(record)
    slower = impossible.slower_than_timed(record)
    assert slower is not None
    # a machine may be slow for a moment
    assert "unaudited" not in record.flags or slower.is_doubtful
    assert record.layer is not None
    assert record.audit is not None
    assert len(record.layer.forward.seconds) == len(record.epochs.seconds) == 6
    assert not record.epochs.nats
    assert not record.audit.left_out
    assert {part.what for part in record.audit.parts} == {"challenge", "forward", "backward"}
    assert record.parameters == 4 * 48 * (20 + 48 + 1) + 4 * 48 * (48 + 48 + 1)
    (table,) = tables_from([record])
    value = {key: table.rows[0].value(metric) for key, metric in BY_KEY.items()}
    seconds, forward = value["layer_seconds"], value["layer_forward_seconds"]
    assert seconds
    assert forward
    assert forward < seconds
    assert value["layer_step_seconds"] == pytest.approx(seconds / 35)
    operations = 6 * 4 * 48 * (20 + 3 * 48) * 64 * 35
    assert value["operations_per_second"] == pytest.approx(operations / seconds)
    assert value["perplexity"] is None
    assert value["seconds_to_perplexity_2"] is None


def test_the_run_verifies_and_a_changed_record_does_not(
    measured: dict[str, Record], module_cli: Any, tmp_path: Path
) -> None:
    done = module_cli("verify", module_cli.store)
    assert done.returncode == 0, done.stdout
    (file,) = module_cli.store.glob("*/records/numpy*.json")
    data = json.loads(file.read_text())
    data["layer"]["passes"] += 1
    data["audit"]["parts"][0]["allowed"]["outputs"] = 0.9
    changed = tmp_path / "run"
    (changed / "records").mkdir(parents=True)
    (changed / "plan.json").write_text(file.parents[1].joinpath("plan.json").read_text())
    (changed / "records" / file.name).write_text(json.dumps(data))
    done = module_cli("verify", changed)
    assert done.returncode == 1
    assert "layer.passes" in done.stdout
    assert "allowed.outputs" in done.stdout


@pytest.mark.parametrize(
    ("option", "words"),
    [
        (("--corpus", "bundled"), "reads random numbers, no text"),
        (("--init", "native"), "reads random numbers, no text"),
        (("--dropout", "0.5"), "measures the recurrent layers alone"),
        (("--protocol", "quick", "--input-size", "3"), "this protocol reads text"),
        (("--steps", "1000000", "--batch-size", "1000000"), "does not fit into memory"),
    ],
)
def test_what_the_layers_do_not_have_is_refused(
    option: tuple[str, ...], words: str, cli: Any
) -> None:
    done = cli("run", *SIZE, "--backends", "numpy", *option)
    assert done.returncode == 2
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1
