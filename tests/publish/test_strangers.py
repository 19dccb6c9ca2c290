"""Results of a stranger: whatever they hold, each command ends soon, in few and harmless lines."""

from __future__ import annotations

import json
import os
import shutil
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lstmbench.errors import UserError
from lstmbench.publish.gather import gather
from lstmbench.records.bundle import make_bundle
from lstmbench.records.parse import parse
from lstmbench.records.record import Record, StoppingRule
from lstmbench.records.store import Run, load
from lstmbench.verify.records import MAX_FAULTS, faults
from lstmbench.verify.stores import verify

pytestmark = pytest.mark.usefixtures("no_plots")
#: What a terminal executes: clear the screen, name the window, fill the clipboard, and more.
EVIL = "\x1b[2J\x1b]0;title\x07\x1b]52;c;bWluZQ==\x07\x9b31m\x00\u202e"
LONG = "a" * 300


def harmless(text: str) -> bool:
    return all(c in "\n\t" or unicodedata.category(c)[0] != "C" for c in text)


@pytest.fixture
def run(tmp_path: Path, runs: Any, pool: list[Record]) -> Path:
    folder: Path = runs(tmp_path / "run", pool[:2])
    return folder


@pytest.fixture
def store(tmp_path: Path, run: Path, call: Any) -> Path:
    assert call("publish", run, "--to", tmp_path / "store").returncode == 0
    return tmp_path / "store"


def zero(path: Path) -> None:
    path.symlink_to("/dev/zero")


odd = pytest.mark.parametrize("make", [zero, os.mkfifo, Path.mkdir])


@odd
@pytest.mark.parametrize("command", ["report", "verify", "publish"])
def test_odd_files_among_records(
    call: Any, store: Path, tmp_path: Path, command: str, make: Callable[[Path], None]
) -> None:
    make(store / "records" / "x-0123456789ab.json")
    to = ("--to", tmp_path / "other") if command == "publish" else ()
    done = call(command, store, *to)
    assert done.returncode == 1
    assert "x-0123456789ab.json" in done.stdout + done.stderr


@odd
def test_odd_files_in_the_place_of_others(
    call: Any, store: Path, run: Path, make: Callable[[Path], None]
) -> None:
    for path in (store / "store.json", store / "README.md", run / "plan.json"):
        path.unlink()
        make(path)
    for command, path in (("verify", store), ("report", store), ("verify", run)):
        assert call(command, path).returncode in (1, 2)


@pytest.mark.parametrize(
    "arguments",
    [
        ("report", LONG),
        ("report", f"{LONG}/b"),
        ("verify", LONG),
        ("compare", LONG, "b"),
        ("compare", f"{LONG}@torch", "b"),
        ("publish", LONG),
        ("publish", "{run}", "--to", LONG),
        ("publish", "{run}", "--bundle", f"{LONG}.zip"),
        ("publish", "{run}", "--into", f"{LONG}.md"),
        ("publish", "{run}", "--summary", f"{LONG}.md"),
        ("new", LONG),
        ("new", "mine", "--into", LONG),
        ("run", "--store", LONG, "--backends", "numpy", "--epochs", "1"),
    ],
)
def test_a_path_that_is_too_long_is_one_line(
    call: Any, one_line: Any, run: Path, arguments: tuple[str, ...]
) -> None:
    one_line(call(*(run if argument == "{run}" else argument for argument in arguments)))


