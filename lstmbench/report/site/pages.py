"""Templates, scripts and static files put together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Any
from urllib.parse import quote

import jinja2

from lstmbench.analysis.tables import Row, tables_from
from lstmbench.records.record import Record, Status
from lstmbench.report.site import machines, trial
from lstmbench.report.site.names import slug
from lstmbench.report.site.pairs import pairs
from lstmbench.report.site.scaling import scaling
from lstmbench.report.site.scripts import deliver
from lstmbench.report.site.table import index, ordered

RECORDS = "../records"
#: Pages whose content their scripts draw from data.
DRAWN = ("index", "scaling", "compare")


def site(records: Mapping[str, Record], relative_to: str | None) -> dict[str, str | bytes]:
    """See :func:`lstmbench.report.site.build`."""
    # repeats in their order, whatever their names sort like
    stems = sorted(records, key=lambda stem: (records[stem].trial.repeat, stem))
    tables = ordered(tables_from({stem: records[stem] for stem in stems}, relative_to))
    files: dict[str, str | bytes] = dict(_static())
    files["data/rows.js"] = deliver("rows", index(tables))
    files["data/scaling.js"] = deliver("scaling", scaling(tables))

    templates = _templates()
    found = list(records.values())
    summary = _summary(found, sum(len(table.rows) for table in tables))
    for name in DRAWN:
        files[f"{name}.html"] = templates.get_template(f"{name}.html").render(
            root="", page=name, summary=summary
        )
    files |= _machines(templates, found)
    # figures that the tables have worked out are not worked out again
    alone = {row.files[0]: row for t in tables for row in t.rows if len(row.records) == 1}
    ratios = pairs(tables)
    page = templates.get_template("trial.html")
    for stem in sorted(records):
        record, name = records[stem], slug(stem)
        page_data = trial.page_data(
            alone.get(stem) or Row((record,), (stem,)),
            name,
            raw=f"../{RECORDS}/{quote(stem, safe='')}.json",
            machine=f"../machines/{slug(record.machine.digest)}.html",
        )
        files[f"trials/{name}.html"] = page.render(root="../", page="trial", **page_data)
        facts = trial.script_data(record, page_data) | {"ratios": ratios.get(name, {})}
        files[f"trials/{name}.js"] = deliver(f"trials/{name}", facts)
    return files


def _without_nul(value: Any) -> Any:
    """No page may hold that character: browsers differ in what they make of it."""
    return value.replace("\x00", "\ufffd") if isinstance(value, str) else value


def _templates() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.PackageLoader("lstmbench.report.site"),
        autoescape=True,
        finalize=_without_nul,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


def _summary(records: Sequence[Record], rows: int) -> dict[str, int]:
    statuses = Counter(record.status for record in records)
    return {
        "rows": rows,
        "trials": len(records),
        "failures": len(records) - statuses[Status.OK],
        "machines": len({record.machine.digest for record in records}),
    }


def _machines(templates: jinja2.Environment, records: Sequence[Record]) -> dict[str, str]:
    page_data = [machines.page_data(own) for own in machines.by_machine(records).values()]
    files = {
        "machines.html": templates.get_template("machines.html").render(
            root="", page="machines", machines=page_data
        )
    }
    page = templates.get_template("machine.html")
    for machine in page_data:
        files[f"machines/{machine['slug']}.html"] = page.render(
            root="../", page="machine", machine=machine
        )
    return files


def _static() -> Iterator[tuple[str, bytes]]:
    """Style sheet, scripts and the plotting library."""

    def walk(folder: Traversable, prefix: str) -> Iterator[tuple[str, bytes]]:
        for entry in sorted(folder.iterdir(), key=lambda e: e.name):
            path = f"{prefix}/{entry.name}"
            if entry.is_dir():
                yield from walk(entry, path)
            else:
                yield path, entry.read_bytes()

    return walk(resources.files("lstmbench.report.site") / "static", "static")
