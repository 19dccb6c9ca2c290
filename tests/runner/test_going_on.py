"""``run --resume``, ``--extend`` and ``--plan``: what goes on, and what does not."""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lstmbench.runner import planfile

SMALL = ("--epochs", "3", "--batch-size", "64", "--steps", "20")


def begin(cli: Any, *arguments: str, until: str = "epoch 1/") -> Path:
    """A run that is interrupted by Ctrl-C once it says some words; returns its folder."""
    process = cli.start(*cli.tiny_run, *SMALL, "--backends", "numpy", *arguments)
    said = []
    for line in process.stderr:
        said.append(line)
        if until in line:
            process.send_signal(signal.SIGINT)
            break
    said.append(process.communicate(timeout=300)[1])
    assert process.returncode == 130, said
    folder: Path = cli.runs()[-1]
    assert f"this goes on: lstmbench run --resume {folder}\n" in said[-1]
    return folder


def records(folder: Path) -> dict[str, Any]:
    return {p.name: json.loads(p.read_text()) for p in (folder / "records").iterdir()}


@pytest.fixture(scope="module")
def done(module_cli: Any) -> tuple[Any, Path]:
    """A run that was interrupted in its second repeat, and went on."""
    folder = begin(module_cli, "--repeats", "2", until="#2: epoch 1/")
    before = {p.name: p.read_bytes() for p in (folder / "records").iterdir()}
    ran = module_cli("run", "--resume", folder)
    assert ran.returncode == 0, ran.stderr
    assert "#2: loading" in ran.stderr
    assert "numpy:eager cpu: loading" not in ran.stderr
    finished, cut = sorted(before)
    assert (folder / "records" / finished).read_bytes() == before[finished]
    assert (folder / "replaced" / "1" / cut).read_bytes() == before[cut]
    return module_cli, folder


@pytest.fixture
def copied(done: tuple[Any, Path], here: Any) -> Path:
    """The same run where ``call`` may do what it wants with it."""
    folder: Path = here.store / done[1].name
    shutil.copytree(done[1], folder)
    return folder


def test_a_run_that_went_on_is_whole_and_its_records_say_so(done: Any, call: Any) -> None:
    _, folder = done
    found = sorted(records(folder).values(), key=lambda record: int(record["trial"]["repeat"]))
    assert [record["status"] for record in found] == ["ok", "ok"]
    assert [bool(record["source"]["resumed"]) for record in found] == [False, True]
    for record in found:
        del record["source"]["resumed"]
    assert found[0]["source"] == found[1]["source"]
    checked = call("verify", folder)
    assert checked.returncode == 0, checked.stdout


def test_a_complete_run_is_extended_and_keeps_its_records(copied: Path, here: Any) -> None:
    before = {p.name: p.read_bytes() for p in (copied / "records").iterdir()}
    ran = here("run", "--extend", copied, "--repeats", "3")
    assert ran.returncode == 0, ran.stderr
    after = {p.name: p.read_bytes() for p in (copied / "records").iterdir()}
    assert before.items() < after.items()
    assert len(after) == 3
    (new,) = (records(copied)[name] for name in after.keys() - before.keys())
    command = new["source"]["command"]
    assert command[command.index("--repeats") + 1] == "3"
    verified = here("verify", copied)
    assert verified.returncode == 0, verified.stdout
    assert len(planfile.read(copied / "plan.json").groups) == 3


