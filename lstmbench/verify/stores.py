"""A run, a bundle or a published store: every record, and every file made from them."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from lstmbench import __version__, plugins
from lstmbench.errors import UserError
from lstmbench.publish import canonical
from lstmbench.publish.bundle import read_bundle
from lstmbench.publish.derive import Made, derive
from lstmbench.publish.gather import Entry, unclean
from lstmbench.publish.manifest import FILES, FOLDERS, Manifest, installed
from lstmbench.record import Record
from lstmbench.store import MANIFEST, PLAN, Run, Stored, open_runs, parse
from lstmbench.verify.differences import differences
from lstmbench.verify.known import Known
from lstmbench.verify.records import faults

#: The file of each trial, by run and name.
Trials = dict[tuple[str, str], str]


@dataclass
class Report:
    """``mismatches`` name file and field; ``notes`` say what could not be checked."""

    records: int = 0
    files: int = 0
    mismatches: list[str] = field(default_factory=list)
    notes: dict[str, None] = field(default_factory=dict)

    def wrong(self, file: str, *lines: str) -> None:
        self.mismatches += [f"{file}: {line}" for line in lines]

    def note(self, line: str) -> None:
        self.notes[line] = None


def verify(path: Path) -> Report:
    """Check whatever ``path`` is. Raises :class:`UserError` if it is nothing that can be."""
    report = Report()
    known = _known()
    if path.is_file():
        trials: Trials = {}
        for stored in read_bundle(path):
            _twins(report, trials, stored.place, stored)
            _record(report, known, stored.place, stored)
        return report
    runs = open_runs([path])
    for run in runs:
        if run.published:
            _published(report, known, run.folder)
        else:
            _run(report, known, run, f"{run.name}/" if len(runs) > 1 else "")
    return report


def _known() -> Known:
    host = plugins.load()
    return Known(host.protocols(), host.corpora())


def _record(report: Report, known: Known, file: str, stored: Stored) -> None:
    report.records += 1
    for where, what in faults(stored, known):
        report.wrong(file, f"{where}: {what}")
    _limits(report, known, stored.record)


def _twins(report: Report, trials: Trials, file: str, stored: Stored) -> None:
    """A trial leaves one record in a run."""
    trial = (stored.record.source.run, canonical.trial_name(stored.raw))
    other = trials.setdefault(trial, file)
    if other != file:
        report.wrong(file, f"contradicts {other}: the same trial of the same run")


def _limits(report: Report, known: Known, record: Record) -> None:
    """Say what a record claims that cannot be checked here."""
    trial = record.trial
    why = unclean(record)
    if why:
        report.note(f"not for publication: {why}")
    if trial.protocol.name not in known.protocols:
        report.note(f"protocol {trial.protocol.name!r} is not known here: not compared with it")
    if known.text(trial.corpus) is None:
        report.note(f"corpus {trial.corpus!r} is not known here: digest and tokens not compared")
    if trial.init != "shared":
        report.note(f"{trial.init} initial parameters are the framework's: digest not recomputed")


def _read(report: Report, folder: Path, prefix: str) -> dict[str, Stored]:
    """The records of a folder by file name; those that cannot be read are mismatches."""
    found = {}
    for path in Run(folder).files():
        file = f"{prefix}records/{path.name}"
        try:
            found[path.name] = parse(file, path.read_bytes())
        except UserError as error:
            report.mismatches.append(str(error))
        except OSError as error:
            report.wrong(file, error.strerror or str(error))
    return found


def _run(report: Report, known: Known, run: Run, prefix: str) -> None:
    """A run's own folder: names, and that no record of the plan is missing."""
    records = _read(report, run.folder, prefix)
    for name, stored in records.items():
        file = f"{prefix}records/{name}"
        if name != f"{canonical.trial_name(stored.raw)}.json":
            report.wrong(file, f"its name is not its trial's, {canonical.trial_name(stored.raw)}")
        _record(report, known, file, stored)
    if not any(stored.record.source.aim for stored in records.values()):
        try:
            planned = _planned(json.loads((run.folder / PLAN).read_bytes()))
        except (OSError, RecursionError, ValueError, TypeError, KeyError, AttributeError) as error:
            report.wrong(f"{prefix}{PLAN}", f"is damaged: {error}")
        else:
            missing = [name for name in planned if f"{name}.json" not in records]
            report.wrong(f"{prefix}{PLAN}", *(f"{name} left no record" for name in missing))
    report.note("a run's table and plot are not checked: publish it, and verify the store")


