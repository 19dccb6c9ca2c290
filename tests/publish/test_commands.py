"""`publish`, `verify` and `report` on the command line: options, targets, formats, exit codes."""

from __future__ import annotations

import re
import stat
from pathlib import Path
from typing import Any

import pytest

from lstmbench.records.record import Epochs, Record

pytestmark = pytest.mark.usefixtures("no_plots")
MARKED = "before\n<!-- lstmbench:begin -->\nold\n<!-- lstmbench:end -->\nafter\n"


@pytest.fixture
def run(tmp_path: Path, pool: list[Record], runs: Any) -> Path:
    return Path(runs(tmp_path / "run", pool))


@pytest.fixture
def page(tmp_path: Path) -> Path:
    path = tmp_path / "PAGE.md"
    path.write_text(MARKED)
    return path


def test_publish_and_verify(call: Any, run: Path, tmp_path: Path) -> None:
    done = call("publish", run, "--to", tmp_path / "store")
    assert (done.returncode, done.stderr) == (0, "")
    assert "7 records" in done.stdout
    done = call("verify", tmp_path / "store")
    assert done.returncode == 0
    assert re.search(r"^verified: 7 records and \d+ files made from them$", done.stdout, re.M)


def test_without_an_option_results_is_the_store(call: Any, run: Path, tmp_path: Path) -> None:
    assert call("publish", run).returncode == 0
    assert (tmp_path / "results" / "store.json").exists()


def test_verify_names_each_mismatch(call: Any, run: Path, tmp_path: Path) -> None:
    call("publish", run, "--to", tmp_path / "store")
    table = tmp_path / "store" / "tables" / "all.csv"
    table.write_text(table.read_text().replace("numpy", "scipy"))
    done = call("verify", tmp_path / "store")
    assert done.returncode == 1
    assert "tables/all.csv: row 2, backend: scipy, the records give numpy" in done.stdout
    assert re.search(r"^not verified: \d+ mismatches$", done.stdout, re.M)


