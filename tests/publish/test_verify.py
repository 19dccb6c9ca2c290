"""Verifying: what is true passes, and whatever is changed is named."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lstmbench.analysis import compare, series, tables
from lstmbench.analysis.roofline import COPY_BYTES, SIDES
from lstmbench.corpora import corpus
from lstmbench.errors import UserError
from lstmbench.protocol import HELDOUT
from lstmbench.publish.manifest import Manifest
from lstmbench.publish.merge import publish
from lstmbench.records import canonical
from lstmbench.records.parse import parse
from lstmbench.records.record import Copy, Flag, Matmul, Peak, Record, SystemLoad
from lstmbench.report import site
from lstmbench.report.text import render
from lstmbench.verify.known import COUNTED, ReferenceData
from lstmbench.verify.records import faults
from lstmbench.verify.stores import verify

DIGIT = re.compile(rb"[0-9]")
EXAMPLE = Path(__file__).parents[1] / "data" / "record-1.json"


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory, pool: list[Record], runs: Any) -> Path:
    """A store with everything, plots too; a test that changes it restores it."""
    folder = tmp_path_factory.mktemp("published")
    publish([runs(folder / "run", pool)], folder / "store")
    return folder / "store"


@pytest.fixture
def store(published: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(published, tmp_path / "store"))


def test_what_was_published_is_verified(published: Path) -> None:
    report = verify(published)
    assert report.mismatches == []
    assert report.records == 7
    plots = len(list(published.glob("plots/*.svg")))
    assert plots > 2
    assert report.files == len([p for p in published.rglob("*") if p.is_file()]) - 7 - 1
    assert not any("plots" in note for note in report.notes)


@settings(
    max_examples=100,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data())
def test_any_changed_digit_is_found(data: st.DataObject, published: Path) -> None:
    files = sorted(p for p in published.rglob("*") if p.is_file() and DIGIT.search(p.read_bytes()))
    path = data.draw(st.sampled_from(files), label="file")
    content = path.read_bytes()
    digits = [match.start() for match in DIGIT.finditer(content)]
    place = data.draw(st.sampled_from(digits), label="place")
    digit = data.draw(st.sampled_from([d for d in b"0123456789" if d != content[place]]))
    path.write_bytes(content[:place] + bytes([digit]) + content[place + 1 :])
    try:
        mismatches = verify(published).mismatches
    finally:
        path.write_bytes(content)
    assert any(path.relative_to(published).as_posix() in line for line in mismatches)


def test_every_file_that_is_missing_is_named(published: Path) -> None:
    for path in sorted(p for p in published.rglob("*") if p.is_file()):
        if path.name == "store.json":
            continue  # then it is no store
        content = path.read_bytes()
        path.unlink()
        mismatches = verify(published).mismatches
        path.write_bytes(content)
        name = path.relative_to(published).as_posix()
        assert any(line.startswith(f"{name}: missing") for line in mismatches), name


@pytest.mark.parametrize("name", ["README.md", "plots", "store.json", "records", "site/index.html"])
def test_a_link_to_something_equal_is_named(store: Path, tmp_path: Path, name: str) -> None:
    (store / name).rename(tmp_path / "elsewhere")
    (store / name).symlink_to(tmp_path / "elsewhere")
    assert any(line.startswith(f"{name}: is a symbolic") for line in verify(store).mismatches)


@pytest.mark.parametrize(
    ("name", "content"),
    [("tables/more.tex", "more"), ("plots/x.svg", "<svg/>"), ("site/x.html", "<p>more</p>")],
)
def test_a_file_that_is_not_listed_is_named(store: Path, name: str, content: str) -> None:
    (store / name).parent.mkdir(exist_ok=True)
    (store / name).write_text(content)
    assert verify(store).mismatches == [f"{name}: store.json does not list it"]


def test_a_record_of_its_own_is_named(store: Path) -> None:
    path = next((store / "records").iterdir())
    shutil.copy(path, store / "records" / "copy-0123456789ab.json")
    found = verify(store).mismatches
    assert any(line.startswith("records/copy-0123456789ab.json: its content") for line in found)
    assert any("store.json does not list it" in line for line in found)
    assert any("contradicts" in line for line in found)


def forge(store: Path, change: Callable[[dict[str, Any]], None], backend: str = "fast") -> str:
    """Publish a changed record as if it had come so; returns its file."""
    path = next((store / "records").glob(f"{backend}-*"))
    raw = json.loads(path.read_text())
    change(raw)
    content = canonical.content(raw)
    path.unlink()
    name = canonical.file_name(raw, content)
    (store / "records" / name).write_bytes(content)
    publish([], store)
    return f"records/{name}"


def test_a_forged_record_is_found_in_a_store_that_is_consistent(store: Path) -> None:
    """Someone adds a digit to a figure and publishes again: the record contradicts itself."""

    def change(raw: dict[str, Any]) -> None:
        raw["parity"]["worst"] = 4e-6

    file = forge(store, change)
    assert verify(store).mismatches == [f"{file}: parity.worst: 4e-06, the largest error is 5e-06"]


def test_group_members_that_were_left_out_are_noted(
    tmp_path: Path, make_true: Any, runs: Any, no_plots: None
) -> None:
    fast, slow = make_true(backend="fast"), make_true(backend="slow")
    pair = [
        record.model_copy(update={"interleaved_with": [other.trial.name]})
        for record, other in ((fast, slow), (slow, fast))
    ]
    publish([runs(tmp_path / "both", pair)], tmp_path / "whole")
    publish([runs(tmp_path / "one", pair[:1])], tmp_path / "part")
    note = "1 trials that were interleaved with these left no record here"
    assert note not in verify(tmp_path / "whole").unvouched
    assert note in verify(tmp_path / "part").unvouched


def test_a_difference_names_field_cell_and_line(store: Path) -> None:
    json_file, csv_file, readme = (
        store / name for name in ("tables/all.json", "tables/all.csv", "README.md")
    )
    raw = json.loads(json_file.read_text())
    value = raw[0]["rows"][0]["perplexity"]
    raw[0]["rows"][0]["perplexity"] = 1.0
    json_file.write_text(json.dumps(raw, indent=1) + "\n")
    lines = csv_file.read_text().splitlines()
    lines[1] = lines[1].replace("numpy", "scipy", 1)
    csv_file.write_text("\n".join(lines) + "\n")
    readme.write_text(readme.read_text().replace("python 3.11.0", "python 3.12.0"))
    found = "\n".join(verify(store).mismatches)
    assert f"tables/all.json: [0].rows[0].perplexity: 1.0, the records give {value}" in found
    assert "tables/all.csv: row 2, backend: scipy, the records give numpy" in found
    assert "README.md: line " in found


def test_another_version_s_tables_are_not_judged(store: Path) -> None:
    manifest = Manifest.parse("", (store / "store.json").read_bytes())
    other = Manifest(manifest.records, manifest.generated, manifest.libraries, "9.9.9")
    (store / "store.json").write_bytes(other.to_bytes())
    (line,) = verify(store).mismatches
    assert line.startswith("store.json: lstmbench: made by 9.9.9, this is ")


def test_the_last_bit_of_another_system_s_logarithm_is_no_mismatch(
    published: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exact = series.perplexity
    monkeypatch.setattr(series, "perplexity", lambda n, t: exact(n, t) * (1 + 3e-16))
    assert verify(published).mismatches == []
    monkeypatch.setattr(series, "perplexity", lambda n, t: exact(n, t) * (1 + 1e-8))
    assert any("perplexity" in line for line in verify(published).mismatches)


def test_other_versions_of_libraries_are_noted(store: Path) -> None:
    manifest = Manifest.parse("", (store / "store.json").read_bytes())
    versions = {**manifest.libraries, "matplotlib": "1.0", "python": "3.0.0"}
    other = Manifest(manifest.records, manifest.generated, versions)
    (store / "store.json").write_bytes(other.to_bytes())
    report = verify(store)
    assert report.mismatches == []
    assert any("made with matplotlib 1.0, here is" in note for note in report.notes)
    assert any("made with python 3.0.0, here is" in note for note in report.notes)
    assert report.unmade == {}  # that version draws them alike


def relist(store: Path, path: str, content: bytes) -> None:
    """Write a generated file and list it, as a forger would."""
    (store / path).parent.mkdir(parents=True, exist_ok=True)
    (store / path).write_bytes(content)
    manifest = Manifest.parse("", (store / "store.json").read_bytes())
    generated = {**manifest.generated, path: canonical.digest(content)}
    (store / "store.json").write_bytes(
        Manifest(manifest.records, generated, manifest.libraries).to_bytes()
    )


def test_a_plot_that_was_drawn_otherwise_is_named(store: Path) -> None:
    plot = sorted((store / "plots").iterdir())[0]
    name = f"plots/{plot.name}"
    moved = re.sub(
        r"(?<=\nL )[0-9.]+", lambda x: str(float(x[0]) + 0.5), plot.read_text(), count=40
    )
    relist(store, name, moved.encode())
    assert verify(store).mismatches == [f"{name}: is not what the records give"]


def test_the_last_bits_of_another_processor_make_no_other_plot(store: Path) -> None:
    plot = sorted((store / "plots").iterdir())[0]
    names = sorted(set(re.findall(r"\bp[0-9a-f]{10}\b", plot.read_text())))
    other = plot.read_text().replace(names[0], "p0123456789")
    other = re.sub(r"(?<=\nL )[0-9.]+", lambda x: f"{float(x[0]) + 1e-6:.6f}", other)
    assert other != plot.read_text()
    relist(store, f"plots/{plot.name}", other.encode())
    assert verify(store).mismatches == []


@pytest.mark.parametrize(
    "path", ["tables/all.x/index.html", "tables/all.x.HTML", "tables/all.", "tables/all.tex.js/x"]
)
def test_what_no_plugin_s_format_could_be_is_named(store: Path, path: str) -> None:
    relist(store, path, b"<script>")
    assert f"{path}: the records give no such file" in verify(store).mismatches


def test_what_else_lies_in_a_store_is_noted(store: Path) -> None:
    for path in ("index.html", "noise/run/plan.json", "records/summary.html", "records/x/y.json"):
        (store / path).parent.mkdir(parents=True, exist_ok=True)
        (store / path).write_text("more")
    report = verify(store)
    assert report.mismatches == []
    names = "index.html, noise/, records/summary.html, records/x/"
    assert f"not checked, no part of the store: {names}" in report.notes
    for number in range(5):
        (store / f"z{number}").write_text("more")
    assert any(note.endswith("records/x/, z0 and 4 more") for note in verify(store).notes)


def test_drift_of_another_version_is_not_judged_and_noted(
    tmp_path: Path, make_true: Any, runs: Any
) -> None:
    record = make_true()
    versions = {**record.machine.versions, "lstmbench": "0.0.9"}
    machine = record.machine.model_copy(update={"versions": versions})
    other = record.model_copy(update={"machine": machine, "flags": [Flag.DRIFTING]})
    report = verify(runs(tmp_path / "run", [other]))
    assert report.mismatches == []
    assert any(line.startswith("measured by lstmbench 0.0.9") for line in report.unvouched)


#: Each kind of field, changed so that the record itself tells.
LIES: list[tuple[str, Any, str]] = [
    ("stack", {"label": "other", "request": "jax"}, "stack"),
    ("layer", {"passes": 1}, "epochs"),
    ("trial.protocol.hidden_size", 5, "trial.protocol.hidden_size"),
    ("trial.protocol.learning_rate", 0.5, "trial.protocol.learning_rate"),
    ("trial.protocol.train_tokens", 9000, "trial.protocol.train_tokens"),
    ("trial.protocol.clip_norm", 5.0, "trial.protocol.clip_norm"),
    ("trial.protocol.steps", 0, "trial.protocol.steps"),
    ("trial.overrides.epochs", 13, "trial.protocol.epochs"),
    ("trial.overrides.clip_norm", 1.0, "trial.overrides.clip_norm"),
    ("trial.seed", 1, "digests.offsets"),
    ("trial.seed", -1, "trial.seed"),
    ("trial.threads", 0, "trial.threads"),
    ("trial.repeat", -1, "trial.repeat"),
    ("trial.corpus_digest", "0" * 64, "trial.corpus_digest"),
    ("trial.corpus_digest", "zz", "trial.corpus_digest"),
    ("trial.corpus", "bundled", "trial.corpus_digest"),
    ("trial.dtype", "float64", "parity.tolerance"),
    ("source.started", "yesterday", "source.started"),
    ("source.commit", "v1.0", "source.commit"),
    ("source.dirty", None, "source.dirty"),
    ("source.run", "", "source.run"),
    ("machine.digest", "0" * 64, "machine.digest"),
    ("machine.facts.physical_cores", 64, "machine.digest"),
    ("vocabulary_size", 29, "vocabulary_size"),
    ("parameters", 999, "parameters"),
    ("parameters", "244", "parameters"),
    ("status", "interrupted", "message"),
    ("reason", "nan", "reason"),
    ("message", "fine", "message"),
    ("flags", [Flag.SUSPECT], "flags"),
    ("flags", [Flag.DRIFTING], "flags"),
    ("flags", ["splendid"], "flags"),
    ("flags", [], "flags"),
    ("phases.import", "1.5", "phases.import"),
    ("memory.peak", True, "memory.peak"),
    ("parity", None, "parity"),
    ("parity.worst", 4e-6, "parity.worst"),
    ("parity.tolerance", 1e-3, "parity.tolerance"),
    ("parity.errors.clipped: loss", 1.0, "parity.errors.clipped: loss"),
    ("parity.errors.clipped: luck", 1e-9, "parity.errors.clipped: luck"),
    ("parity.allowed", {"text: loss": 0.5}, "parity.allowed.text: loss"),
    ("parity.allowed", {"text: luck": 1e-3}, "parity.allowed.text: luck"),
    ("parity.shape", [9999, 4, 5], "parity.shape"),
    ("parity.cut", True, "parity.cut"),
    ("epochs", {"seconds": [1.0], "nats": [1.0], "tokens": [20]}, "epochs.seconds"),
    ("epochs.nats", [-1.0] * 12, "flags"),
    ("epochs.tokens", [20] * 12, "epochs.tokens.0"),
    ("epochs.tokens.3", 20, "epochs.tokens.3"),
    ("evaluations", [], "evaluations"),
    ("evaluations.0.tokens", 20, "evaluations.0.tokens"),
    ("evaluations.0.split", "test", "evaluations"),
    ("evaluations.0.split", "luck", "evaluations.0.split"),
    ("evaluations.1.epoch", 11, "evaluations"),
    ("evaluations.2.source_nats", 1.0, "evaluations.2.source_nats"),
    ("evaluations.2.source_nats", None, "evaluations.2.source_nats"),
    ("evaluations.2.nats", 1.0, "flags"),
    ("continuations", [], "continuations"),
    ("continuations.0.text", "short", "continuations.0.text"),
    ("continuations.0.prefix", "time", "continuations"),
    ("digests.offsets", "0" * 64, "digests.offsets"),
    ("digests.parameters", "0" * 64, "digests.parameters"),
    ("digests.parameters", "zz", "digests.parameters"),
    ("digests", {}, "digests.offsets"),
    (
        "own_model",
        {"reference": "mine:Cell", "tensors": {"kernel": [2, 2]}, "operations_per_token": 1.0},
        "own_model",
    ),
    ("peak.matmul.side", 64, "peak.matmul.side"),
    ("peak.matmul.dtype", "float64", "peak.matmul.dtype"),
    ("peak.copies.size", 4096, "peak.copies.size"),
    ("system_load.others", -0.5, "system_load.others"),
    ("system_load.stolen", 1.5, "system_load.stolen"),
    ("activity", None, "activity"),
    ("activity.processor_seconds", 100.0, "flags"),
    ("activity.remarks", ["changed the priority of others"], "flags"),
    ("challenge", None, "challenge"),
    ("challenge.seconds", [10.0], "flags"),
    ("challenge.processor_seconds", [10.0], "flags"),
    ("epochs.host_seconds", [], "epochs.host_seconds"),
    ("epochs.host_seconds", [9.0] * 12, "flags"),
    ("audit", None, "audit"),
    ("audit.nonce", "luck", "audit.nonce"),
    ("audit.nonce", "0" * 32, "audit.parts.2.first"),
    ("audit.parts", [], "flags"),
    ("audit.parts.0.last", 13, "audit.parts.0.last"),
    ("audit.parts.0.errors.parameters", 0.5, "audit.parts.0.errors.parameters"),
    ("audit.parts.0.errors.parameters", -1.0, "audit.parts.0.errors.parameters"),
    ("audit.parts.0.errors", {}, "audit.parts.0.allowed.parameters"),
    ("audit.parts.0.allowed.parameters", 0.5, "audit.parts.0.allowed.parameters"),
]


def set_field(raw: Any, place: str, value: Any) -> None:
    *parents, last = place.split(".")
    for part in parents:
        raw = raw[int(part) if isinstance(raw, list) else part]
    raw[int(last) if isinstance(raw, list) else last] = value


@pytest.fixture(scope="module")
def truth(make_true: Any) -> str:
    """A record with something in every part."""
    matmul = Matmul(library="BLAS", side=SIDES["cpu"], dtype="float32", seconds=[0.1, 0.2])
    peak = Peak(matmul=matmul, copies=Copy(size=COPY_BYTES, seconds=[0.1]))
    around = SystemLoad(others=0.5, stolen=0.25)
    record: Record = make_true(
        HELDOUT, corpus.MARKOV, peak=peak, system_load=around, flags=[Flag.INTERFERENCE]
    )
    return record.model_dump_json()


@pytest.mark.parametrize(("place", "value", "field"), LIES)
def test_a_lie_in_any_kind_of_field_is_named(
    truth: str, known: ReferenceData, place: str, value: Any, field: str
) -> None:
    assert faults(parse("", truth.encode()), known) == []
    raw = json.loads(truth)
    set_field(raw, place, value)
    try:
        found = [where for where, _ in faults(parse("", json.dumps(raw).encode()), known)]
    except UserError as error:  # what no figure can be computed from
        found = [str(error).partition(" is not a record: ")[2].partition(":")[0]]
    assert any(where == field or where.startswith(f"{field}.") for where in found), found


def test_every_part_of_a_record_is_lied_about() -> None:
    free = {"schema_version", "runtime", "log_tail", "interleaved_with"}
    told = {place.partition(".")[0] for place, _, _ in LIES}
    assert told == Record.model_fields.keys() - free


def test_records_of_every_status_are_true(pool: list[Record], known: ReferenceData) -> None:
    for record in pool:
        assert faults(parse("", record.model_dump_json().encode()), known) == []


def test_what_failed_parity_must_have_failed_it(make_true: Any, known: ReferenceData) -> None:
    record = make_true(status="failed", reason="parity", message="text: loss differs")
    found = faults(parse("", record.model_dump_json().encode()), known)
    assert ("reason", "parity, though every error is within its tolerance") in found


def test_infinite_errors_can_be_verified(make_true: Any, known: ReferenceData) -> None:
    record = make_true(status="failed", reason="parity", message="text: loss differs")
    raw = json.loads(record.model_dump_json())
    raw["parity"]["worst"] = raw["parity"]["errors"]["text: loss"] = "Infinity"
    assert faults(parse("", json.dumps(raw).encode()), known) == []


def test_the_counts_of_the_time_machine(corpus_file: Path) -> None:
    made = corpus.resolve(corpus.TIME_MACHINE, path=corpus_file)
    assert COUNTED[made.digest] == (len(made.ids), len(made.vocabulary))


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_odd_values_are_named_and_never_crash(
    data: st.DataObject, truth: str, known: ReferenceData
) -> None:
    raw = json.loads(truth)
    places = list(leaves(raw))
    place = data.draw(st.sampled_from(places))
    odd = [None, "", "x", [], {}, -1, 0, 2**70, 1e308, True, "Infinity", "NaN", ["a"], {"a": 1}]
    odd += ["1" * 5000, -1e308, 10**400, 0.5]
    set_field(raw, place, data.draw(st.sampled_from(odd)))
    try:
        stored = parse("here", json.dumps(raw).encode())
    except UserError:
        return
    assert isinstance(faults(stored, known), list)
    found = tables.tables_from([stored.record])
    assert all(render(found, form) for form in ("plain", "csv", "json"))
    assert site.build({"here": stored.record})
    assert isinstance(compare.compare([stored.record], [stored.record]), list)


def leaves(raw: Any, place: str = "") -> Iterator[str]:
    items = raw.items() if isinstance(raw, dict) else enumerate(raw)
    for key, value in items:
        where = f"{place}.{key}".lstrip(".")
        if isinstance(value, dict | list) and value:
            yield from leaves(value, where)
        elif "." not in str(key):
            yield where


class TestRun:
    """A run's own folder."""

    @pytest.fixture
    def run(self, tmp_path: Path, pool: list[Record], runs: Any) -> Path:
        return Path(runs(tmp_path / "run", pool[:3]))

    def test_is_verified(self, run: Path) -> None:
        assert verify(run).mismatches == []
        assert verify(run.parent).mismatches == []

    def test_a_record_that_was_removed_is_missed(self, run: Path) -> None:
        path = next((run / "records").iterdir())
        path.unlink()
        assert verify(run).mismatches == [f"plan.json: {path.stem} left no record"]

    def test_a_record_under_another_name_is_named(self, run: Path) -> None:
        path = next((run / "records").iterdir())
        path.rename(path.with_name("other.json"))
        found = verify(run).mismatches
        assert any(line.startswith("records/other.json: its name is not") for line in found)

    def test_a_damaged_plan_is_named(self, run: Path) -> None:
        (run / "plan.json").write_text("[]")
        assert [line.partition(":")[0] for line in verify(run).mismatches] == ["plan.json"]

    def test_an_example_of_the_first_version_has_its_name(self, tmp_path: Path) -> None:
        raw = json.loads(EXAMPLE.read_text())
        from lstmbench.records.canonical import trial_name

        assert trial_name(raw) == "tf_scratch-xla-cpu-float32-shared-r0-7ec67eab"
