"""A run, a bundle or a published store: every record, and every file generated from them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lstmbench import __version__
from lstmbench.analysis import impossible
from lstmbench.analysis.precision import given_up
from lstmbench.errors import UserError
from lstmbench.plugin import manager
from lstmbench.publish.gather import Entry, unclean
from lstmbench.publish.manifest import Manifest
from lstmbench.records import canonical
from lstmbench.records.bundle import read_bundle
from lstmbench.records.files import MAX_FILE_BYTES, is_file, read_regular
from lstmbench.records.parse import Stored, parse
from lstmbench.records.record import Flag, Record, Status
from lstmbench.records.store import MANIFEST, PLAN, Run, open_runs
from lstmbench.verify import generated
from lstmbench.verify.findings import ANYHOW, LOSSES, Report
from lstmbench.verify.known import ReferenceData
from lstmbench.verify.records import faults
from lstmbench.verify.replay import NotReplayed, Paths
from lstmbench.verify.together import Together
from lstmbench.worker.parity import proof_dtypes


def verify(path: Path, paths: Paths | None = None) -> Report:
    """Check whatever ``path`` is. Raises :class:`UserError` if it is nothing that can be.

    With ``paths``, the reference trains the first losses of records with shared parameters again.
    """
    report = Report()
    records = _Records(report, paths)
    if is_file(path):
        for stored in read_bundle(path):
            records.add(stored.place, stored)
    else:
        runs = open_runs([path])
        for run in runs:
            if run.published:
                _published(report, records, run.folder)
            else:
                _run(report, records, run, f"{run.name}/" if len(runs) > 1 else "")
    records.finish()
    return report


class _Records:
    """Checks records one by one, and then against each other."""

    def __init__(self, report: Report, paths: Paths | None) -> None:
        self.report = report
        self.paths = paths
        protocols = manager.OnDemand(manager.Host.protocols)
        self.known = ReferenceData(protocols, manager.OnDemand(manager.Host.corpora))
        self.together = Together(report)

    def add(self, file: str, stored: Stored) -> None:
        self.report.records += 1
        for where, what in faults(stored, self.known):
            self.report.wrong(file, f"{where}: {what}")
        self.together.add(file, stored)
        if self.paths:
            self._train_again(self.paths, file, stored.record)
        self._limits(file, stored)

    def finish(self) -> None:
        self.together.finish()
        for line in self.paths.cut if self.paths else ():
            self.report.note(line)
        if self.report.records:
            self.report.unvouch(ANYHOW)
            if self.paths is None:
                self.report.unvouch(LOSSES)

    def _train_again(self, paths: Paths, file: str, record: Record) -> None:
        spec = self.known.specs.get(record.trial.corpus)
        try:
            for where, what in paths.faults(record, spec):
                self.report.wrong(file, f"{where}: {what}")
        except NotReplayed as error:
            self.report.unvouch(f"losses, which were not trained again: {error}")
        except (ArithmeticError, LookupError, MemoryError, TypeError, ValueError) as error:
            self.report.wrong(file, f"epochs.nats: cannot be trained again: {error}")
        else:
            self.report.trained_again += bool(record.epochs.nats)

    def _limits(self, file: str, stored: Stored) -> None:
        """Say what a record claims that cannot be checked here."""
        report, record = self.report, stored.record
        trial, known = record.trial, self.known
        if why := unclean(record):
            report.note(f"not for publication: {why}")
        if record.status == Status.OK:
            for reason in impossible.reasons(record):
                report.note(f"suspect: {file}: {reason}")
        if trial.own_model:
            report.unvouch(
                f"model {trial.model!r} is its plugin's own: nothing here says what is correct"
            )
        proof = record.parity
        if proof and len(proof_dtypes(trial.dtype)) > 1 and proof.program is None:
            report.unvouch(
                f"program of {file}: parity in {trial.dtype} shows gross mistakes only, there is "
                "none in float32"
            )
        if trial.protocol.name not in known.protocols:
            report.unvouch(
                f"protocol {trial.protocol.name!r} is not known here: not compared with it"
            )
        if known.text(trial) is None and not trial.protocol.is_layer:
            report.unvouch(
                f"corpus {trial.corpus!r} is not known here: digest and tokens not compared"
            )
        if (version := record.machine.versions.get("lstmbench")) != __version__:
            report.unvouch(
                f"measured by lstmbench {version}, this is {__version__}: drift not judged"
            )
        if record.status == Status.OK and record.audit is None:
            report.unaudited[stored.raw["schema_version"]] += 1
        elif record.audit is not None and Flag.UNAUDITED in record.flags:
            what = "; ".join(record.audit.left_out) or "nothing was judged"
            report.unvouch(f"losses and times of {file}, which were not audited: {what}")
        if trial.init != "shared":
            report.unvouch(
                f"{trial.init} initial parameters are the framework's: digest not recomputed"
            )


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


def _run(report: Report, records: _Records, run: Run, prefix: str) -> None:
    """A run's own folder: names, and that no record of the plan is missing."""
    found = _read(report, run.folder, prefix)
    for name, stored in found.items():
        file = f"{prefix}records/{name}"
        if name != f"{canonical.trial_name(stored.raw)}.json":
            report.wrong(file, f"its name is not its trial's, {canonical.trial_name(stored.raw)}")
        records.add(file, stored)
    try:
        plan = json.loads(read_regular(run.folder / PLAN, MAX_FILE_BYTES))
        missing = _missing(plan, {name: stored.record for name, stored in found.items()})
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


def _published(report: Report, records: _Records, folder: Path) -> None:
    found = _read(report, folder, "")
    for name, stored in found.items():
        file = f"records/{name}"
        if not canonical.is_named_by(name, stored.content):
            report.wrong(file, f"its content has the digest {canonical.digest(stored.content)}")
        elif not canonical.is_canonical(stored.raw, stored.content, name):
            report.wrong(file, "is not written as records are published")
        records.add(file, stored)
    try:
        manifest = Manifest.parse(MANIFEST, read_regular(folder / MANIFEST, MAX_FILE_BYTES))
    except UserError as error:
        report.mismatches.append(str(error))
        return
    except OSError as error:
        report.wrong(MANIFEST, error.strerror or str(error))
        return
    digests = {name: canonical.digest(stored.content) for name, stored in found.items()}
    generated.listed(report, "records/", manifest.records, digests)
    if manifest.lstmbench != __version__:
        report.wrong(
            MANIFEST,
            f"lstmbench: made by {manifest.lstmbench}, this is {__version__}: tables can only be "
            "made again by that version",
        )
        return
    entries = {name: Entry(s.content, s.record, s.place) for name, s in found.items()}
    generated.check(report, folder, manifest, entries)
