"""Whatever a backend does, its row says so, the others go on, and nothing vanishes."""

from __future__ import annotations

import json
import math
import re
from typing import Any

import psutil
import pytest

PLUGIN = """
from lstmbench import BackendSpec, hookimpl

NAMES = {names!r}

@hookimpl
def lstmbench_backends():
    for name in NAMES:
        missing = name == "FrameworkMissing"
        yield BackendSpec(
            name.lower(),
            "",
            "no_such_framework:Model" if missing else f"faulty_backends:{{name}}",
            {{"cpu": ("eager",)}},
            imports=("no_such_framework",) if missing else (),
            install="pip install no-such",
        )
"""
#: Name, status and reason, words of the message, epochs that were finished.
FAULTS: list[tuple[str, str, str | None, str, int]] = [
    ("RaisesInBuild", "failed", "exception", "RuntimeError: cannot be built", 0),
    ("RaisesInPrepare", "failed", "exception", "RuntimeError: cannot be prepared", 0),
    ("RaisesInTrain", "failed", "exception", "second line", 1),
    ("RaisesInGenerate", "failed", "exception", "RuntimeError: speechless", 4),
    ("RaisesInRuntime", "failed", "exception", "RuntimeError: knows nothing", 4),
    ("NoMemory", "failed", "memory", "no room for 7 TiB", 1),
    ("NotANumber", "failed", "nan", "nan", 1),
    ("Prints", "ok", None, "", 4),
    ("Exits", "failed", "exit", "exit status 1", 1),
    ("SystemExits", "failed", "exit", "exit status 3", 1),
    ("LeavesAChild", "failed", "exit", "exit status 1", 1),
    ("Killed", "failed", "signal", "SIGKILL", 1),
    ("Crashes", "failed", "signal", "SIGSEGV", 1),
    ("NeverAnswers", "failed", "timeout", "no answer within 5 s", 1),
    ("WrongType", "failed", "interface", "EpochLoss", 1),
    ("NumpyNumber", "failed", "interface", "float32", 1),
    ("WrongCount", "failed", "interface", "tokens", 1),
    ("WrongLength", "failed", "interface", "expected 50 new ids", 4),
    ("NoBackend", "failed", "interface", "not a Backend", 0),
    ("NoSuchClass", "failed", "exception", "NoSuchClass", 0),
    ("TwiceTheRate", "failed", "parity", "text: ", 0),
    ("NoSuchDevice", "unavailable", None, "no such accelerator here", 0),
    ("FrameworkMissing", "unavailable", None, "no_such_framework is not installed: pip", 0),
]
NAMES = [name for name, *_ in FAULTS]


def install(cli: Any, *names: str) -> None:
    cli.plugin("faulty", PLUGIN.format(names=names))


@pytest.fixture(scope="module")
def together(module_cli: Any) -> tuple[Any, Any]:
    """One run: every fault, interleaved with the valid ``numpy`` in their midst."""
    install(module_cli, *NAMES)
    names = [name.lower() for name in NAMES]
    chosen = ",".join([*names[:9], "numpy", *names[9:]])
    done = module_cli.run("--backends", chosen, "--timeout", "5", USER="someone")
    return module_cli, done


@pytest.mark.parametrize(("name", "status", "reason", "words", "epochs"), FAULTS, ids=NAMES)
def test_a_fault_is_a_record_with_its_reason(
    together: Any, name: str, status: str, reason: str | None, words: str, epochs: int
) -> None:
    record = together[0].records()[name.lower()]
    assert (record["status"], record["reason"]) == (status, reason)
    assert words in record["message"]
    assert "\n" not in record["message"]
    assert len(record["epochs"]["seconds"]) == epochs
    assert len(record["epochs"]["nats"]) == len(record["epochs"]["tokens"]) == epochs


def test_the_valid_row_is_complete(together: Any) -> None:
    record = together[0].records()["numpy"]
    assert (record["status"], record["reason"], record["message"]) == ("ok", None, "")
    assert len(record["epochs"]["nats"]) == 4
    assert [len(c["text"]) for c in record["continuations"]] == [50, 50]
    assert record["parity"]["worst"] < 1e-4


