"""One backend never ends another's trial: whatever it says, the records beside it are whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lstmbench.messages import storable
from lstmbench.records.store import load
from lstmbench.worker.messages import INTERFACE

PLUGIN = """
from lstmbench import BackendSpec, hookimpl

@hookimpl
def lstmbench_backends():
    for name in {names!r}:
        yield BackendSpec(name.lower(), "", f"hostile_backends:{{name}}", {{"cpu": ("eager",)}})
"""
SPEC = """
from lstmbench import BackendSpec, hookimpl

FACTORY = "lstmbench_numpy.backend:NumpyBackend"

@hookimpl
def lstmbench_backends():
    fields = {fields}
    modes = {{"cpu": (fields.pop("mode", "eager"),)}}
    yield BackendSpec(fields.pop("name", "odd"), "", FACTORY, modes, **fields)
"""
#: Name, status and reason, words of the message.
CASES: list[tuple[str, str, str | None, str]] = [
    ("UndecodableMessage", "failed", "exception", "cannot read caf\\udce9"),
    ("EscapesAndNul", "failed", "exception", "\\x1b[2J\\x00\\x9b31m gone"),
    ("ClockStandsStill", "failed", INTERFACE, "answer.seconds: expected"),
    ("ClockRunsBackwards", "failed", INTERFACE, "answer.seconds"),
    ("ClockIsNoNumber", "failed", INTERFACE, "answer.seconds: expected"),
    ("BackwardsInMatmulOnly", "failed", INTERFACE, "the reply to 'matmul' cannot be used"),
    ("AnswersAList", "failed", INTERFACE, "the reply to 'epoch' cannot be used"),
    ("AnswersText", "failed", INTERFACE, "the reply to 'epoch' cannot be used"),
    ("AnswersTwice", "failed", INTERFACE, "the reply to 'epoch' cannot be used"),
    ("NegativeMemory", "failed", INTERFACE, "answer.memory.device_peak: expected 0"),
    ("HugeMemory", "failed", INTERFACE, "answer.memory.device_peak: expected 0"),
    ("UndecodableRuntime", "ok", None, ""),
    ("EndlessMessage", "failed", "exception", "RuntimeError: xxx"),
    ("EndlessAnswer", "failed", INTERFACE, "a reply without end"),
]
NAMES = [name for name, *_ in CASES]


@pytest.fixture(scope="module")
def together(module_cli: Any) -> tuple[Any, Any]:
    """All in one group with ``numpy``."""
    module_cli.plugin("hostile", PLUGIN.format(names=NAMES))
    chosen = ",".join([*map(str.lower, NAMES), "numpy"])
    return module_cli, module_cli.run("--backends", chosen, "--timeout", "60")


@pytest.mark.parametrize(("name", "status", "reason", "words"), CASES, ids=NAMES)
def test_what_it_says_is_its_own_row(
    together: Any, name: str, status: str, reason: str | None, words: str
) -> None:
    record = together[0].records()[name.lower()]
    assert (record["status"], record["reason"]) == (status, reason)
    assert words in record["message"]
    assert len(record["message"]) < 4000
    for text in (record["message"], record["log_tail"], *record["runtime"].values()):
        assert storable(text) == text


def test_the_trial_beside_them_is_whole(together: Any) -> None:
    cli, done = together
    record = cli.records()["numpy"]
    assert record["status"] == "ok"
    assert len(record["epochs"]["seconds"]) == 4
    peak = record["peak"]
    assert peak is not None
    for series in peak.values():
        assert min(series["seconds"]) > 0
    assert done.returncode == 1
    assert "Traceback" not in done.stderr


def test_every_record_can_be_read(together: Any) -> None:
    cli, _ = together
    found = load(cli.runs())
    assert found.damaged == []
    assert len(found.records) == len(CASES) + 1
    report = cli("report", *cli.runs())
    assert report.returncode == 0, report.stderr


def test_facts_are_stored_escaped(together: Any) -> None:
    runtime = together[0].records()["undecodableruntime"]["runtime"]
    assert runtime == {"kernel \\udce9": "caf\\udce9 \\x1b[31m \\x00"}


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ('{"environment": {"A=B": "x"}}', ("backend 'odd'", "A=B")),
        ('{"environment": {"": "x"}}', ("backend 'odd'", "no environment can hold")),
        ('{"environment": {"A": "x\\0"}}', ("backend 'odd'", "NUL")),
        ('{"environment": {"A": "\\ud800"}}', ("backend 'odd'", "no environment can hold")),
        ('{"environment": {"A": "x" * 3_000_000}}', ("backend 'odd'", "3,000,002 bytes")),
        ('{"name": "x" * 300}', ("xxx", "bytes", "shorten")),
        ('{"mode": "x" * 300}', ("odd:xxx", "bytes", "shorten")),
        ('{"mode": "caf\\udce9"}', ("odd:caf", "record could not be read")),
    ],
    ids=str,
)
def test_what_no_process_or_file_can_hold_is_said_before_anything_is_trained(
    call: Any, here: Any, one_line: Any, fields: str, words: tuple[str, ...]
) -> None:
    here.plugin("odd_spec", SPEC.format(fields=fields))
    sizes = ("--corpus", "bundled", "--epochs", "1", "--hidden-size", "8", "--devices", "cpu")
    one_line(call("run", "--backends", "all", *sizes), *words)
    assert not Path("lstmbench-runs").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--seed", str(2**63)), ("--seed 9223372036854775808", "9223372036854775807")),
        (("--env", "A=" + "x" * 200_000), ("--env", "200,002 bytes")),
        (("--store", "s" * 300), ("store", "too long", "--store")),
    ],
    ids=lambda value: str(value[0]),
)
def test_options_that_no_record_or_file_can_hold(
    call: Any, one_line: Any, arguments: tuple[str, ...], words: tuple[str, ...]
) -> None:
    sizes = ("--corpus", "bundled", "--epochs", "1", "--hidden-size", "8", "--devices", "cpu")
    one_line(call("run", "--backends", "numpy", *sizes, *arguments), *words)


def test_undecodable_options_are_used_as_they_are_and_stored_escaped(cli: Any) -> None:
    store = cli.folder / "a\udcffb"
    done = cli.run("--backends", "numpy", "--store", store, "--env", "A=\udcff/srv/of/me/x")
    assert done.returncode == 0, done.stderr
    (run,) = store.iterdir()
    (record,) = load([run]).records
    assert record.status == "ok"
    assert record.trial.environment == {"A": "\\udcff.../x"}
    assert "a\\udcffb" in " ".join(record.source.command)
    assert "a\\udcffb" in done.stdout


def test_a_locale_without_letters_loses_nothing(cli: Any) -> None:
    (cli.folder / "s\u2603").mkdir()
    done = cli.run(
        *("--backends", "numpy", "--store", "s\u2603"),
        **{"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    )
    assert done.returncode == 0, done.stderr
    (run,) = (cli.folder / "s\u2603").iterdir()
    assert [record.status for record in load([run]).records] == ["ok"]