def test_an_unreadable_folder_of_records_is_told(
    call: Any, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scandir, closed = os.scandir, run / "records"

    def refuse(path: Any = ".") -> Any:
        if Path(path) == closed:
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    done = call("report", run)
    assert (done.returncode, done.stderr) == (1, f"lstmbench: {closed}: Permission denied\n")
    done = call("verify", run)
    assert done.returncode == 1
    assert f"{closed}: Permission denied" in done.stdout


class TestTerminals:
    """No control character of a stranger reaches one."""

    @pytest.fixture
    def evil(self, tmp_path: Path, run: Path) -> Path:
        """A run with escapes in every name, key and text that may hold one."""
        folder = tmp_path / f"evil{EVIL.replace(chr(0), '')}"
        run.rename(folder)
        path, other = sorted((folder / "records").iterdir())
        raw = json.loads(path.read_text())
        for part in (raw["trial"], raw["source"]):
            part.update({k: v + EVIL for k, v in part.items() if type(v) is str and k != "dtype"})
        raw["trial"]["environment"] = {EVIL: EVIL}
        raw["stack"] = {"label": EVIL, "request": EVIL, "packages": {EVIL: EVIL}}
        raw["machine"]["facts"] = {"processor": EVIL, EVIL: EVIL}
        raw |= {"message": EVIL, "status": "failed", "reason": "exception", "log_tail": EVIL}
        path.write_text(json.dumps(raw))
        (folder / "records" / f"x{EVIL.replace(chr(0), '')}.json").write_text("{")
        other.write_text(json.dumps({**json.loads(other.read_text()), EVIL: EVIL}))
        return folder

    @pytest.mark.parametrize("form", ["plain", "github", "latex", "html", "csv", "json"])
    def test_report(self, call: Any, evil: Path, form: str) -> None:
        done = call("report", evil, "--format", form)
        assert done.returncode == 1
        assert done.stderr.count("\n") == 2
        assert harmless(done.stdout)
        assert harmless(done.stderr)

    def test_verify(self, call: Any, evil: Path) -> None:
        done = call("verify", evil)
        assert done.returncode == 1
        assert harmless(done.stdout + done.stderr)

    def test_compare(self, call: Any, evil: Path) -> None:
        for arguments in ((evil, evil), (f"{evil}@none{EVIL[:3]}", evil)):
            done = call("compare", *arguments, "--anyway")
            assert done.returncode == 2
            assert harmless(done.stdout + done.stderr)

    @pytest.mark.parametrize("form", ["plain", "github", "json"])
    def test_compare_two_runs(self, call: Any, evil: Path, tmp_path: Path, form: str) -> None:
        twin = tmp_path / "twin"
        shutil.copytree(evil, twin)
        path = min((twin / "records").iterdir())
        raw = json.loads(path.read_text())
        raw["source"]["run"] += f"another{EVIL}"
        raw["machine"]["versions"] |= {EVIL: EVIL}
        path.write_text(json.dumps(raw))
        done = call("compare", evil, twin, "--format", form)
        assert done.returncode == 1
        assert "failed" in done.stdout
        assert harmless(done.stdout + done.stderr)

    def test_publish(self, call: Any, evil: Path, tmp_path: Path) -> None:
        done = call("publish", evil, "--to", tmp_path / "other", "--allow-dirty")
        assert harmless(done.stdout + done.stderr)
        for path in (tmp_path / "other" / "tables").iterdir():
            assert harmless(path.read_text())

    def test_progress(self, pool: list[Record], capsys: pytest.CaptureFixture[str]) -> None:
        from lstmbench.runner.progress import Lines, ending

        failed = pool[0].model_copy(update={"message": f"first\n{EVIL}second"})
        Lines().recorded(failed)
        shown = capsys.readouterr().err
        assert harmless(shown)
        assert shown.count("\n") == 1
        assert harmless(ending(failed))


class TestMuch:
    """A great many faults are few lines."""

    def test_every_epoch_is_wrong(self, make_true: Any, known: Any) -> None:
        raw = json.loads(make_true().model_dump_json())
        count = raw["epochs"]["tokens"][0]
        raw["epochs"] |= {"tokens": [count + 1] * 12, "seconds": ["0.5"] * 12}
        found = dict(faults(parse("", json.dumps(raw).encode()), known))
        assert found["epochs.tokens.0"].endswith("(and 11 more values)")
        assert found["epochs.seconds.0"] == "'0.5' is read as 0.5 (and 11 more values)"
        assert "epochs.tokens.1" not in found
        assert "epochs.seconds.1" not in found

    def test_every_field_is_wrong(self, make_true: Any, known: Any) -> None:
        raw = json.loads(make_true().model_dump_json())
        raw["parity"]["errors"] |= {f"luck {i}": 1e-9 for i in range(1000)}
        found = faults(parse("", json.dumps(raw).encode()), known)
        assert len(found) == MAX_FAULTS + 1
        assert found[-1] == ("record", f"{1000 - MAX_FAULTS} more faults")

    def test_more_epochs_than_the_protocol_has(self, make_true: Any) -> None:
        raw = json.loads(make_true().model_dump_json())
        for series in ("seconds", "nats", "tokens", "host_seconds", "processor_seconds"):
            raw["epochs"][series] *= 2
        with pytest.raises(UserError, match="expected at most 12, as the protocol says, got 24"):
            parse("here", json.dumps(raw).encode())

    def test_of_many_damaged_files_some_are_named(self, call: Any, run: Path) -> None:
        for number in range(1200):
            (run / "records" / f"x{number}.json").write_text("")
        for command in ("report", "verify"):
            done = call(command, run)
            assert done.returncode == 1
            assert 1000 < (done.stdout + done.stderr).count("is not a record") + 1 < 1010


def test_two_records_of_one_trial_in_a_bundle(
    call: Any, one_line: Any, tmp_path: Path, make_true: Any, runs: Any
) -> None:
    records: dict[str, Any] = {}
    for speed in (1.0, 2.0):
        one = runs(tmp_path / f"run{speed}", [make_true(speed=speed)])
        records |= {name: entry.content for name, entry in gather([one], []).items()}
    bundle = tmp_path / "bundle.zip"
    bundle.write_bytes(make_bundle(records))
    one_line(call("report", bundle), "contradict each other", *records)
    one_line(call("publish", bundle, "--to", tmp_path / "store"), "contradict each other")
    with pytest.raises(UserError, match="contradict each other"):
        load([bundle])


class TestPlans:
    """What a run left out, and may have left out."""

    RULE = StoppingRule(precision=0.02, seconds=60)

    def repeats(self, make_true: Any, backend: str = "numpy", **changes: Any) -> list[Record]:
        return [make_true(backend=backend, repeat=n, **changes) for n in range(6)]

    def lost(self, folder: Path, runs: Any, records: list[Record], gone: list[Record]) -> list[str]:
        runs(folder, records)
        plan = [{"name": r.trial.name, **trial_json(r)} for r in records]
        Run(folder).write_plan({"groups": [[trial] for trial in plan]})
        for record in gone:
            (folder / "records" / f"{record.trial.name}.json").unlink()
        found = verify(folder).mismatches
        assert all(line.startswith("plan.json: ") for line in found), found
        return [line.split()[1] for line in found]

    def test_a_run_of_fixed_length_leaves_all(
        self, make_true: Any, runs: Any, tmp_path: Path
    ) -> None:
        records = self.repeats(make_true)
        gone = records[2:3] + records[5:]
        assert self.lost(tmp_path / "run", runs, records, gone) == [r.trial.name for r in gone]

    @pytest.mark.parametrize(
        "origin", [{"stopping_rule": RULE}, {"command": ["lstmbench", "noise", "--minutes", "9"]}]
    )
    def test_a_run_that_ends_early_leaves_all_up_to_its_last_repeat(
        self, make_true: Any, runs: Any, tmp_path: Path, origin: dict[str, Any]
    ) -> None:
        records = self.repeats(make_true, **origin)
        assert self.lost(tmp_path / "run", runs, records, records[3:]) == []
        gone = records[1:2]
        assert self.lost(tmp_path / "hole", runs, records, gone) == [gone[0].trial.name]

    def test_a_trial_that_failed_is_not_repeated_for_ever(
        self, make_true: Any, runs: Any, tmp_path: Path
    ) -> None:
        failure = {"status": "failed", "reason": "exception", "message": "it broke"}
        records = self.repeats(make_true, stopping_rule=self.RULE)
        broken = self.repeats(make_true, "broken", stopping_rule=self.RULE, **failure)
        assert self.lost(tmp_path / "run", runs, [*records, *broken], broken[2:]) == []
        gone = broken[1:]
        assert len(self.lost(tmp_path / "less", runs, [*records, *broken], gone)) == len(gone)


def trial_json(record: Record) -> dict[str, Any]:
    trial: dict[str, Any] = json.loads(record.model_dump_json())["trial"]
    return trial


def test_the_published_noise_run_is_true() -> None:
    folder = Path(__file__).parents[2] / "results" / "noise"
    found = verify(folder)
    assert found.mismatches == []
    assert found.records > 0