def test_faults_do_not_change_what_the_valid_one_computes(together: Any) -> None:
    records = together[0].records()
    assert records["prints"]["epochs"]["nats"] == records["numpy"]["epochs"]["nats"]
    for name in ("raisesintrain", "exits", "crashes", "neveranswers"):
        assert records[name]["epochs"]["nats"] == records["numpy"]["epochs"]["nats"][:1]


def test_the_exit_code_is_one(together: Any) -> None:
    assert together[1].returncode == 1
    assert "Traceback" not in together[1].stderr


def test_every_trial_is_a_row(together: Any) -> None:
    cli, done = together
    (folder,) = cli.runs()
    table = (folder / "table.md").read_text()
    for name, status, reason, *_ in FAULTS:
        shown = f"{status}: {reason}" if reason else status
        assert re.search(rf"(?m)^\| {name.lower()} +\|.*\| {shown}\b", table), name
        assert re.search(rf"(?m)^{name.lower()} .*\b{shown}\b", done.stdout), name


def test_no_speed_without_parity(together: Any) -> None:
    cli, _ = together
    (folder,) = cli.runs()
    rows = json.loads(cli("report", folder, "--format", "json").stdout)[0]["rows"]
    (row,) = [row for row in rows if row["backend"] == "twicetherate"]
    assert row["tokens_per_second"] is None
    assert row["parity_worst"] > 0.5
    record = cli.records()["twicetherate"]
    assert max(record["parity"]["errors"].values()) == record["parity"]["worst"]


def test_messages_are_shown_as_text(together: Any) -> None:
    cli, _ = together
    (folder,) = cli.runs()
    table = (folder / "table.md").read_text()
    assert "<b>" not in table
    assert "&lt;b&gt;bold&lt;/b&gt; &amp;" in table


def test_the_log_s_tail_is_kept(together: Any) -> None:
    records = together[0].records()
    assert "Traceback" in records["raisesintrain"]["log_tail"]
    assert "garbage" in records["prints"]["log_tail"]
    assert "straight to the descriptor" in records["prints"]["log_tail"]
    assert len(records["prints"]["log_tail"]) <= 4000


def test_what_a_faulty_backend_started_is_gone(together: Any) -> None:
    log = together[0].records()["leavesachild"]["log_tail"]
    found = re.search(r"child (\d+)", log)
    assert found
    pid = int(found[1])
    assert not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_no_scratch_folder_is_left(together: Any) -> None:
    assert list(together[0].scratch.iterdir()) == []


def test_records_name_no_folder_and_no_user(together: Any) -> None:
    cli, _ = together
    (folder,) = cli.runs()
    written = [*(folder / "records").iterdir(), folder / "plan.json", folder / "table.md"]
    for path in written:
        text = path.read_text()
        for private in ("private-folder", "of-another", "someone", str(cli.folder)):
            assert private not in text, (path.name, private)
        # "tokens/s" and the ".../" of what was scrubbed are no folders
        assert not re.search(r"(?<![\w.<>~])/[\w.-]+/", text), path.name
    assert "weights.bin" in cli.records()["raisesintrain"]["message"]


def test_figures_are_recomputed_from_the_raw_series(together: Any) -> None:
    cli, _ = together
    (folder,) = cli.runs()
    rows = json.loads(cli("report", folder, "--format", "json").stdout)[0]["rows"]
    (row,) = [row for row in rows if row["backend"] == "numpy"]
    record = cli.records()["numpy"]
    epochs, phases = record["epochs"], record["phases"]
    assert row["perplexity"] == pytest.approx(math.exp(epochs["nats"][-1] / epochs["tokens"][-1]))
    assert row["training_seconds"] == pytest.approx(sum(epochs["seconds"]))
    assert row["startup_seconds"] == pytest.approx(
        phases["import"] + phases["build"] + phases["prepare"]
    )