Refused = Callable[..., None]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--resume", "RUN"), "complete: --extend adds processes"),
        (("--resume", "RUN", "--retry"), "complete"),
        (("--resume", "RUN", "--backends", "numpy"), "leave out --backends"),
        (("--resume", "RUN", "--extend", "RUN"), "--resume and --extend: give one"),
        (("--resume", "RUN", "--plan-only"), "give one of them"),
        (("--resume", "STORE"), "is a store: name one of its runs"),
        (("--resume", "missing"), "missing"),
        (("--resume", "scratch"), "no run and no store"),
        (("--extend", "RUN"), "--repeats or --precision"),
        (("--extend", "RUN", "--repeats", "2"), "has 2 already"),
        (("--extend", "RUN", "--repeats", "4", "--precision", "1%"), "give one of them"),
        (("--retry",), "--retry goes with --resume"),
        (("--group", "1"), "--group goes with --plan"),
        (("--plan", "RUN/plan.json", "--group", "1"), "is the plan of a run"),
        (("--plan-only", "--precision", "2%"), "--repeats"),
    ],
)
def test_what_cannot_go_on_is_one_line(
    copied: Path, here: Any, call: Any, one_line: Refused, words: tuple[str, ...], said: str
) -> None:
    before = {path: path.read_bytes() for path in copied.rglob("*") if path.is_file()}
    places = {"RUN": str(copied), "STORE": str(here.store)}
    spelt = [w.replace("RUN", places["RUN"]).replace("STORE", places["STORE"]) for w in words]
    one_line(call("run", *spelt), said)
    assert {path: path.read_bytes() for path in copied.rglob("*") if path.is_file()} == before


def changed(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """The plan as another machine, or other code, would have written it."""
    path = folder / "plan.json"
    content = json.loads(path.read_text())
    change(content)
    del content["digest"]
    content["digest"] = planfile._digest(content)
    path.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("part", "field", "value", "said"),
    [
        ("machine.facts", "processor", "Another 9000", "the processor was Another 9000, here it"),
        ("machine.versions", "numpy", "0.9", "the version of numpy was 0.9, here it is"),
        ("code", "commit", "0" * 40, "the commit of lstmbench was 0000"),
        ("code", "digest", "0" * 64, "the digest of lstmbench was 000000000000, here it is"),
        ("code", "plugins", [], "was not installed"),
    ],
)
def test_another_machine_or_other_code_is_named(
    copied: Path, call: Any, one_line: Refused, part: str, field: str, value: Any, said: str
) -> None:
    def change(content: dict[str, Any]) -> None:
        for name in part.split("."):
            content = content[name]
        content[field] = value

    changed(copied, change)
    for path in (copied / "records").iterdir():
        path.unlink()
    one_line(call("run", "--resume", copied), said, "cannot go on")


def test_another_text_is_named(here: Any, call: Any, one_line: Refused) -> None:
    text = here.folder / "mine.txt"
    text.write_text("a text of one's own, over and over\n" * 300)
    planned = call("run", "--plan-only", *here.tiny_run[1:], "--corpus", text)
    assert planned.returncode == 0, planned.stderr
    plan = planned.stdout.strip()
    text.write_text("another text, over and over, as long\n" * 300)
    one_line(call("run", "--plan", plan, "--group", "1"), "corpus_digest was", "cannot go on")
    text.unlink()
    one_line(call("run", "--plan", plan, "--group", "1"), "no such file")


def test_a_plan_that_was_changed_by_hand_is_refused(
    copied: Path, call: Any, one_line: Refused
) -> None:
    path = copied / "plan.json"
    path.write_text(path.read_text().replace('"seed": 0', '"seed": 1'))
    one_line(call("run", "--resume", copied), "was changed since it was written")
    for content, said in [
        ("{", "is not a plan"),
        ("[]", "is not a plan"),
        ('{"groups": []}', "earlier lstmbench"),
        ('{"groups": [], "format": 7}', "another lstmbench"),
    ]:
        path.write_text(content)
        one_line(call("run", "--resume", copied), said)


def test_a_value_that_no_plan_keeps_is_asked_for(here: Any, call: Any, one_line: Refused) -> None:
    given = f"MINE={here.folder}/secret"
    planned = here("run", "--plan-only", *here.tiny_run[1:], "--env", given, "--env", "B=1")
    plan = Path(planned.stdout.strip())
    assert "secret" not in json.dumps(json.loads(plan.read_text())["options"])
    one_line(call("run", "--plan", plan, "--group", "1"), "--env MINE=...")
    one_line(call("run", "--plan", plan, "--group", "1", "--env", "MINE=1"), "environment was")
    ran = here("run", "--plan", plan, "--group", "1", "--env", given, "--store", here.store)
    assert ran.returncode == 0, ran.stderr