def _planned(plan: Mapping[str, list[list[dict[str, str]]]]) -> list[str]:
    return [trial["name"] for group in plan.get("groups", []) for trial in group]


def _published(report: Report, known: Known, folder: Path) -> None:
    records = _read(report, folder, "")
    trials: Trials = {}
    for name, stored in records.items():
        file = f"records/{name}"
        if not canonical.is_named_by(name, stored.content):
            report.wrong(file, f"its content has the digest {canonical.digest(stored.content)}")
        elif not canonical.is_canonical(stored.raw, stored.content, name):
            report.wrong(file, "is not written as records are published")
        _twins(report, trials, file, stored)
        _record(report, known, file, stored)
    _companions(report, (stored.record for stored in records.values()), trials)
    try:
        manifest = Manifest.parse(MANIFEST, (folder / MANIFEST).read_bytes())
    except UserError as error:
        report.mismatches.append(str(error))
        return
    digests = {name: canonical.digest(stored.content) for name, stored in records.items()}
    _listed(report, "records/", manifest.records, digests)
    if manifest.lstmbench != __version__:
        report.wrong(
            MANIFEST,
            f"lstmbench: made by {manifest.lstmbench}, this is {__version__}: tables can only be "
            "made again by that version",
        )
        return
    entries = {name: Entry(s.content, s.record, s.place) for name, s in records.items()}
    _made(report, folder, manifest, derive(entries, draw=False))
    _manifest(report, folder, manifest)


def _companions(
    report: Report, records: Iterable[Record], here: Collection[tuple[str, str]]
) -> None:
    """Whoever leaves records out of a group should be seen to."""
    missing = {
        (record.source.run, name)
        for record in records
        for name in record.companions
        if (record.source.run, name) not in here
    }
    if missing:
        report.note(f"{len(missing)} trials that took turns with these left no record here")


def _listed(
    report: Report, folder: str, listed: Mapping[str, str], digests: Mapping[str, str]
) -> None:
    """Files against their digests in the manifest, both ways."""
    for name in sorted(listed.keys() | digests.keys()):
        if name not in digests:
            report.wrong(f"{folder}{name}", f"missing, though {MANIFEST} lists it")
        elif name not in listed:
            report.wrong(f"{folder}{name}", f"{MANIFEST} does not list it")
        elif listed[name] != digests[name]:
            report.wrong(f"{folder}{name}", f"{MANIFEST} lists another digest of it")


def _made(report: Report, folder: Path, manifest: Manifest, made: Made) -> None:
    """Every made file, against what the records give."""
    report.mismatches += made.problems
    found = _files(folder)
    _listed(report, "", manifest.made, {p: canonical.digest(data) for p, data in found.items()})
    expected = {p: data for p, data in made.files.items() if not _foreign(p, made, manifest)}
    for path in sorted(expected.keys() & found.keys()):
        report.files += 1
        report.mismatches += differences(path, found[path], expected[path])
    for path in sorted((expected.keys() | set(made.plots)) - manifest.made.keys()):
        report.wrong(path, "missing: the records give such a file")
    for path in sorted(manifest.made.keys() - expected.keys() - set(made.plots)):
        if path.startswith("tables/all."):
            report.note(f"{path} is in the format of a plugin: compared by digest only")
        else:
            report.wrong(path, "the records give no such file")
    if made.plots:
        report.note("plots depend on the version that drew them: compared by digest only")
    here = installed()
    for library, version in manifest.libraries.items():
        if here.get(library) != version:
            report.note(f"made with {library} {version}, here is {here.get(library)}")


def _foreign(path: str, made: Made, manifest: Manifest) -> bool:
    """Whether only a plugin that is installed here, but was not there, makes the file."""
    return path in made.by_plugins and path not in manifest.made


def _files(folder: Path) -> dict[str, bytes]:
    """What is where made files are."""
    paths: Iterable[Path] = (folder / name for name in FILES)
    for name in FOLDERS:
        paths = [*paths, *(folder / name).rglob("*")]
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in paths if p.is_file()}


def _manifest(report: Report, folder: Path, manifest: Manifest) -> None:
    """Its bytes are what its own content gives, digest of itself included."""
    actual = (folder / MANIFEST).read_bytes()
    report.mismatches += differences(MANIFEST, actual, manifest.to_bytes())
