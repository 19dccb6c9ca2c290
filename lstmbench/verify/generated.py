"""Every file of a published store that is generated from its records, and what else lies there."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from lstmbench.plugin.extensions import SUFFIX
from lstmbench.publish.gather import Entries
from lstmbench.publish.generate import GeneratedFiles, generate
from lstmbench.publish.manifest import FILES, FOLDERS, Manifest, installed
from lstmbench.publish.plots import Plot
from lstmbench.records import canonical
from lstmbench.records.files import MAX_FILE_BYTES, list_folder, read_regular
from lstmbench.records.store import MANIFEST, Run
from lstmbench.report.formats import RESERVED
from lstmbench.verify import markup
from lstmbench.verify.differences import differences
from lstmbench.verify.findings import Report
from lstmbench.verify.plots import LIBRARIES, may_be_drawn, unlike

#: Files beside a store's own that are named; the rest is counted.
MAX_NAMED = 5
#: Where a format of a plugin is written.
_FOREIGN = re.compile(rf"tables/all({SUFFIX.pattern})")


def check(report: Report, folder: Path, manifest: Manifest, entries: Entries) -> None:
    """The manifest against itself, then all that is generated."""
    actual = read_regular(folder / MANIFEST, MAX_FILE_BYTES)
    report.mismatches += differences(MANIFEST, actual, manifest.to_bytes())
    for path in _links(folder):
        report.wrong(path, "is a symbolic link: what it leads to is no part of the store")
    foreign = any(_is_foreign(path) for path in manifest.generated)
    _files(report, folder, manifest, generate(entries, draw=False, plugins=foreign))
    _others(report, folder)


def listed(
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


def _files(report: Report, folder: Path, manifest: Manifest, made: GeneratedFiles) -> None:
    """Every generated file, against what the records give."""
    report.mismatches += made.problems
    found = _found(report, folder)
    listed(report, "", manifest.generated, {p: canonical.digest(data) for p, data in found.items()})
    scripts = [path for path in made.files if path.endswith(".js")]
    for path in filter(markup.is_markup, sorted(found)):
        report.wrong(path, *markup.faults(path, found[path], scripts))
    expected = {p: data for p, data in made.files.items() if not _foreign(p, made, manifest)}
    for path in sorted(expected.keys() & found.keys()):
        report.files += 1
        report.mismatches += differences(path, found[path], expected[path])
    plots = {plot.path for plot in made.plots}
    for path in sorted((expected.keys() | plots) - manifest.generated.keys()):
        report.wrong(path, "missing: the records give such a file")
    for path in sorted(manifest.generated.keys() - expected.keys() - plots):
        if _is_foreign(path):
            report.unmade[path] = "in the format of a plugin that is not here"
        else:
            report.wrong(path, "the records give no such file")
    here = installed()
    for library in sorted(here.keys() - manifest.libraries.keys()):
        report.wrong(MANIFEST, f"libraries.{library}: missing")
    for library, version in manifest.libraries.items():
        if here.get(library) != version:
            report.note(f"made with {library} {version}, here is {here.get(library)}")
    _plots(report, manifest, made.plots, found)


def _plots(
    report: Report, manifest: Manifest, plots: Sequence[Plot], found: Mapping[str, bytes]
) -> None:
    """Drawn again, and last, because that takes a while.

    What looks alike is right, whichever version drew it; other versions may draw in other ways.
    """
    if not plots:
        return
    if report.mismatches:
        report.note("plots were not drawn again, because not all else is right")
        return
    different = unlike(plots, found)
    report.files += len(plots)
    if may_be_drawn(manifest.libraries, installed()):
        for path in different:
            report.wrong(path, "is not what the records give")
        return
    report.files -= len(different)
    made, here = (
        ", ".join(f"{name} {versions.get(name)}" for name in LIBRARIES)
        for versions in (manifest.libraries, installed())
    )
    for path in different:
        report.unmade[path] = f"drawn by {made}; here is {here}"


def _others(report: Report, folder: Path) -> None:
    """Name what stands in the store and is no part of it."""
    own = {MANIFEST, "records", *FILES, *FOLDERS}
    records = set(Run(folder).files())
    others = [path for path in list_folder(folder) if path.name not in own]
    others += [path for path in list_folder(folder / "records") if path not in records]
    names = [p.relative_to(folder).as_posix() + "/" * p.is_dir() for p in sorted(others)]
    if names:
        more = f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else ""
        report.note(f"not checked, no part of the store: {', '.join(names[:MAX_NAMED])}{more}")


def _foreign(path: str, made: GeneratedFiles, manifest: Manifest) -> bool:
    """Whether only a plugin that is installed here, but was not there, writes the file."""
    return path in made.by_plugins and path not in manifest.generated


def _is_foreign(path: str) -> bool:
    """Whether a plugin's format may be written there: the suffixes of the host's are its own."""
    found = _FOREIGN.fullmatch(path)
    return found is not None and found[1] not in RESERVED


def _links(folder: Path) -> list[str]:
    """Symbolic links where there should be files and folders."""
    own = [folder / name for name in (MANIFEST, "records", *FILES, *FOLDERS)]
    inside = [path for place in own if place.is_dir() for path in place.rglob("*")]
    return [p.relative_to(folder).as_posix() for p in [*own, *inside] if p.is_symlink()]


def _found(report: Report, folder: Path) -> dict[str, bytes]:
    """What is where generated files are."""
    paths: Iterable[Path] = (folder / name for name in FILES)
    for name in FOLDERS:
        paths = [*paths, *(folder / name).rglob("*")]
    found = {}
    for path in paths:
        name = path.relative_to(folder).as_posix()
        try:
            if path.is_file():
                found[name] = read_regular(path, MAX_FILE_BYTES)
        except OSError as error:
            report.wrong(name, error.strerror or str(error))
    return found
