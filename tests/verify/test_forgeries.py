"""Forgeries that agree with themselves: each is found, or what it lies about is not vouched for."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from lstmbench.analysis import flags
from lstmbench.audit.draws import segments
from lstmbench.plugin import manager
from lstmbench.publish import plots
from lstmbench.publish.manifest import Manifest
from lstmbench.publish.merge import publish
from lstmbench.records import canonical
from lstmbench.records.record import Record
from lstmbench.records.store import open_runs
from lstmbench.verify.findings import ANYHOW, LOSSES, Report
from lstmbench.verify.replay import Paths
from lstmbench.verify.stores import verify

Raw = dict[str, Any]
TWIN = """
from lstmbench import BackendSpec, hookimpl

@hookimpl
def lstmbench_backends():
    return [BackendSpec("twin", "", "lstmbench_numpy.backend:NumpyBackend", {"cpu": ("eager",)})]
"""


#: What the system says of an idle machine.
QUIET = {"others": 0.0, "stolen": 0.0, "throttled": None}


def steadied(raw: Raw) -> Raw:
    """A real record with times as an idle machine would give them."""
    count = len(raw["epochs"]["seconds"])
    seconds = [0.4 + 0.01 * (index * 7 % 5) for index in range(count)]
    raw["epochs"]["seconds"] = seconds
    raw["epochs"]["host_seconds"] = [second + 0.001 for second in seconds]
    raw["epochs"]["processor_seconds"] = [0.9 * second for second in seconds]
    challenges = len(raw["challenge"]["seconds"])
    raw["challenge"]["seconds"] = [0.41] * challenges
    raw["challenge"]["processor_seconds"] = [0.37] * challenges
    raw["challenge"]["load"] = QUIET
    raw["activity"] = {"seconds": 2.0, "processor_seconds": 0.01}
    raw["peak"]["matmul"]["seconds"] = [0.06 + 0.0001 * index for index in range(8)]
    raw["system_load"] = QUIET
    raw["phases"] |= {"build": 0.1, "prepare": 0.2, "rebuild": 0.1}
    raw["flags"] = []
    raised = flags.raised(Record.model_validate(raw))
    assert raised == []
    return raw


@dataclass(frozen=True)
class Store:
    """A published store, and what a forger does to it."""

    folder: Path

    def records(self) -> Iterator[tuple[Path, Raw]]:
        for path in sorted((self.folder / "records").iterdir()):
            yield path, json.loads(path.read_text())

    def change(self, change: Callable[[Raw], object], backend: str = "") -> None:
        """Change records, and publish as if they had come so."""
        for path, raw in self.records():
            if raw["trial"]["backend"].startswith(backend):
                change(raw)
                path.unlink()
                content = canonical.content(raw)
                name = canonical.file_name(raw, content)
                (self.folder / "records" / name).write_bytes(content)
        self.publish()

    def remove(self, backend: str) -> None:
        for path, raw in self.records():
            if raw["trial"]["backend"] == backend:
                path.unlink()
        self.publish()

    def publish(self) -> None:
        publish([], self.folder, allow_dirty=True)

    def put(self, path: str, content: bytes) -> None:
        """Write a file and list it."""
        (self.folder / path).write_bytes(content)
        listed = {path: canonical.digest(content)}
        self.relist(lambda m: Manifest(m.records, {**m.generated, **listed}, m.libraries))

    def relist(self, change: Callable[[Manifest], Manifest]) -> None:
        place = self.folder / "store.json"
        place.write_bytes(change(Manifest.parse("", place.read_bytes())).to_bytes())

    def drawn_by(self, version: str | None) -> None:
        """Claim another Matplotlib, or none."""

        def libraries(manifest: Manifest) -> Manifest:
            rest = {k: v for k, v in manifest.libraries.items() if k != "matplotlib"}
            named = rest if version is None else {**rest, "matplotlib": version}
            return Manifest(manifest.records, manifest.generated, named)

        self.relist(libraries)

    def draw(self, change: Callable[[str], str]) -> None:
        """Change a plot."""
        (plot, *_) = sorted((self.folder / "plots").iterdir())
        forged = change(plot.read_text())
        assert forged != plot.read_text()
        self.put(f"plots/{plot.name}", forged.encode())


@pytest.fixture(scope="module")
def run(module_cli: Any) -> Path:
    """Two backends in one group, trained and audited."""
    module_cli.plugin("twin", TWIN)
    done = module_cli.run("--backends", "numpy,twin")
    assert done.returncode == 0, done.stdout + done.stderr
    (folder,) = module_cli.runs()
    for path in (folder / "records").iterdir():
        path.write_text(json.dumps(steadied(json.loads(path.read_text()))))
    return Path(folder)


@pytest.fixture(scope="module")
def published(run: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[bool, Path]:
    """With plots, and without, for drawing takes a while."""
    manager.load.cache_clear()
    found = {}
    for drawn in (True, False):
        with pytest.MonkeyPatch.context() as patch:
            if not drawn:
                patch.setattr(plots, "MAX_PLOTS", 0)
            found[drawn] = tmp_path_factory.mktemp("store")
            publish([run], found[drawn], allow_dirty=True)
    return found


@pytest.fixture
def store(
    published: dict[bool, Path],
    tmp_path: Path,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> Store:
    drawn = getattr(request, "param", False)
    if not drawn:
        monkeypatch.setattr(plots, "MAX_PLOTS", 0)
    return Store(Path(shutil.copytree(published[drawn], tmp_path / "store")))


def scaled(factor: float, *places: str) -> Callable[[Raw], None]:
    """Every number of some series, times ``factor``."""

    def change(raw: Raw) -> None:
        for place in places:
            *parents, last = place.split(".")
            part = raw
            for name in parents:
                part = part[name]
            part[last] = [factor * value for value in part[last]]

    return change


def field(place: str, value: Any) -> Callable[[Raw], None]:
    def change(raw: Raw) -> None:
        *parents, last = place.split(".")
        for name in parents:
            raw = raw[name]
        raw[last] = value

    return change


def other_processor(raw: Raw) -> None:
    machine = raw["machine"]
    machine["facts"]["processor"] = "A slower one"
    text = json.dumps(machine["facts"], sort_keys=True)
    machine["digest"] = hashlib.sha256(text.encode()).hexdigest()


def older(raw: Raw) -> None:
    """As version 4 was: nothing that could have been audited."""
    for name in ("audit", "challenge", "activity"):
        del raw[name]
    for name in ("host_seconds", "processor_seconds"):
        del raw["epochs"][name]
    del raw["source"]["plugins"]
    raw["schema_version"] = 4


def other_nonce(raw: Raw) -> None:
    name, epochs = canonical.trial_name(raw), raw["trial"]["protocol"]["epochs"]
    mine = segments(raw["audit"]["nonce"], name, epochs)
    nonces = (f"{number:032x}" for number in range(1000))
    raw["audit"]["nonce"] = next(
        nonce for nonce in nonces if not set(mine) & set(segments(nonce, name, epochs))
    )


def plain_parity(raw: Raw) -> None:
    raw["parity"]["errors"] = dict.fromkeys(raw["parity"]["errors"], 0.0)
    raw["parity"]["worst"] = 0.0


def failed_audit(raw: Raw) -> None:
    part = next(part for part in raw["audit"]["parts"] if part["what"] == "segment")
    part["errors"]["parameters"] = 0.1


def dirty_plugin(raw: Raw) -> None:
    raw["source"] |= {"dirty": False, "commit": "0" * 40}
    raw["source"]["plugins"][0] |= {"dirty": True, "commit": None}


def then(*steps: Callable[[Store], object]) -> Callable[[Store], None]:
    def forge(store: Store) -> None:
        for step in steps:
            step(store)

    return forge


TIMES = ("epochs.seconds", "epochs.host_seconds")
ALL_TIMES = (*TIMES, "epochs.processor_seconds", "challenge.seconds", "challenge.processor_seconds")
#: What is forged, and what the line about it says.
FOUND: dict[str, tuple[Callable[[Store], object], str]] = {
    "a table like the store's own": (
        lambda s: s.put("tables/all.md", b"| numpy | 1e9 |\n"),
        "tables/all.md: the records give no such file",
    ),
    "a page like the store's own": (
        lambda s: s.put("tables/all.html", b"<script>alert(1)</script>"),
        "tables/all.html: the records give no such file",
    ),
    "a script in the format of a plugin": (
        lambda s: s.put("tables/all.htm", b"<p onclick='alert(1)'>"),
        "tables/all.htm: <p> has an attribute 'onclick'",
    ),
    "a drawing with a script in the format of a plugin": (
        lambda s: s.put("tables/all.svg", b"<svg><script>alert(1)</script></svg>"),
        "tables/all.svg: holds an element <script>",
    ),
    "another cell": (
        lambda s: s.put("tables/all.csv", b'"numpy"\n'),
        "tables/all.csv: row 1",
    ),
    "another script": (
        lambda s: s.put("site/static/site.js", b"alert(1)"),
        "site/static/site.js: line 1",
    ),
    "the worker's seconds halved": (
        lambda s: s.change(scaled(0.5, "epochs.seconds")),
        "flags: suspect is not stated, but the record says otherwise: claims",
    ),
    "the seconds of both clocks halved": (
        lambda s: s.change(scaled(0.5, *TIMES), "twin"),
        "flags: unaudited is not stated",
    ),
    "the seconds of both clocks divided by four": (
        lambda s: s.change(scaled(0.25, *TIMES), "twin"),
        "for an epoch that it had never seen",
    ),
    "every time divided by a thousand": (
        lambda s: s.change(scaled(0.001, *ALL_TIMES)),
        "of the fastest matmul",
    ),
    "processor seconds of too few processors": (
        lambda s: s.change(scaled(10.0, "epochs.processor_seconds")),
        "with --threads 1",
    ),
    "a parity that is too good": (lambda s: s.change(plain_parity), "by nothing at all"),
    "the commit of one record": (
        lambda s: s.change(field("source.commit", "1" * 40), "twin"),
        "source.commit: not that of records/numpy",
    ),
    "the processor of one record": (
        lambda s: s.change(other_processor, "twin"),
        "machine.facts: not that of records/numpy",
    ),
    "a processor without its digest": (
        lambda s: s.change(field("machine.facts.processor", "A slower one")),
        "machine.digest: the facts give",
    ),
    "a group that was none": (
        lambda s: s.change(field("interleaved_with", [])),
        "interleaved_with: does not name twin",
    ),
    "no audit": (lambda s: s.change(field("audit", None)), "audit: missing"),
    "no challenge": (lambda s: s.change(field("challenge", None)), "challenge: missing"),
    "no second clock": (
        lambda s: s.change(field("epochs.host_seconds", [])),
        "epochs.host_seconds: missing",
    ),
    "another nonce": (lambda s: s.change(other_nonce), "the nonce draws no segment"),
    "a failed audit that is ok": (
        lambda s: s.change(failed_audit),
        "errors.parameters: 0.1 is beyond what is allowed",
    ),
    "a dirty plugin in a clean record": (
        lambda s: s.change(dirty_plugin),
        "source.dirty: false, though",
    ),
}
DRAWN: dict[str, tuple[Callable[[Store], object], str]] = {
    "a script in a plot, by another Matplotlib": (
        then(
            lambda s: s.draw(lambda t: t.replace("</svg>", "<script/></svg>")),
            lambda s: s.drawn_by("1.0"),
        ),
        "holds an element <script>",
    ),
    "another curve, by no Matplotlib at all": (
        then(lambda s: s.draw(lambda t: re.sub(r"\nL ", "\nL 1", t)), lambda s: s.drawn_by(None)),
        "store.json: libraries.matplotlib: missing",
    ),
}
UNMADE: dict[str, tuple[Callable[[Store], object], str]] = {
    "a table of a plugin": (
        lambda s: s.put("tables/all.xyz", b"numpy 1e9\n"),
        "tables/all.xyz: in the format of a plugin that is not here",
    ),
}
DRAWN_UNMADE: dict[str, tuple[Callable[[Store], object], str]] = {
    "another curve, by another Matplotlib": (
        then(lambda s: s.draw(lambda t: re.sub(r"\nL ", "\nL 1", t)), lambda s: s.drawn_by("1.0")),
        "drawn by matplotlib 1.0",
    ),
}
UNVOUCHED: dict[str, tuple[Callable[[Store], object], str]] = {
    "every time halved, the challenge's too": (
        lambda s: s.change(scaled(0.5, *ALL_TIMES)),
        ANYHOW,
    ),
    "losses a little better": (lambda s: s.change(scaled(0.99, "epochs.nats")), LOSSES),
    "another commit": (lambda s: s.change(field("source.commit", "1" * 40)), ANYHOW),
    "another processor": (lambda s: s.change(other_processor), ANYHOW),
    "a slower peak": (lambda s: s.change(scaled(3.0, "peak.matmul.seconds")), ANYHOW),
    "another lstmbench": (
        lambda s: s.change(field("machine.versions.lstmbench", "0.0.9")),
        "measured by lstmbench 0.0.9",
    ),
    "a competitor left out": (
        lambda s: s.remove("twin"),
        "1 trials that were interleaved with these left no record here",
    ),
    "a competitor left out and forgotten": (
        then(lambda s: s.remove("twin"), lambda s: s.change(field("interleaved_with", []))),
        "which records were left out",
    ),
}


def test_what_they_are_made_of_is_true(store: Store) -> None:
    report = verify(store.folder, Paths())
    assert report.mismatches == []
    assert report.unmade == {}
    assert report.unaudited == {}
    assert report.trained_again == 2
    assert list(report.unvouched) == [ANYHOW]


def found(lines: Any, words: str) -> bool:
    return any(words in line for line in lines)


@pytest.mark.parametrize("name", FOUND)
def test_it_is_found(store: Store, name: str) -> None:
    forge, words = FOUND[name]
    forge(store)
    assert found(verify(store.folder).mismatches, words), verify(store.folder).mismatches


@pytest.mark.parametrize("store", [True], indirect=True)
@pytest.mark.parametrize("name", DRAWN)
def test_a_drawing_is_found(store: Store, name: str) -> None:
    forge, words = DRAWN[name]
    forge(store)
    assert found(verify(store.folder).mismatches, words)


def unmade(report: Report) -> list[str]:
    assert report.mismatches == []
    return [f"{path}: {why}" for path, why in report.unmade.items()]


@pytest.mark.parametrize("name", UNMADE)
def test_a_file_that_cannot_be_made_again_is_named(store: Store, name: str) -> None:
    forge, words = UNMADE[name]
    forge(store)
    assert found(unmade(verify(store.folder)), words)


@pytest.mark.parametrize("store", [True], indirect=True)
@pytest.mark.parametrize("name", DRAWN_UNMADE)
def test_a_drawing_that_cannot_be_made_again_is_named(store: Store, name: str) -> None:
    forge, words = DRAWN_UNMADE[name]
    forge(store)
    assert found(unmade(verify(store.folder)), words)


@pytest.mark.parametrize("name", UNVOUCHED)
def test_it_is_not_vouched_for(store: Store, name: str) -> None:
    forge, words = UNVOUCHED[name]
    forge(store)
    report = verify(store.folder)
    assert report.mismatches == []
    assert found(report.unvouched, words)


def test_a_record_from_before_audits_is_counted(store: Store) -> None:
    store.change(older)
    report = verify(store.folder)
    assert report.mismatches == []
    assert report.unaudited == {4: 2}


def test_losses_that_were_made_up_are_found_by_training_again(store: Store) -> None:
    store.change(scaled(0.999, "epochs.nats"))
    assert verify(store.folder).mismatches == []
    lines = verify(store.folder, Paths()).mismatches
    assert len(lines) == 2
    assert all("epochs.nats.0" in line and "the reference trains to" in line for line in lines)


def test_a_forged_row_that_owns_up_is_not_ranked(store: Store) -> None:
    """What is ``suspect`` may be published, and is not read as the fastest."""

    def owned_up(raw: Raw) -> None:
        scaled(0.001, *ALL_TIMES)(raw)
        raw["flags"] = flags.raised(Record.model_validate(raw))

    store.change(owned_up, "twin")
    report = verify(store.folder)
    assert report.mismatches == []
    assert found(report.notes, "of the fastest matmul")
    rows = json.loads((store.folder / "tables/all.json").read_text())[0]["rows"]
    assert [row["backend"] for row in rows] == ["numpy", "twin"]


@pytest.mark.parametrize(
    ("forge", "code", "words"),
    [
        (lambda s: None, 0, "\nverified: 2 records and "),
        (
            lambda s: s.put("tables/all.xyz", b"numpy 1e9\n"),
            3,
            "\nverified except 1 file that cannot be made again here: 2 records and ",
        ),
        (lambda s: s.put("tables/all.md", b"x"), 1, "\nnot verified: 1 mismatch\n"),
        (lambda s: s.change(older), 0, "; 2 records not audited: made before audits\n"),
    ],
)
def test_each_has_its_word_and_its_exit_code(
    store: Store, call: Any, forge: Callable[[Store], object], code: int, words: str
) -> None:
    forge(store)
    done = call("verify", store.folder)
    assert done.returncode == code
    assert words in done.stdout
    assert f"not vouched for: {ANYHOW}\n" in done.stdout


def test_the_command_trains_again(store: Store, call: Any, one_line: Any) -> None:
    done = call("verify", store.folder, "--replay", "--replay-epochs", "1")
    assert "; losses of 2 records trained again\n" in done.stdout
    one_line(call("verify", store.folder, "--replay-epochs", "1"), "--replay-epochs", "--replay:")


def test_a_plugin_may_not_write_what_the_host_does() -> None:
    from lstmbench.plugin.extensions import Format
    from lstmbench.publish import generate
    from lstmbench.report import formats

    with pytest.MonkeyPatch.context() as patch:
        for suffix in formats.RESERVED:
            offered = Format("mine", suffix, lambda tables: "x")
            patch.setattr(formats, "of_plugins", lambda offered=offered: [offered])
            problems: list[str] = []
            assert generate._foreign_tables([], problems) == {}
            assert found(problems, f"tables/all{suffix} is a name of the host's own")


def test_every_run_in_the_store_was_one(run: Path) -> None:
    """The fixture holds what the forgeries are about."""
    (opened,) = open_runs([run])
    assert len(opened.records()) == 2
    assert all(record.interleaved_with and record.audit for record in opened.records())
