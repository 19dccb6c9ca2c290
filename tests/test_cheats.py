"""A backend that claims more than it did is failed or flagged; an honest one beside it is not."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
MODULES = ("cunning_backends", "cheating_backends")
#: Where some of them keep what they have trained.
REMEMBERED = Path("/tmp/lstmbench-test-of-cheats"), Path("/dev/shm/lstmbench-test-of-cheats")

PLUGIN = """
from lstmbench import BackendSpec, hookimpl

@hookimpl
def lstmbench_backends():
    for name, module in {found!r}.items():
        yield BackendSpec(name.lower(), "", f"{{module}}:{{name}}", {{"cpu": ("eager",)}})
"""
#: Large enough that an epoch takes longer than asking for it, small enough to train many.
SIZE = ("--epochs", "12", "--hidden-size", "32", "--batch-size", "32", "--steps", "35")
#: What is wrong with each, in words of the message or of the flag's reason.
ALONE = {
    "SpinsInAChild": "while others trained",
    "SpinsInADaemon": "while others trained",
    "SpinsInAThread": "while others trained",
    "SpinsFarAway": "while others trained",
    "WorksInOthersTime": "",
    "RenicesOthers": "priority",
    "MovesOthers": "processors",
    "IdlesOthers": "priority",
    "LimitsOthers": "limits",
    "WritesForOthers": "",
    "StopsOthers": "stopped",
    "TakesAProcessor": "more processors",
    "HelperElsewhere": "more processors",
    "AllCores": "more processors",
    "KillsTheAuditor": "",
    "KillsTheAuditorQuietly": "",
    "Deferred": "",
    "HalvedMemory": "memory",
    "PatchedMemory": "memory",
}
#: Those that stay among the default tests: one of each kind of check.
QUICK = ("LossTable", "SlowClock", "WrongMaths", "BetterText", "MovesOthers", "HalvedMemory")
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
    "RandomlyLazy": "",
    "HalfTheWindows": "",
    "HalfTheBatch": "",
    "NoLastWindow": "",
    "ReusesGradients": "",
    "QuantisedGradients": "differs from the reference",
    "SparseGradients": "differs from the reference",
    "FrozenRecurrence": "",
    "NoCarriedState": "",
    "ShortMemory": "",
    "HalfPrecision": "",
    "TensorFloat": "differs from the reference",
    "NoClipping": "challenge",
    "AnotherRate": "",
    "Momentum": "",
    "WhenAsked": "",
    "TrainsAhead": "",
    "WorksWhenPinged": "never seen",
    "WorksWhenIdle": "never seen",
    "Peeks": "differs from the reference",
    "SeesWhatIsRead": "differs from the reference",
    "FakeMatmul": "matmul",
    "PatchedReference": "",
    "PatchedParity": "",
    "WrongMaths": "",
    "BetterLoss": "loss 1",
    "BetterLastLoss": "loss",
    "BetterText": "text after epoch",
    "OthersParameters": "",
    "NoParameters": "parameters are gone",
    "FailsAfterTraining": "no parameters after training",
    "HugeParameters": "bytes",
    "PipeForParameters": "no file",
    "LinkForParameters": "cannot be read",
    "RemovesItsFolder": "",
    "NotFinite": "",
    "ExitsWhenAsked": "SIGKILL",
}
HONEST = ("SlowButHonest", "NoisyButHonest", "SlowParameters", "SlowToShow", "InAChild", "Writer")


def convicted(record: dict[str, Any]) -> bool:
    """Whether the record is not taken for an honest one; a busy machine is no reason."""
    return record["status"] == "failed" or bool({"suspect", "unaudited"} & set(record["flags"]))


def said(record: dict[str, Any]) -> str:
    from lstmbench.analysis import impossible
    from lstmbench.records.record import Record

    return "; ".join([record["message"], *impossible.reasons(Record.model_validate(record))])


def plugin(*names: str) -> str:
    """Offers backends of these names."""
    sources = {module: (HERE / f"{module}.py").read_text() for module in MODULES}
    found = {n: m for m, source in sources.items() for n in names if f"class {n}(" in source}
    assert found.keys() == set(names)
    return PLUGIN.format(found=found)


@pytest.fixture
def forgotten() -> Iterator[None]:
    """What others have left is not found, and nothing is left."""
    for folder in REMEMBERED:
        shutil.rmtree(folder, ignore_errors=True)
    yield
    for folder in REMEMBERED:
        shutil.rmtree(folder, ignore_errors=True)


def run(cli: Any, *names: str, more: tuple[str, ...] = ()) -> dict[str, dict[str, Any]]:
    cli.plugin("cheating", plugin(*names))
    chosen = ",".join([*map(str.lower, names[::2]), "numpy", *map(str.lower, names[1::2])])
    done = cli.run("--backends", chosen, *SIZE, *more)
    assert "Traceback" not in done.stderr, done.stderr
    records: dict[str, dict[str, Any]] = cli.records()
    return records


def check_honest(record: dict[str, Any]) -> None:
    assert record["status"] == "ok", record["message"]
    assert "suspect" not in record["flags"], said(record)


@pytest.fixture(scope="module")
def together(module_cli: Any) -> dict[str, dict[str, Any]]:
    """One run of all that leave others alone, and of the honest."""
    return run(module_cli, *TOGETHER, *HONEST)


@pytest.mark.slow
@pytest.mark.parametrize("name", TOGETHER)
def test_a_cheat_is_seen(together: dict[str, dict[str, Any]], cli: Any, name: str) -> None:
    record = together[name.lower()]
    if not convicted(record):  # what is audited is drawn by chance, and chances multiply
        record = run(cli, name)[name.lower()]
    assert convicted(record), record
    assert TOGETHER[name] in said(record)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["numpy", *map(str.lower, HONEST)])
def test_the_honest_beside_them_are_neither_failed_nor_suspect(
    together: dict[str, dict[str, Any]], name: str
) -> None:
    check_honest(together[name])


@pytest.mark.slow
@pytest.mark.parametrize("name", ALONE)
def test_a_backend_that_interferes_is_seen_and_the_others_are_not_blamed(
    cli: Any, name: str
) -> None:
    records = run(cli, name)
    assert convicted(records[name.lower()]), records[name.lower()]
    assert ALONE[name] in said(records[name.lower()])
    check_honest(records["numpy"])


def test_some_of_every_kind_are_seen(cli: Any) -> None:
    records = run(cli, *QUICK, "SlowToShow")
    words = ALONE | TOGETHER
    for name in QUICK:
        record = records[name.lower()]
        assert convicted(record), record
        assert words[name] in said(record)
    for name in ("numpy", "slowtoshow"):
        check_honest(records[name])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["Remembers", "RemembersAndWaits"])
def test_what_was_trained_once_is_no_work(
    cli: Any, name: str, tmp_path: Any, forgotten: None
) -> None:
    run(cli, name)
    for path in cli.runs():
        path.rename(tmp_path / "first")
    records = run(cli, name)
    assert convicted(records[name.lower()]), records[name.lower()]
    check_honest(records["numpy"])


@pytest.mark.slow
@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="no shared memory with a name")
def test_what_another_backend_of_the_group_has_trained_is_no_work(
    cli: Any, forgotten: None
) -> None:
    records = run(cli, "Leader", "Follower")
    for name in ("leader", "follower"):  # each comes first in turn
        assert convicted(records[name]), records[name]
    check_honest(records["numpy"])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["BetterTest", "SampledEvaluation"])
def test_a_better_result_on_held_out_text_is_seen(cli: Any, name: str) -> None:
    records = run(cli, name, more=("--protocol", "heldout", *SIZE, "--batch-size", "4"))
    assert "evaluation" in records[name.lower()]["message"]
    check_honest(records["numpy"])


@pytest.mark.skipif(sys.platform != "linux", reason="other systems keep caches elsewhere")
def test_nothing_is_kept_from_repeat_to_repeat(cli: Any) -> None:
    cli.plugin("cheating", plugin("Writer"))
    done = cli.run("--backends", "writer", "--repeats", "3", "--epochs", "2")
    assert done.returncode == 0, done.stderr
    found = [record["runtime"]["found"] for record in cli.all_records()]
    assert found == ["nothing"] * 3
    assert list(cli.scratch.iterdir()) == []