@pytest.mark.parametrize("form", ["plain", "github"])
def test_the_report_prints_what_the_run_printed(together: Any, form: str) -> None:
    cli, done = together
    (folder,) = cli.runs()
    report = cli("report", folder, "--format", form)
    assert report.returncode == 0, report.stderr
    if form == "plain":
        assert report.stdout.strip() in done.stdout
    else:
        assert report.stdout == (folder / "table.md").read_text()


def test_a_hang_in_preparing_is_ended_by_its_own_limit(cli: Any) -> None:
    install(cli, "HangsInPrepare")
    done = cli.run("--backends", "hangsinprepare,numpy", "--prepare-timeout", "8")
    assert done.returncode == 1
    records = cli.records()
    assert records["hangsinprepare"]["reason"] == "timeout"
    assert "8 s" in records["hangsinprepare"]["message"]
    assert records["numpy"]["status"] == "ok"


def test_not_a_number_in_parity_leaves_a_record_that_can_be_read(cli: Any) -> None:
    install(cli, "NotANumberAtOnce")
    done = cli.run("--backends", "notanumberatonce,numpy")
    assert done.returncode == 1
    assert cli.records()["notanumberatonce"]["status"] == "failed"
    assert cli.records()["numpy"]["status"] == "ok"
    report = cli("report", cli.store)
    assert report.returncode == 0, report.stderr


def test_a_loss_beyond_a_float_s_perplexity_is_a_row(cli: Any) -> None:
    done = cli.run("--backends", "numpy", "--dtype", "float64", "--learning-rate", "1000")
    assert done.returncode == 0, done.stderr
    record = cli.records()["numpy"]
    assert max(record["epochs"]["nats"]) / record["epochs"]["tokens"][0] > 710


def test_no_limit_at_all_can_be_asked_for(cli: Any) -> None:
    done = cli.run("--backends", "numpy", "--timeout", "inf", "--prepare-timeout", "inf")
    assert "Traceback" not in done.stderr
    assert done.returncode in (0, 2), done.stderr


@pytest.mark.parametrize("name", ["NoSuchDevice", "FrameworkMissing"])
@pytest.mark.parametrize(("chosen", "code"), [("all", 0), ("numpy,{}", 1)])
def test_unavailable_is_an_error_only_where_it_was_named(
    cli: Any, name: str, chosen: str, code: int
) -> None:
    install(cli, name)
    done = cli.run("--backends", chosen.format(name.lower()), "--epochs", "1")
    assert done.returncode == code, done.stderr
    records = cli.records()
    assert records[name.lower()]["status"] == "unavailable"
    assert records["numpy"]["status"] == "ok"


@pytest.mark.parametrize(("devices", "code"), [("cuda:7", 1), ("cpu,cuda:7", 1)])
def test_a_device_that_was_named_and_is_not_there(cli: Any, devices: str, code: int) -> None:
    done = cli.run("--backends", "all", "--devices", devices, "--epochs", "1")
    assert done.returncode == code, done.stderr
    (folder,) = cli.runs()
    found = [json.loads(path.read_text()) for path in (folder / "records").iterdir()]
    status = {record["trial"]["device"]: record["status"] for record in found}
    assert status.pop("cuda:7") == "unavailable"
    assert all(value == "ok" for value in status.values())


def test_one_failure_alone_is_exit_code_one(cli: Any) -> None:
    install(cli, "RaisesInBuild")
    assert cli.run("--backends", "raisesinbuild").returncode == 1
    assert cli.records()["raisesinbuild"]["status"] == "failed"


def test_settings_of_the_environment_are_recorded_without_folders(cli: Any) -> None:
    done = cli.run(
        *("--backends", "numpy", "--epochs", "1", "--env", "MY_SETTING=on"),
        *("--env", "MY_CACHE=/srv/private-folder/cache"),
    )
    assert done.returncode == 0, done.stderr
    record = cli.records()["numpy"]
    assert record["trial"]["environment"]["MY_SETTING"] == "on"
    assert "private-folder" not in json.dumps(record)
