"""A published store: the same records give the same bytes, and nothing else is touched."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lstmbench.errors import UserError
from lstmbench.publish.merge import publish
from lstmbench.records import canonical
from lstmbench.records.parse import read_stored
from lstmbench.records.record import Parity, Record
from lstmbench.records.store import load

pytestmark = pytest.mark.usefixtures("no_plots")
PROPERTY = settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.fixture
def two_runs(tmp_path: Path, pool: list[Record], runs: Any) -> list[Path]:
    return [runs(tmp_path / "a", pool[:4]), runs(tmp_path / "b", pool[4:])]


@pytest.fixture
def store(tmp_path: Path, two_runs: list[Path]) -> Path:
    publish(two_runs, tmp_path / "store")
    return tmp_path / "store"


def test_the_layout(store: Path, files: Any) -> None:
    names = files(store)
    assert {"README.md", "store.json", "schema.json", "tables/all.csv"} <= names.keys()
    records = [name for name in names if name.startswith("records/")]
    assert len(records) == 7
    for name in records:
        digest = canonical.digest(names[name])
        assert name.endswith(f"-{digest[:12]}.json")
        assert json.loads(names["store.json"])["records"][Path(name).name] == digest
    made = json.loads(names["store.json"])["made"]
    assert made.keys() == names.keys() - set(records) - {"store.json"}
    assert all(canonical.digest(names[path]) == digest for path, digest in made.items())


def test_a_folder_of_a_store_is_no_place_for_another(store: Path, two_runs: list[Path]) -> None:
    before = sorted(store.rglob("*"))
    for inside in ("records", "site/mine"):
        with pytest.raises(UserError, match=f"is part of the published store {store}"):
            publish(two_runs, store / inside)
    assert sorted(store.rglob("*")) == before
    publish(two_runs[:1], store / "mine")  # which is no folder of the store's own
    publish(two_runs[:1], store / "tables" / ".." / ".." / "beside")
    link = store.parent / "link"
    link.symlink_to(store / "tables")
    with pytest.raises(UserError, match="is part of the published store"):
        publish(two_runs, link / "below")
    (store.parent / "store.json").write_text("{}")  # somebody else's
    publish(two_runs[:1], store.parent / "site")


def test_the_text_that_a_run_fell_back_to_is_in_its_command(
    make_true: Any, runs: Any, tmp_path: Path
) -> None:
    publish([runs(tmp_path / "run", [make_true()])], tmp_path / "store")
    page = (tmp_path / "store" / "README.md").read_text()
    assert "lstmbench run --backends numpy --corpus=bundled # commit" in page


def test_tables_of_equal_titles_say_what_differs(make_true: Any, runs: Any, tmp_path: Path) -> None:
    record = make_true()
    machine = record.machine
    more = machine.model_copy(update={"versions": {**machine.versions, "lstmbench-mine": "2.0"}})
    other = record.model_copy(
        update={
            "machine": more,
            "source": record.source.model_copy(update={"run": "20220520-120000-d2l-abcd"}),
        }
    )
    paths = [runs(tmp_path / "one", [record]), runs(tmp_path / "two", [other])]
    publish(paths, tmp_path / "store")
    page = (tmp_path / "store" / "README.md").read_text()
    headings = [line for line in page.splitlines() if line.startswith("### ") and "commit" in line]
    assert sorted(line.rpartition(", ")[2] for line in headings) == [
        "lstmbench-mine 2.0",
        "without lstmbench-mine",
    ]
    assert page.count("processor: Some CPU") == 1
    assert page.count("python 3.11.0") == 2


def test_a_record_s_name_begins_with_its_trial_s(store: Path) -> None:
    for path in (store / "records").iterdir():
        assert path.name.startswith(read_stored(path).record.trial.name)


def test_the_readme_shows_the_best_and_everything(store: Path) -> None:
    text = (store / "README.md").read_text()
    best = text.partition("## All tables")[0]
    assert "| fast " in best
    assert "| jit " in best
    assert "| broken " not in best
    assert not re.search(r"\| fast +\| eager", best)
    assert "| broken " in text
    assert "it broke" in text
    assert "lstmbench run --backends numpy --corpus=bundled # commit 000000000000" in text
    assert "python 3.11.0" in text


def test_latex_tables_can_be_input(store: Path) -> None:
    tables = list((store / "tables").glob("*.tex"))
    assert len(tables) >= 3
    for path in tables:
        text = path.read_text()
        assert text.count(r"\begin{tabular}") == text.count(r"\end{tabular}") == 1
        assert r"\toprule" in text
        assert "section" not in text
        assert "documentclass" not in text


def test_figures_are_those_of_the_records(store: Path) -> None:
    from lstmbench.publish.tables import make
    from lstmbench.report.text import render

    tables = make(load([store]).records)
    assert (store / "tables/all.json").read_text() == render(tables, "json") + "\n"
    assert (store / "tables/all.csv").read_text() == render(tables, "csv") + "\n"


def test_publishing_again_writes_nothing(store: Path, two_runs: list[Path], files: Any) -> None:
    before = {path: (store / path).stat().st_mtime_ns for path in files(store)}
    for again in ([], two_runs, [*two_runs, store], [store]):
        outcome = publish(again, store)
        assert (outcome.written, outcome.removed) == (0, 0)
    assert {path: (store / path).stat().st_mtime_ns for path in files(store)} == before


@PROPERTY
@given(data=st.data())
def test_order_and_steps_do_not_matter(
    data: st.DataObject, pool: list[Record], runs: Any, files: Any
) -> None:
    """However records come together, the store is the same, byte by byte."""
    owners = data.draw(st.lists(st.integers(0, 2), min_size=7, max_size=7))
    order = data.draw(st.permutations(range(3)))
    stepwise = data.draw(st.booleans())
    through = data.draw(st.booleans())
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        paths = [
            runs(
                folder / f"run{i}", [r for r, owner in zip(pool, owners, strict=True) if owner == i]
            )
            for i in range(3)
        ]
        publish(paths, folder / "expected")
        sources = [paths[i] for i in order]
        if through:  # one of them by way of another machine's store
            publish([sources[0]], folder / "other")
            sources[0] = folder / "other"
        for step in [[s] for s in sources] if stepwise else [sources]:
            publish(step, folder / "came")
        assert files(folder / "came") == files(folder / "expected")


def test_keys_in_another_order_are_the_same_record(
    tmp_path: Path, two_runs: list[Path], files: Any
) -> None:
    publish(two_runs, tmp_path / "one")
    for path in two_runs[0].glob("records/*.json"):
        raw = json.loads(path.read_text())
        path.write_text(json.dumps(dict(reversed(raw.items())), sort_keys=False))
    publish(two_runs, tmp_path / "two")
    assert files(tmp_path / "one") == files(tmp_path / "two")


def test_a_record_keeps_the_version_that_it_was_written_in(
    tmp_path: Path, pool: list[Record], runs: Any
) -> None:
    run = runs(tmp_path / "old", pool[:1])
    (path,) = (run / "records").iterdir()
    raw = json.loads(path.read_text())
    raw["schema_version"] = 1
    raw["memory"] = {"imported": 1, "peak": 5}
    for later in ("peak", "companions"):
        raw.pop(later, None)
    raw["source"].pop("aim")
    raw["epochs"].pop("joules")
    path.write_text(json.dumps(raw))
    publish([run], tmp_path / "store")
    (published,) = (tmp_path / "store" / "records").iterdir()
    assert json.loads(published.read_text()) == raw
    assert read_stored(published).record.memory["peak_with_parity"] == 5


def test_stale_files_go_and_others_stay(
    tmp_path: Path, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lstmbench.publish import tables

    mine = store / "tables" / "mine.tex"
    mine.write_text("mine")
    (store / "notes.txt").write_text("mine")
    monkeypatch.setattr(tables, "MAX_ROWS", 1)
    assert publish([], store).written
    long = set((store / "tables").glob("*.md"))
    assert long
    monkeypatch.setattr(tables, "MAX_ROWS", 300)
    assert publish([], store).removed == len(long)
    assert not list((store / "tables").glob("*.md"))
    assert mine.read_text() == (store / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("path", ["README.md", "schema.json", "tables/all.csv"])
def test_a_file_that_publishing_did_not_make_is_never_replaced(
    tmp_path: Path, two_runs: list[Path], path: str, files: Any
) -> None:
    place = tmp_path / "store" / path
    place.parent.mkdir(parents=True)
    place.write_text("mine")
    with pytest.raises(UserError, match="in the way"):
        publish(two_runs, tmp_path / "store")
    assert files(tmp_path / "store") == {path: b"mine"}


@pytest.mark.parametrize("to", [".", "a"])
def test_a_folder_that_is_or_holds_runs_is_refused(
    tmp_path: Path, two_runs: list[Path], to: str, files: Any
) -> None:
    before = files(tmp_path)
    with pytest.raises(UserError, match="choose another folder") as refused:
        publish(two_runs, tmp_path / to)
    assert str(tmp_path / "a") in str(refused.value)
    assert files(tmp_path) == before


def test_records_that_no_store_lists_are_in_the_way(
    tmp_path: Path, two_runs: list[Path], store: Path, files: Any
) -> None:
    """But those of the runs themselves are not, such as of a store that lost the rest."""
    (tmp_path / "new").mkdir()
    (store / "records").rename(tmp_path / "new" / "records")
    before = files(tmp_path / "new")
    with pytest.raises(UserError, match="in the way: choose another folder"):
        publish(two_runs[:1], tmp_path / "new")
    assert files(tmp_path / "new") == before
    publish(two_runs, tmp_path / "new")
    assert before.items() < files(tmp_path / "new").items()


def test_a_store_whose_folder_leads_elsewhere_is_refused(
    tmp_path: Path, two_runs: list[Path]
) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "tables").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="leads out of the store"):
        publish(two_runs, tmp_path / "store")
    assert not list((tmp_path / "elsewhere").iterdir())


@pytest.mark.parametrize(
    "path", ["../notes.txt", "/etc/passwd", "tables/../../notes.txt", "records/x", "plots//x"]
)
def test_a_manifest_that_lists_other_files_is_refused(
    tmp_path: Path, store: Path, path: str
) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    manifest = json.loads((store / "store.json").read_text())
    manifest["made"][path] = "0" * 64
    (store / "store.json").write_text(json.dumps(manifest))
    with pytest.raises(UserError, match="is damaged: it lists"):
        publish([], store)
    assert (tmp_path / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "is damaged"),
        ("[]", "names no format"),
        ('{"format": 99, "lstmbench": "9.9"}', "format 99 of published stores by lstmbench 9.9"),
        ('{"format": 1}', "a part of it is missing"),
    ],
)
def test_a_manifest_that_cannot_be_read_is_refused(store: Path, content: str, words: str) -> None:
    (store / "store.json").write_text(content)
    with pytest.raises(UserError, match=words):
        publish([], store)


def test_contradicting_records_are_refused_and_both_are_named(
    tmp_path: Path, two_runs: list[Path], make_true: Callable[..., Record], runs: Any
) -> None:
    other = runs(tmp_path / "other", [make_true(speed=3.0)])
    with pytest.raises(UserError, match="contradict each other") as refused:
        publish([*two_runs, other], tmp_path / "store")
    (theirs,) = other.glob("records/*")
    assert str(theirs) in str(refused.value)
    assert str(two_runs[0] / "records" / theirs.name) in str(refused.value)
    assert not (tmp_path / "store").exists()


def test_a_contradiction_with_what_is_published_is_refused(
    tmp_path: Path, store: Path, make_true: Callable[..., Record], runs: Any, files: Any
) -> None:
    before = files(store)
    other = runs(tmp_path / "other", [make_true(speed=3.0)])
    with pytest.raises(UserError, match="contradict each other"):
        publish([other], store)
    assert files(store) == before


def proof(errors: dict[str, float] | None = None, **changes: Any) -> Parity:
    shown = {"worst": 1e-6, "tolerance": 1e-4, "shape": (2, 4, 5), "cut": True}
    return Parity(**{**shown, "errors": errors or {}, **changes})


def test_an_error_that_rounding_explains_is_within_parity(
    tmp_path: Path, make_true: Callable[..., Record], runs: Any
) -> None:
    shown = proof({"text: loss": 1e-6, "text: bias": 2e-3}, allowed={"text: bias": 5e-3})
    run = runs(tmp_path / "run", [make_true(parity=shown)])
    assert len(publish([run], tmp_path / "store").entries) == 1


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"dirty": True}, "no clean commit"),
        ({"commit": None, "dirty": None}, "no clean commit"),
        ({"parity": None}, "without having shown parity"),
        ({"parity": proof()}, "without having shown parity"),
        ({"parity": proof({"text: loss": 2e-4})}, "without having shown parity"),
        ({"parity": proof({"text: loss": float("inf")})}, "without having shown parity"),
        ({"parity": proof({"text: loss": 1e-6}, tolerance=1e-3)}, "without having shown parity"),
    ],
)
def test_what_is_not_for_publication_is_refused_unless_allowed(
    tmp_path: Path,
    make_true: Callable[..., Record],
    runs: Any,
    change: dict[str, Any],
    words: str,
    files: Any,
) -> None:
    run = runs(tmp_path / "run", [make_true(**change)])
    to = tmp_path / "store"
    with pytest.raises(UserError, match=words) as refused:
        publish([run], to)
    assert "--allow-dirty" in str(refused.value)
    assert not to.exists()
    publish([run], to, allow_dirty=True)
    (warning,) = re.findall(r"\*\*Not for publication: .*", (to / "README.md").read_text())
    assert words in warning
    before = files(to)
    publish([run], to)  # what was allowed once is there
    assert files(to) == before


def test_a_record_that_was_copied_in_is_not_known(
    tmp_path: Path, store: Path, make_true: Callable[..., Record], runs: Any, files: Any
) -> None:
    """What lies in the store is what somebody put there; the manifest says what was published."""
    run = runs(tmp_path / "run", [make_true(backend="other", dirty=True)])
    publish([run], tmp_path / "dirty", allow_dirty=True)
    (record,) = (tmp_path / "dirty" / "records").iterdir()
    (store / "records" / record.name).write_bytes(record.read_bytes())
    before = files(store)
    with pytest.raises(UserError, match="no clean commit") as refused:
        publish([], store)
    assert record.name in str(refused.value)
    assert files(store) == before


def test_damaged_records_are_named_and_the_rest_is_published(
    tmp_path: Path, two_runs: list[Path]
) -> None:
    bad = two_runs[0] / "records" / "bad.json"
    bad.write_text('{"schema_version": 7}')
    outcome = publish(two_runs, tmp_path / "store")
    (line,) = outcome.damaged
    assert str(bad) in line
    assert "schema version 7" in line
    assert len(outcome.entries) == 7


def test_a_damaged_record_in_the_store_stops_publishing(
    store: Path, two_runs: list[Path], files: Any
) -> None:
    path = next((store / "records").iterdir())
    path.write_text(path.read_text().replace("5e-06", "6e-06"))
    before = files(store)
    with pytest.raises(UserError, match="its content was changed; restore or remove it"):
        publish(two_runs, store)
    assert files(store) == before


def test_long_stores_keep_their_tables_in_files_of_their_own(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lstmbench.publish import tables

    monkeypatch.setattr(tables, "MAX_ROWS", 1)
    publish([], store)
    text = (store / "README.md").read_text().partition("## All tables")[2]
    links = re.findall(r"\]\((tables/[^)]+\.md)\)", text)
    assert len(links) == 3
    shown = "".join((store / link).read_text() for link in links)
    assert "| broken " in shown
    assert "| broken " not in text


def test_a_store_that_cannot_be_written(tmp_path: Path, two_runs: list[Path]) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UserError, match="cannot be written"):
        publish(two_runs, tmp_path / "file" / "below")
    assert (tmp_path / "file").read_text() == "mine"


def test_a_plot_that_cannot_be_drawn_is_told_and_comes_with_the_next(
    tmp_path: Path, two_runs: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    from lstmbench.publish import plots as published_plots
    from lstmbench.report import plots

    def fail(_: object) -> str:
        raise RuntimeError("no drawing today")

    monkeypatch.setattr(published_plots, "MAX_PLOTS", 40)
    monkeypatch.setattr(plots, "perplexity_svg", fail)
    store = tmp_path / "store"
    problems = publish(two_runs, store).problems
    assert problems
    assert all(
        problem.endswith("cannot be drawn: RuntimeError: no drawing today") for problem in problems
    )
    assert ".svg" not in (store / "README.md").read_text()
    monkeypatch.setattr(plots, "perplexity_svg", lambda _: "<svg/>")
    assert publish([], store).problems == []
    assert len(list((store / "plots").iterdir())) == len(problems)
    assert ".svg" in (store / "README.md").read_text()
