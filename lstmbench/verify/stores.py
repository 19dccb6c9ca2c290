"""A run, a bundle or a published store: every record, and every file generated from them."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from lstmbench import __version__
from lstmbench.analysis.precision import given_up
from lstmbench.errors import UserError
from lstmbench.plugin import manager
from lstmbench.publish.gather import Entry, unclean
from lstmbench.publish.manifest import Manifest
from lstmbench.records import canonical
from lstmbench.records.bundle import read_bundle
from lstmbench.records.files import MAX_FILE_BYTES, is_file, read_regular
from lstmbench.records.parse import Stored, parse
from lstmbench.records.record import Record
from lstmbench.records.store import MANIFEST, PLAN, Run, open_runs
from lstmbench.verify import generated
from lstmbench.verify.findings import Report
from lstmbench.verify.known import ReferenceData
from lstmbench.verify.records import faults

#: The file of each trial, by run and name.
Trials = dict[tuple[str, str], str]


def verify(path: Path) -> Report:
    """Check whatever ``path`` is. Raises :class:`UserError` if it is nothing that can be."""
    report = Report()
    known = _known()
    if is_file(path):
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


def _known() -> ReferenceData:
    protocols = manager.OnDemand(manager.Host.protocols)
    return ReferenceData(protocols, manager.OnDemand(manager.Host.corpora))


def _record(report: Report, known: ReferenceData, file: str, stored: Stored) -> None:
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


def _limits(report: Report, known: ReferenceData, record: Record) -> None:
    """Say what a record claims that cannot be checked here."""
    trial = record.trial
    why = unclean(record)
    if why:
        report.note(f"not for publication: {why}")
    if trial.protocol.name not in known.protocols:
        report.note(f"protocol {trial.protocol.name!r} is not known here: not compared with it")
    if known.text(trial) is None:
        report.note(f"corpus {trial.corpus!r} is not known here: digest and tokens not compared")
    if (version := record.machine.versions.get("lstmbench")) != __version__:
        report.note(f"measured by lstmbench {version}, this is {__version__}: drift not judged")
    if trial.init != "shared":
        report.note(f"{trial.init} initial parameters are the framework's: digest not recomputed")


def _read(report: Report, folder: Path, prefix: str) -> dict[str, Stored]:
    """The records of a folder by file name; those that cannot be read are mismatches."""
    found: dict[str, Stored] = {}
    try:
        paths = Run(folder).files()
    except UserError as error:
        report.mismatches.append(str(error))
        return found
    for path in paths:
        file = f"{prefix}records/{path.name}"
        try:
            found[path.name] = parse(file, read_regular(path))
        except UserError as error:
            report.mismatches.append(str(error))
        except OSError as error:
            report.wrong(file, error.strerror or str(error))
    return found


def _run(report: Report, known: ReferenceData, run: Run, prefix: str) -> None:
    """A run's own folder: names, and that no record of the plan is missing."""
    records = _read(report, run.folder, prefix)
    for name, stored in records.items():
        file = f"{prefix}records/{name}"
        if name != f"{canonical.trial_name(stored.raw)}.json":
            report.wrong(file, f"its name is not its trial's, {canonical.trial_name(stored.raw)}")
        _record(report, known, file, stored)
    try:
        plan = json.loads(read_regular(run.folder / PLAN, MAX_FILE_BYTES))
        missing = _missing(plan, {name: stored.record for name, stored in records.items()})
    except (OSError, RecursionError, ValueError, TypeError, KeyError, AttributeError) as error:
        report.wrong(f"{prefix}{PLAN}", f"is damaged: {error}")
    else:
        report.wrong(f"{prefix}{PLAN}", *(f"{name} left no record" for name in missing))
    report.note("a run's table and plot are not checked: publish it, and verify the store")


def _missing(plan: Mapping[str, Any], records: Mapping[str, Record]) -> list[str]:
    """The trials of a plan that should have left a record and did not, by name.

    A run that ends once it knows enough, or when its time is over, leaves out the last repeats;
    and it does not go on with a trial that failed in several of them.
    """
    trials = [trial for group in plan.get("groups", []) for trial in group]
    missing = [trial for trial in trials if f"{trial['name']}.json" not in records]
    if any(_may_end_early(record) for record in records.values()):
        last = max(record.trial.repeat for record in records.values())
        rows: dict[str, list[Record]] = {}
        for trial in trials:
            if record := records.get(f"{trial['name']}.json"):
                rows.setdefault(_row(trial), []).append(record)
        missing = [
            trial
            for trial in missing
            if trial["repeat"] <= last and not given_up(rows.get(_row(trial), []))
        ]
    return [trial["name"] for trial in missing]


def _may_end_early(record: Record) -> bool:
    """Whether its run need not do every repeat of the plan."""
    return record.source.stopping_rule is not None or record.source.command[1:2] == ["noise"]


def _row(trial: Mapping[str, Any]) -> str:
    """Equal for the trials of a plan that differ only in repeat."""
    own = {key: value for key, value in trial.items() if key not in ("name", "repeat")}
    return json.dumps(own, sort_keys=True)


def _published(report: Report, known: ReferenceData, folder: Path) -> None:
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
    _unrecorded(report, (stored.record for stored in records.values()), trials)
    try:
        manifest = Manifest.parse(MANIFEST, read_regular(folder / MANIFEST, MAX_FILE_BYTES))
    except UserError as error:
        report.mismatches.append(str(error))
        return
    except OSError as error:
        report.wrong(MANIFEST, error.strerror or str(error))
        return
    digests = {name: canonical.digest(stored.content) for name, stored in records.items()}
    generated.listed(report, "records/", manifest.records, digests)
    if manifest.lstmbench != __version__:
        report.wrong(
            MANIFEST,
            f"lstmbench: made by {manifest.lstmbench}, this is {__version__}: tables can only be "
            "made again by that version",
        )
        return
    entries = {name: Entry(s.content, s.record, s.place) for name, s in records.items()}
    generated.check(report, folder, manifest, entries)


def _unrecorded(
    report: Report, records: Iterable[Record], here: Collection[tuple[str, str]]
) -> None:
    """Note groups that are not here as a whole: records may have been left out on purpose."""
    missing = {
        (record.source.run, name)
        for record in records
        for name in record.interleaved_with
        if (record.source.run, name) not in here
    }
    if missing:
        report.note(f"{len(missing)} trials that were interleaved with these left no record here")
