"""The code of plugins in records: a dirty one is named, and not published."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lstmbench.analysis.tables import tables_from
from lstmbench.errors import UserError
from lstmbench.publish.gather import unclean
from lstmbench.publish.merge import publish
from lstmbench.records.parse import parse
from lstmbench.records.record import PluginCode, Record
from lstmbench.report.notes import notes
from lstmbench.verify.known import ReferenceData
from lstmbench.verify.records import faults

CLEAN = PluginCode(
    distribution="lstmbench-mine", version="0.1", digest="0" * 64, commit=None, dirty=False
)


def made_with(record: Record, plugin: PluginCode, **changes: Any) -> Record:
    source = record.source.model_copy(update={"plugins": [plugin], **changes})
    return record.model_copy(update={"source": source})


@pytest.fixture
def dirty(make_true: Callable[..., Record]) -> Record:
    return made_with(make_true(), CLEAN.model_copy(update={"dirty": True}), dirty=True)


def test_a_plugin_without_a_checkout_is_fine(make_true: Callable[..., Record]) -> None:
    assert unclean(made_with(make_true(), CLEAN)) is None


def test_a_dirty_plugin_is_refused_by_name(
    dirty: Record, tmp_path: Path, runs: Any, no_plots: None
) -> None:
    folder = runs(tmp_path / "run", [dirty])
    with pytest.raises(UserError, match=r"made with lstmbench-mine 0\.1, which was changed"):
        publish([folder], tmp_path / "store")
    publish([folder], tmp_path / "store", allow_dirty=True)
    readme = (tmp_path / "store" / "README.md").read_text()
    assert "**Not for publication: 1 of the records are made with lstmbench" in readme


def test_in_the_checkout_of_the_host_no_plugin_is_blamed(make_true: Callable[..., Record]) -> None:
    record = make_true()
    plugin = CLEAN.model_copy(update={"dirty": True, "commit": record.source.commit})
    assert unclean(made_with(record, plugin)) == "made by code that is no clean commit"


def test_beneath_a_table_it_is_named(dirty: Record) -> None:
    (table,) = tables_from([dirty])
    assert any(line.startswith("Made with lstmbench-mine 0.1,") for line in notes(table))


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"digest": "zz"}, "source.plugins.0.digest"),
        ({"commit": "v1"}, "source.plugins.0.commit"),
        ({"dirty": True}, "source.dirty"),
    ],
)
def test_what_cannot_be_of_a_plugin_is_found(
    make_true: Callable[..., Record], known: ReferenceData, changes: dict[str, Any], field: str
) -> None:
    plain, changed = made_with(make_true(), CLEAN), CLEAN.model_copy(update=changes)
    lie = made_with(plain, changed)
    fields = [
        {
            where
            for where, _ in faults(
                parse("", json.dumps(r.model_dump(mode="json", by_alias=True)).encode()), known
            )
        }
        for r in (plain, lie)
    ]
    assert fields[1] - fields[0] == {field}


def test_tables_tell_commits_of_a_plugin_apart(make_true: Callable[..., Record]) -> None:
    """Its version may stay what it is from commit to commit."""
    commits = [c * 40 for c in "ab"]
    records = [
        made_with(make_true(run=f"run-{c[0]}"), CLEAN.model_copy(update={"commit": c}))
        for c in commits
    ]
    tables = tables_from(records)
    assert [table.own for table in tables] == [
        (f"lstmbench-mine 0.1 (commit {c[:8]})",) for c in commits
    ]