@pytest.mark.parametrize("what", ["missing", "empty", "file"])
@pytest.mark.parametrize("command", ["publish", "verify"])
def test_what_is_nothing_is_refused(
    call: Any, one_line: Any, tmp_path: Path, command: str, what: str
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("")
    reason = "is missing" if what == "missing" else "no run and no store"
    one_line(call(command, tmp_path / what), what, reason)
    assert not (tmp_path / "results").exists()


def test_a_run_without_a_record_is_told(call: Any, runs: Any, tmp_path: Path) -> None:
    done = call("publish", runs(tmp_path / "begun", []), "--to", tmp_path / "store")
    assert done.returncode == 1
    assert done.stderr.endswith("begun: no record yet\n")


def test_damage_is_named_and_the_rest_published(call: Any, run: Path, tmp_path: Path) -> None:
    (run / "records" / "bad.json").write_text("{")
    done = call("publish", run, "--to", tmp_path / "store", "--bundle", tmp_path / "b.zip")
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "bad.json is not a record" in done.stderr
    assert call("verify", tmp_path / "store").returncode == 0
    assert call("verify", tmp_path / "b.zip").returncode == 0


def test_what_is_dirty_is_refused(
    call: Any, one_line: Any, tmp_path: Path, make_true: Any, runs: Any
) -> None:
    run = runs(tmp_path / "run", [make_true(dirty=True)])
    for option in (("--to", tmp_path / "store"), ("--bundle", tmp_path / "b.zip")):
        one_line(call("publish", run, *option), "no clean commit", "--allow-dirty")
        assert not option[1].exists()
        assert call("publish", run, *option, "--allow-dirty").returncode == 0
    done = call("verify", tmp_path / "store")
    assert done.returncode == 0
    assert "note: not for publication: made by code that is no clean commit" in done.stdout


class TestInto:
    """The block of a Markdown file."""

    def test_takes_what_is_asked_for_only(self, call: Any, run: Path, page: Path) -> None:
        assert call("publish", run, "--into", page, "--only", "protocol=d2l").returncode == 0
        text = page.read_text()
        assert text.count("\n### ") == 2
        assert "heldout" not in text
        assert call("publish", run, "--into", page, "--only", "init=native").returncode == 0
        assert page.read_text().count("\n### ") == 1
        call("publish", run, "--into", page, "--only", "hidden_size=4", "--only", "backend=fast")
        assert "| numpy" not in page.read_text()

    @pytest.mark.parametrize(
        ("condition", "words"),
        [
            ("protocol", "expected FIELD=VALUE"),
            ("=d2l", "expected FIELD=VALUE"),
            ("colour=red", "trials have no 'colour'"),
            ("protocol=speedy", "no record is like that"),
        ],
    )
    def test_a_condition_that_cannot_be_met(
        self, call: Any, one_line: Any, run: Path, page: Path, condition: str, words: str
    ) -> None:
        one_line(call("publish", run, "--into", page, "--only", condition), "--only", words)
        assert page.read_text() == MARKED

    def test_the_best_rows(self, call: Any, run: Path, page: Path) -> None:
        assert call("publish", run, "--into", page, "--table", "best").returncode == 0
        rows = [line for line in page.read_text().splitlines() if line.startswith("| fast")]
        assert len(rows) == 1
        assert "| jit " in rows[0]

    def test_without_a_speed_that_is_said(
        self, call: Any, page: Path, tmp_path: Path, make_true: Any, runs: Any
    ) -> None:
        """An ok trial whose only epoch is the first one has none."""
        series = Epochs(seconds=[1.0], nats=[1.0], tokens=[20])
        run = runs(tmp_path / "run", [make_true(epochs=series)])
        store = tmp_path / "store"
        options = ("--to", store, "--into", page, "--table", "best")
        assert call("publish", run, *options).returncode == 0
        said = "\nNo trial has a speed.\n"
        assert said in page.read_text()
        assert said in (store / "README.md").read_text()

    def test_the_same_from_a_store_as_from_its_run(
        self, call: Any, run: Path, page: Path, tmp_path: Path
    ) -> None:
        """But for the order of tables, which in a store is by what was asked."""
        call("publish", run, "--into", page)
        first = page.read_text()
        call("publish", run, "--to", tmp_path / "store", "--into", page)
        assert table_rows(page.read_text()) == table_rows(first)
        assert page.read_text() != first
        again = page.stat().st_mtime_ns
        call("publish", tmp_path / "store", "--into", page)
        assert page.stat().st_mtime_ns == again

    def test_plots_are_linked_relative_to_the_file(
        self,
        call: Any,
        run: Path,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        from lstmbench.publish import plots as published_plots
        from lstmbench.report import plots

        monkeypatch.setattr(published_plots, "MAX_PLOTS", 40)
        monkeypatch.setattr(plots, "perplexity_svg", lambda _: "<svg/>")
        docs = tmp_path / "docs"
        docs.mkdir()
        (docs / "PAGE.md").write_text(MARKED)
        options = ("--into", docs / "PAGE.md", "--only", "init=native", "--plot", "perplexity")
        assert call("publish", run, "--to", tmp_path / "store", *options).returncode == 0
        (link,) = re.findall(r"^!\[.*\]\((.*)\)$", (docs / "PAGE.md").read_text(), re.M)
        assert link.startswith("../store/plots/d2l-")
        assert (docs / link).is_file()

    def test_a_run_s_own_plot_is_linked(self, call: Any, run: Path, page: Path) -> None:
        (run / "perplexity.svg").write_text("<svg/>")
        assert call("publish", run, "--into", page, "--plot", "perplexity").returncode == 0
        assert "](run/perplexity.svg)" in page.read_text()

    def test_no_plot_is_said(self, call: Any, one_line: Any, run: Path, page: Path) -> None:
        one_line(call("publish", run, "--into", page, "--plot", "perplexity"), "--plot", "no plot")
        assert page.read_text() == MARKED

    def test_a_page_without_markers_leaves_the_store_alone(
        self, call: Any, one_line: Any, run: Path, tmp_path: Path
    ) -> None:
        (tmp_path / "PAGE.md").write_text("nothing")
        options = ("--to", tmp_path / "store", "--into", tmp_path / "PAGE.md")
        one_line(call("publish", run, *options), "PAGE.md", "lstmbench:begin")
        assert not (tmp_path / "store").exists()

    @pytest.mark.parametrize("end", ["\n", "\r\n"])
    def test_the_rest_of_the_file_stays_as_it_is(
        self, call: Any, run: Path, page: Path, end: str
    ) -> None:
        before = f"a\r\nb\n{MARKED}c\r\nd".replace("\nold", f"{end}old").encode()
        page.write_bytes(before)
        assert call("publish", run, "--into", page).returncode == 0
        head, _, rest = page.read_bytes().partition(b"<!-- lstmbench:begin -->")
        block, _, tail = rest.partition(b"<!-- lstmbench:end -->")
        assert before.startswith(head)
        assert before.endswith(tail)
        assert block.count(b"\r\n") == (block.count(b"\n") if end == "\r\n" else 0)
        assert block.count(b"| numpy") > 1

    def test_markers_are_whole_lines(self, call: Any, one_line: Any, run: Path, page: Path) -> None:
        """A sentence about them means no block."""
        said = "Between `<!-- lstmbench:begin -->` and `<!-- lstmbench:end -->` stand tables.\n"
        page.write_text(said)
        one_line(call("publish", run, "--into", page), "PAGE.md has no lines")
        page.write_text(said + MARKED)
        assert call("publish", run, "--into", page).returncode == 0
        assert page.read_text().startswith(f"{said}before\n<!-- lstmbench:begin -->\n### ")

    def test_a_link_stays_a_link_and_a_mode_stays(
        self, call: Any, run: Path, page: Path, tmp_path: Path
    ) -> None:
        page.chmod(0o640)
        link = tmp_path / "link.md"
        link.symlink_to(page.name)
        assert call("publish", run, "--into", link).returncode == 0
        assert link.is_symlink()
        assert "| numpy" in page.read_text()
        assert stat.S_IMODE(page.stat().st_mode) == 0o640

    def test_a_page_that_cannot_be_written(
        self, call: Any, run: Path, page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from lstmbench.publish import block

        def full(*_: Any) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(block, "write_atomically", full)
        done = call("publish", run, "--to", tmp_path / "store", "--into", page)
        assert done.returncode == 2
        assert done.stderr == f"lstmbench: {page}: No space left on device\n"
        assert page.read_text() == MARKED


class TestSummary:
    """The page of a job."""

    def test_is_appended_to(self, call: Any, run: Path, tmp_path: Path) -> None:
        page = tmp_path / "summary.md"
        page.write_text("# Job\n")
        assert call("publish", run, "--summary", page, "--table", "best").returncode == 0
        text = page.read_text()
        assert text.startswith("# Job\n## lstmbench\n\n### d2l with ")
        assert "| fast " in text
        assert not (tmp_path / "results").exists()

    def test_what_is_too_long_is_cut_to_the_best(
        self, call: Any, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from lstmbench.publish import block

        page = tmp_path / "summary.md"
        call("publish", run, "--summary", page)
        full = page.read_text()
        page.unlink()
        monkeypatch.setattr(block, "MAX_SUMMARY", len(full) - 100)
        call("publish", run, "--summary", page)
        assert "| broken " in full
        assert "| broken " not in page.read_text()
        assert "| fast " in page.read_text()

    def test_a_page_that_cannot_be_written(
        self, call: Any, one_line: Any, run: Path, tmp_path: Path
    ) -> None:
        one_line(call("publish", run, "--summary", tmp_path / "no" / "page.md"), "--summary")


def table_rows(text: str) -> list[str]:
    return sorted(line for line in text.splitlines() if line.startswith("|"))
