"""Trials in bfloat16: rows of their own, both proofs in the record, mistakes in either caught."""

from __future__ import annotations

import json
from typing import Any

import pytest

PLUGIN = '''
from dataclasses import replace

from lstmbench import BackendSpec, EpochLoss, hookimpl, reference
from lstmbench.worker.parity_setting import rounded
from lstmbench_numpy.backend import NumpyBackend


class Half(NumpyBackend):
    """Computes with rounded parameters, which it keeps in float32."""

    def __init__(self, task):
        self.computes_in = task.dtype
        super().__init__(replace(task, dtype=task.parameter_dtype))

    def step(self, gradient):
        return self._optimizer.step(self._parameters, gradient)

    def train_epoch(self, batches):
        total, state = 0.0, reference.zero_state(self._parameters, batches.inputs.shape[1])
        for inputs, targets in batches:
            computed = rounded(self._parameters, self.computes_in)
            nats, gradient, state = reference.gradients(computed, inputs, targets, state)
            self._parameters, total = self.step(gradient), total + nats
        return EpochLoss(total, batches.tokens)


class Slower(Half):
    """Off by less than bfloat16 shows."""

    def step(self, gradient):
        self._optimizer.learning_rate = 0.97 * self.task.training.learning_rate
        return super().step(gradient)


class Uphill(Half):
    """In bfloat16 alone."""

    def step(self, gradient):
        if self.computes_in == "bfloat16":
            gradient = gradient.like([-slope for _, slope in gradient.items()])
        return super().step(gradient)


@hookimpl
def lstmbench_backends():
    for name, kind in (("half", "Half"), ("slower", "Slower"), ("uphill", "Uphill")):
        dtypes = {"cpu": ("float32", "bfloat16")}
        yield BackendSpec(name, "", f"halves:{kind}", {"cpu": ("eager",)}, dtypes=dtypes)
    only = {"cpu": ("bfloat16",)}
    yield BackendSpec("only", "", "halves:Half", {"cpu": ("eager",)}, dtypes=only)
'''


@pytest.fixture(scope="module")
def ran(module_cli: Any) -> Any:
    """The records of a run in bfloat16 by backend, and the command line."""
    module_cli.plugin("halves", PLUGIN)
    backends = ("--backends", "half,slower,uphill,only,numpy")
    done = module_cli.run(*backends, "--epochs", "3", "--dtype", "bfloat16")
    assert done.returncode == 1, done.stderr
    (folder,) = module_cli.runs()
    found = [json.loads(path.read_text()) for path in (folder / "records").glob("*.json")]
    return {record["trial"]["backend"]: record for record in found}, module_cli


def test_the_record_says_what_was_proven_in_which_dtype(ran: Any) -> None:
    record = ran[0]["half"]
    assert (record["status"], record["trial"]["dtype"]) == ("ok", "bfloat16")
    own, program = record["parity"], record["parity"]["program"]
    assert (own["tolerance"], program["tolerance"]) == (0.1, 1e-4)
    assert own["worst"] > 1e-4 > program["worst"]
    assert own["errors"].keys() == program["errors"].keys()
    assert "program" not in program
    assert "unaudited" not in record["flags"]


def test_a_mistake_that_rounding_hides_is_found_in_float32(ran: Any) -> None:
    record = ran[0]["slower"]
    assert (record["status"], record["reason"]) == ("failed", "parity")
    assert record["message"].startswith("in float32: ")
    own, program = record["parity"], record["parity"]["program"]
    assert own["worst"] <= own["tolerance"]
    assert program["worst"] > program["tolerance"]


def test_a_mistake_in_16_bits_alone_is_found_there(ran: Any) -> None:
    record = ran[0]["uphill"]
    assert (record["status"], record["reason"]) == ("failed", "parity")
    assert not record["message"].startswith("in float32")
    assert record["parity"]["program"] is None


def test_what_has_no_such_dtype_or_cannot_be_proven_says_so_in_a_line(ran: Any) -> None:
    records = ran[0]
    assert {records[name]["status"] for name in ("only", "numpy")} == {"unavailable"}
    assert "no float32 on cpu" in records["only"]["message"]
    assert records["numpy"]["message"] == "numpy offers float32, float64 on cpu, not bfloat16"


def test_verify_checks_both_proofs(ran: Any) -> None:
    records, cli = ran
    (folder,) = cli.runs()
    assert cli("verify", folder).returncode == 0
    (path,) = (folder / "records").glob("half-*.json")
    kept = path.read_text()
    proof = records["half"]["parity"]["program"]
    for change, said in (
        ({"worst": 1.0}, "parity.program.worst"),
        ({"tolerance": 0.1}, "parity.program.tolerance"),
        ({"errors": {**proof["errors"], "text: loss": 2e-3}}, "parity.program.errors.text: loss"),
    ):
        forged = json.loads(kept)
        forged["parity"]["program"] |= change
        path.write_text(json.dumps(forged))
        done = cli("verify", folder)
        assert done.returncode == 1
        assert said in done.stdout
    without = json.loads(kept)
    without["parity"]["program"] = None
    path.write_text(json.dumps(without))
    assert "parity in bfloat16 shows gross mistakes only" in cli("verify", folder).stdout
    path.write_text(kept)


def test_two_dtypes_share_no_table(ran: Any) -> None:
    cli = ran[1]
    done = cli.run("--backends", "half", "--epochs", "3")
    assert done.returncode == 0, done.stderr
    tables = json.loads(cli("report", cli.store, "--format", "json").stdout)
    assert sorted(table["facts"]["dtype"] for table in tables) == ["bfloat16", "float32"]
    digests = {
        json.loads(path.read_text())["digests"]["parameters"]
        for folder in cli.runs()
        for path in (folder / "records").glob("half-*.json")
    }
    assert len(digests) == 1  # both begin with the same parameters
