"""Runs on disk."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lstmbench.errors import UserError
from lstmbench.records.migration import CURRENT
from lstmbench.records.parse import parse, read_stored
from lstmbench.records.schema import schema_text
from lstmbench.records.store import Run, load, open_runs, write_atomically

Make = Callable[..., Any]
#: As the first version wrote them; never to be changed.
EXAMPLE = Path(__file__).parents[1] / "data" / "record-1.json"
PUBLISHED = sorted((Path(__file__).parents[2] / "results" / "records").glob("torch-*"))[0]


@pytest.fixture(scope="module")
def record_text() -> str:
    return EXAMPLE.read_text()


@pytest.fixture
def run(tmp_path: Path, make_record: Make) -> Run:
    made = Run.create(tmp_path / "store", "d2l")
    made.write_plan({"groups": []})
    made.write_record(make_record())
    made.write_record(make_record(backend="other"))
    return made


def test_each_run_gets_its_own_folder(tmp_path: Path) -> None:
    names = {Run.create(tmp_path, "quick").name for _ in range(20)}
    assert len(names) == 20
    assert all("quick" in name for name in names)


def test_records_come_back_in_order(run: Run) -> None:
    assert [r.trial.backend for r in run.records()] == ["numpy", "other"]


def test_writing_a_trial_s_record_again_replaces_it(run: Run, make_record: Make) -> None:
    run.write_record(make_record(status="interrupted"))
    assert [r.status for r in run.records()] == ["interrupted", "ok"]


def test_nothing_temporary_is_left(run: Run) -> None:
    assert {p.suffix for p in (run.folder / "records").iterdir()} == {".json"}


def test_a_write_that_fails_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    write_atomically(path, "old")

    def full(*_: Any) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="no space"):
        write_atomically(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("place", ["file", "file/below"])
def test_a_store_that_cannot_be_written(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UserError, match="--store"):
        Run.create(tmp_path / place, "d2l")
    assert (tmp_path / "file").read_text() == "mine"
    assert list(tmp_path.iterdir()) == [tmp_path / "file"]


def test_a_run_or_a_store_of_runs_can_be_opened(run: Run, tmp_path: Path) -> None:
    other = Run.create(tmp_path / "store", "quick")
    other.write_plan({})
    (tmp_path / "store" / "notes").mkdir()
    assert [r.folder for r in open_runs([run.folder])] == [run.folder]
    assert {r.folder for r in open_runs([tmp_path / "store"])} == {run.folder, other.folder}


def test_a_published_store_with_runs_in_it_is_refused(run: Run, tmp_path: Path) -> None:
    """Reading one of them would leave the other out."""
    (tmp_path / "store" / "store.json").write_text("{}")
    with pytest.raises(UserError, match="keep runs in another folder") as refused:
        open_runs([tmp_path / "store"])
    assert str(run.folder) in str(refused.value)
    assert [r.folder for r in open_runs([run.folder])] == [run.folder]


def test_no_run_begins_in_a_published_store(tmp_path: Path) -> None:
    (tmp_path / "store.json").write_text("{}")
    with pytest.raises(UserError, match="--store"):
        Run.create(tmp_path, "quick")
    assert [path.name for path in tmp_path.iterdir()] == ["store.json"]


@pytest.mark.parametrize("what", ["missing", "empty", "file"])
def test_what_is_no_run_is_refused(tmp_path: Path, what: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("")
    reason = "is missing" if what == "missing" else "no run and no store"
    with pytest.raises(UserError, match=reason):
        open_runs([tmp_path / what])


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        '{"schema_version": 1}',
        '{"schema_version": 1, "memory": null}',
        "\x00",
        "null",
    ],
)
def test_a_broken_record_is_named(run: Run, content: str) -> None:
    path = run.folder / "records" / "aaa.json"
    path.write_text(content)
    with pytest.raises(UserError, match="is not a record") as refused:
        run.records()
    assert str(path) in str(refused.value)


def test_a_folder_among_the_records_is_named(run: Run) -> None:
    (run.folder / "records" / "aaa.json").mkdir()
    with pytest.raises(UserError, match=r"aaa\.json"):
        run.records()


def test_loading_sets_damaged_files_aside(run: Run, make_record: Make) -> None:
    (run.folder / "records" / "aaa.json").write_text("{")
    (run.folder / "records" / "zzz.json").mkdir()
    loaded = load([run.folder])
    assert [r.trial.backend for r in loaded.records] == ["numpy", "other"]
    assert len(loaded.damaged) == 2
    assert "aaa.json is not a record: JSON" in loaded.damaged[0]
    assert "zzz.json is not a record: Is a directory" in loaded.damaged[1]


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_a_truncated_record_is_named(data: st.DataObject, record_text: str) -> None:
    end = data.draw(st.integers(0, len(record_text.rstrip()) - 1))
    with pytest.raises(UserError, match=r"^here is not a record: "):
        parse("here", record_text[:end].encode())


def test_a_record_of_version_1_loads_for_ever() -> None:
    stored = read_stored(EXAMPLE)
    assert stored.raw["schema_version"] == 1
    assert stored.record.schema_version == CURRENT
    assert stored.record.memory.peak_with_parity == stored.raw["memory"]["peak"]
    assert stored.record.epochs.seconds == stored.raw["epochs"]["seconds"]


def changed(record_text: str, field: str, value: Any) -> bytes:
    """The example in the present version, with one field changed."""
    raw = json.loads(record_text)
    del raw["memory"]
    raw["schema_version"] = CURRENT
    raw["epochs"] = {"seconds": [0.5] * 5, "nats": [1.0] * 5, "tokens": [8960] * 5}
    *parents, last = field.split(".")
    inside = raw
    for parent in parents:
        inside = inside[parent]
    inside[last] = value
    return json.dumps(raw).encode()


#: Field by field, what no figure can be computed from.
INVALID: list[tuple[str, Any]] = [
    ("epochs.nats", [1.0]),
    ("epochs.tokens", [8960] * 4 + [0]),
    ("epochs.tokens", [8960] * 4 + [2**60]),
    ("epochs.seconds", [0.5, 0.2, 0.4, 0.1, 0.0]),
    ("epochs.seconds", [0.5, 0.2, 0.4, 0.1, -1.0]),
    ("epochs.seconds", [0.5, 0.2, 0.4, 0.1, 1e300]),
    ("epochs.seconds", [0.5, 0.2, 0.4, 0.1, "NaN"]),
    ("epochs.nats", [1.0, 1.0, 1.0, 1.0, "Infinity"]),
    ("epochs.joules", [1.0]),
    ("epochs.joules", [1.0] * 4 + [-1.0]),
    ("epochs", {}),
    ("phases", {"import": 1.0, "build": 1.0}),
    ("phases", {"import": -1.0, "build": 1.0, "prepare": 1.0}),
    ("memory", {"peak": -1}),
    ("evaluations", [{"split": "test", "epoch": 1, "nats": 1.0, "tokens": 0}]),
    ("evaluations", [{"split": "test", "epoch": 1, "nats": "NaN", "tokens": 5}]),
    (
        "peak",
        {"matmul": {"library": "x", "side": 0, "dtype": "float32", "seconds": [1.0]}},
    ),
    (
        "peak",
        {"matmul": {"library": "x", "side": 9, "dtype": "float32", "seconds": [0.0]}},
    ),
    ("system_load", {"others": -0.5, "stolen": 0.0}),
    ("system_load", {"others": 0.5, "stolen": 1.5}),
    ("trial.dtype", "float8"),
    ("trial.seed", 2**63),
    ("trial.repeat", -1),
    ("trial.threads", 0),
    ("trial.protocol.epochs", 0),
    ("trial.protocol.layers", 1001),
    ("trial.protocol.learning_rate", 0),
    ("trial.protocol.clip_norm", -1),
    ("trial.protocol.train_tokens", -1),
    ("trial.protocol.test_fraction", 1.5),
    ("trial.protocol.budget", 1e10),
    ("source.stopping_rule", {"precision": 0, "seconds": 60}),
    ("vocabulary_size", 0),
    ("parameters", 2**60),
]

#: Wrong only beside another field.
ALONE_VALID: list[tuple[str, Any]] = [
    ("epochs.nats", [1.0]),
    ("epochs.joules", [1.0]),
    ("epochs", {}),
    ("phases", {"import": 1.0, "build": 1.0}),
]


@pytest.mark.parametrize(("field", "value"), INVALID)
def test_what_no_figure_can_be_computed_from_is_no_record(
    record_text: str, field: str, value: Any
) -> None:
    with pytest.raises(UserError, match=f"is not a record: {field.split('.')[0]}"):
        parse("here", changed(record_text, field, value))


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("epochs.seconds", [0.5, 0.0], "epochs.seconds.1: expected greater than or equal to"),
        ("epochs.seconds", ["soon"], "epochs.seconds.0: expected a valid number"),
        ("vocabulary_size", 0, "vocabulary_size: expected greater than or equal to 1, got 0"),
        ("trial.dtype", "x" * 99, "expected 'float32', 'float64', 'float16' or 'bfloat16', got 'x"),
        ("trial.threads", 0, "trial.threads: expected greater than or equal to 1, got 0"),
        (
            "flags",
            ["odd"],
            "flags.0: expected 'interference', 'suspect', 'unaudited' or 'drifting'",
        ),
        ("unheard_of", 1, "unheard_of: Extra inputs are not permitted"),
        ("schema_version", 99, "here is not a record: schema version 99"),
    ],
)
def test_a_message_says_what_is_expected(
    record_text: str, field: str, value: Any, message: str
) -> None:
    with pytest.raises(UserError, match=r"^here is not a record: ") as refused:
        parse("here", changed(record_text, field, value))
    assert message in str(refused.value)
    assert len(str(refused.value)) < 250


@pytest.mark.parametrize(("field", "value"), INVALID)
def test_the_schema_refuses_what_the_reader_does(record_text: str, field: str, value: Any) -> None:
    """But for what only several fields together say."""
    if (field, value) in ALONE_VALID:
        return
    validator = jsonschema.Draft202012Validator(json.loads(schema_text()))
    with pytest.raises(jsonschema.ValidationError):
        validator.validate(json.loads(changed(record_text, field, value)))


def test_a_file_must_say_its_schema_version(record_text: str) -> None:
    raw = json.loads(record_text)
    del raw["schema_version"]
    with pytest.raises(UserError, match=r"^here is not a record: schema_version: missing$"):
        parse("here", json.dumps(raw).encode())
    validator = jsonschema.Draft202012Validator(json.loads(schema_text()))
    with pytest.raises(jsonschema.ValidationError):
        validator.validate(raw)


def test_a_million_faults_are_one_line(record_text: str) -> None:
    raw = json.loads(changed(record_text, "epochs.seconds", [0.0] * 10**6))
    with pytest.raises(UserError, match=r"epochs\.seconds\.0: expected") as refused:
        parse("here", json.dumps(raw).encode())
    assert len(str(refused.value)) < 200
    raw["machine"]["versions"] = dict.fromkeys(map(str, range(10**5)), 1)
    with pytest.raises(UserError, match="100001 fields are wrong"):
        parse("here", json.dumps(raw).encode())


def test_a_published_store_can_be_opened(run: Run) -> None:
    (run.folder / "plan.json").rename(run.folder / "store.json")
    (opened,) = open_runs([run.folder])
    assert opened.published
    assert len(opened.records()) == 2


def test_in_a_published_store_names_tell_whether_contents_were_changed(run: Run) -> None:
    (run.folder / "plan.json").rename(run.folder / "store.json")
    assert [line.partition(": ")[2] for line in load([run.folder]).damaged] == [
        "its content was changed"
    ] * 2


@settings(max_examples=150, deadline=None)
@given(data=st.data())
@pytest.mark.parametrize("file", [EXAMPLE, PUBLISHED], ids=["version 1", "present version"])
def test_a_record_with_a_wrong_character_is_refused_or_makes_a_table(
    data: st.DataObject, file: Path
) -> None:
    from lstmbench.analysis.tables import tables_from
    from lstmbench.report.text import render

    record_text = file.read_text()
    place = data.draw(st.integers(0, len(record_text) - 1))
    wrong = data.draw(st.sampled_from('0123456789-.ex"'))
    try:
        record = parse(
            "here", (record_text[:place] + wrong + record_text[place + 1 :]).encode()
        ).record
    except UserError:
        return
    for form in ("plain", "json"):
        assert render(tables_from([record]), form)
