"""A backend that claims more than it did is failed or flagged; an honest one beside it is not."""

from __future__ import annotations

from typing import Any

import pytest

PLUGIN = """
from lstmbench import BackendSpec, hookimpl

@hookimpl
def lstmbench_backends():
    for name in {names!r}:
        yield BackendSpec(name.lower(), "", f"cheating_backends:{{name}}", {{"cpu": ("eager",)}})
"""
#: Large enough that an epoch takes longer than asking for it, small enough to train many.
SIZE = ("--epochs", "12", "--hidden-size", "32", "--batch-size", "32", "--steps", "35")
#: What is wrong with each, in words of the message or of the flag's reason.
ALONE = {
    "SpinsInAChild": "while others trained",
    "SpinsInADaemon": "while others trained",
    "SpinsInAThread": "while others trained",
    "RenicesOthers": "priority",
    "MovesOthers": "processors of",
    "StopsOthers": "stopped",
    "KillsTheAuditor": "",
    "AllCores": "",
    "Deferred": "",
}
TOGETHER = {
    "SlowClock": "host saw",
    "SlightlySlowClock": "host saw",
    "StandingClock": "",
    "DividesSeconds": "host saw",
    "LossTable": "",
    "ConstantLoss": "",
    "ForwardOnly": "",
    "EveryOtherEpoch": "",
    "HonestAtFirst": "",
    "HonestAfterAQuestion": "",
    "HalfTheWindows": "",
    "HalfTheBatch": "",
    "NoLastWindow": "",
    "ReusesGradients": "",
    "FrozenRecurrence": "",
    "NoCarriedState": "",
    "ShortMemory": "",
    "HalfPrecision": "",
    "NoClipping": "challenge",
    "AnotherRate": "",
    "Momentum": "",
    "WhenAsked": "",
    "TrainsAhead": "trained ahead",
    "FakeMatmul": "matmul",
    "PatchedReference": "",
    "PatchedParity": "",
    "WrongMaths": "",
    "BetterLoss": "loss 1",
    "BetterLastLoss": "loss 1",
    "BetterText": "text after epoch",
    "OthersParameters": "",
    "NoParameters": "parameters are gone",
    "NotFinite": "",
    "ExitsWhenAsked": "SIGKILL",
}
HONEST = ("SlowButHonest", "NoisyButHonest", "SlowParameters", "InAChild")


def convicted(record: dict[str, Any]) -> bool:
    """Whether the record is not taken for an honest one; a busy machine is no reason."""
    return record["status"] == "failed" or bool({"suspect", "unaudited"} & set(record["flags"]))


def said(record: dict[str, Any]) -> str:
    from lstmbench.analysis import impossible
    from lstmbench.records.record import Record

    return "; ".join([record["message"], *impossible.reasons(Record.model_validate(record))])


def run(cli: Any, *names: str, **more: str) -> dict[str, dict[str, Any]]:
    cli.plugin("cheating", PLUGIN.format(names=names))
    chosen = ",".join([*map(str.lower, names[::2]), "numpy", *map(str.lower, names[1::2])])
    done = cli.run("--backends", chosen, *SIZE, **more)
    assert "Traceback" not in done.stderr, done.stderr
    records: dict[str, dict[str, Any]] = cli.records()
    return records


@pytest.fixture(scope="module")
def together(module_cli: Any) -> dict[str, dict[str, Any]]:
    """One run of all that leave others alone, and of the honest."""
    return run(module_cli, *TOGETHER, *HONEST)


@pytest.mark.parametrize("name", TOGETHER)
def test_a_cheat_is_seen(together: dict[str, dict[str, Any]], name: str) -> None:
    record = together[name.lower()]
    assert convicted(record), record
    assert TOGETHER[name] in said(record)


@pytest.mark.parametrize("name", ["numpy", *map(str.lower, HONEST)])
def test_the_honest_beside_them_are_neither_failed_nor_suspect(
    together: dict[str, dict[str, Any]], name: str
) -> None:
    assert together[name]["status"] == "ok", together[name]["message"]
    assert not convicted(together[name]), said(together[name])


@pytest.mark.parametrize("name", ALONE)
def test_a_backend_that_interferes_is_seen_and_the_others_are_not_blamed(
    cli: Any, name: str
) -> None:
    records = run(cli, name)
    assert convicted(records[name.lower()]), records[name.lower()]
    assert ALONE[name] in said(records[name.lower()])
    assert records["numpy"]["status"] == "ok", records["numpy"]["message"]
    assert not convicted(records["numpy"]), said(records["numpy"])


@pytest.mark.parametrize("name", ["Remembers", "RemembersAndWaits"])
def test_what_was_trained_once_is_no_work(cli: Any, name: str, tmp_path: Any) -> None:
    run(cli, name)
    for path in cli.runs():
        path.rename(tmp_path / "first")
    records = run(cli, name)
    assert convicted(records[name.lower()]), records[name.lower()]
    assert not convicted(records["numpy"])


def test_a_better_result_on_held_out_text_is_seen(cli: Any) -> None:
    cli.plugin("cheating", PLUGIN.format(names=["BetterTest"]))
    chosen = ("--backends", "bettertest,numpy", "--protocol", "heldout")
    done = cli.run(*chosen, *SIZE, "--batch-size", "4")
    assert "Traceback" not in done.stderr
    records = cli.records()
    assert "evaluation" in records["bettertest"]["message"]
    assert not convicted(records["numpy"])