def test_a_record_that_is_damaged_is_made_again(copied: Path, here: Any) -> None:
    path = max((copied / "records").iterdir())
    path.write_bytes(path.read_bytes()[:1000])
    ran = here("run", "--resume", copied)
    assert ran.returncode == 0, ran.stderr
    assert f"{path} is not a record" in ran.stderr
    assert json.loads(path.read_text())["status"] == "ok"
    assert len((copied / "replaced" / "2" / path.name).read_bytes()) == 1000


def test_a_run_that_is_on_its_way_is_left_alone(here: Any, call: Any, one_line: Refused) -> None:
    process = here.start(*here.tiny_run, "--backends", "numpy", "--epochs", "9999")
    for line in process.stderr:
        if "epoch 1/" in line:
            break
    one_line(call("run", "--resume", *here.runs()), "is on its way in another process")
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=300)
    assert process.returncode == 130


@pytest.fixture(scope="module")
def parts(module_cli: Any, done: Any) -> tuple[Path, list[Path]]:
    """A plan of three groups, and the runs that did the first and third, and the second."""
    planned = module_cli.run(*SMALL, "--plan-only", "--repeats", "3")
    assert planned.returncode == 0, planned.stderr
    plan = Path(planned.stdout.strip())
    store = module_cli.folder / "parts"
    for words in (("--shard", "1/2"), ("--group", "2")):
        ran = module_cli("run", "--plan", plan, *words, "--store", store)
        assert ran.returncode == 0, ran.stderr
    return plan, sorted(store.iterdir())


def test_parts_of_a_plan_are_merged(parts: Any, call: Any, here: Any) -> None:
    _, (odd, even) = parts
    assert [len(records(folder)) for folder in (odd, even)] == [2, 1]
    to = here.folder / "published"
    ran = call("publish", odd, even, "--to", to, "--allow-dirty")
    assert ran.returncode == 0, ran.stderr
    assert "to: 3 records" in ran.stdout.replace(str(to), "to")
    assert call("verify", to).returncode == 0


def test_parts_that_are_missing_or_twice_are_refused(
    parts: Any, call: Any, here: Any, one_line: Refused
) -> None:
    _, (odd, even) = parts
    to = here.folder / "published"
    one_line(call("publish", odd, "--to", to, "--allow-dirty"), "group 2 of plan", "no record")
    one_line(call("publish", odd, "--bundle", to, "--allow-dirty"), "group 2 of plan")
    assert not to.exists()
    allowed = call("publish", odd, "--to", to, "--allow-dirty", "--allow-missing")
    assert allowed.returncode == 0, allowed.stderr
    assert "group 2 of plan" in call("verify", to).stdout
    again = here.folder / "again"
    shutil.copytree(even, again)
    for path in (again / "records").iterdir():
        path.write_text(path.read_text().replace(even.name, "again"))
    one_line(
        call("publish", odd, even, again, "--to", to, "--allow-dirty"),
        "both did group 2",
        "name one of them",
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "--group K or --shard K/N"),
        (("--group", "1", "--shard", "1/2"), "--group K or --shard K/N"),
        (("--group", "4"), "groups 1 to 3"),
        (("--group", "0"), "groups 1 to 3"),
        (("--shard", "0/2"), "expected K/N"),
        (("--shard", "3/2"), "expected K/N"),
        (("--shard", "many"), "expected K/N"),
        (("--shard", "4/5"), "3 groups, so that this part is empty"),
    ],
)
def test_a_part_that_no_plan_has_is_refused(
    parts: Any, call: Any, one_line: Refused, words: tuple[str, ...], said: str
) -> None:
    one_line(call("run", "--plan", parts[0], *words), said)


def test_a_part_that_was_interrupted_goes_on(parts: Any, here: Any) -> None:
    _, (odd, _) = parts
    folder = here.store / odd.name
    shutil.copytree(odd, folder)
    max((folder / "records").iterdir()).unlink()
    ran = here("run", "--resume", folder)
    assert ran.returncode == 0, ran.stderr
    found = records(folder).values()
    assert {tuple(r["source"]["shard"]["groups"]) for r in found} == {(1, 3)}
    assert {r["status"] for r in found} == {"ok"}
