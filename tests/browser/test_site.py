"""The site in a real browser, opened from disk: what a reader does, and what must never happen."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from math import exp
from pathlib import Path
from typing import Any

import pytest

from lstmbench.records.parse import read_record
from lstmbench.records.record import Continuation, Epochs, Status
from lstmbench.report import site

pytestmark = [pytest.mark.browser, pytest.mark.slow]

RESULTS = Path(__file__).parents[2] / "results"
EVIL = "</script><b>bold</b> %{x} <img src=x onerror=alert(1)>"


def write(folder: Path, records: dict[str, Any]) -> Path:
    for path, content in site.build(records).items():
        place = folder / "site" / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder / "site"


def publish(folder: Path, files: list[Path]) -> Path:
    """The site of some record files, with the records where it expects them."""
    (folder / "records").mkdir()
    for file in files:
        shutil.copy(file, folder / "records")
    return write(folder, {file.stem: read_record(file) for file in files})


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site of this repository's own records."""
    files = sorted(RESULTS.rglob("records/*.json"))
    return publish(tmp_path_factory.mktemp("published"), files)


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same of the first valid trial of each row, whose figures then are the trial's own."""
    rows: dict[str, Path] = {}
    for file in sorted(RESULTS.rglob("records/*.json")):
        record = read_record(file)
        if record.status == Status.OK:
            rows.setdefault(record.trial.row_key(), file)
    return publish(tmp_path_factory.mktemp("alone"), list(rows.values()))


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    api = pytest.importorskip("playwright.sync_api")
    found = shutil.which("chromium")
    if found is None:
        pytest.skip("chromium is not installed")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield browser
        browser.close()


@dataclass
class Reader:
    """One reader's browser window, and everything that went wrong in it."""

    page: Any
    problems: list[str] = field(default_factory=list)

    def follow(self) -> Reader:
        def console(message: Any) -> None:
            if message.type in ("error", "warning"):
                self.problems.append(message.text)

        def request(made: Any) -> None:
            if not made.url.startswith(("file://", "data:")):
                self.problems.append(f"asked the network for {made.url}")

        self.page.on("console", console)
        self.page.on("request", request)
        self.page.on("requestfailed", lambda made: self.problems.append(f"no {made.url}"))
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))
        self.page.on("dialog", lambda dialog: self.problems.append(f"dialog {dialog.message}"))
        return self

    def open(self, place: Path, fragment: str = "") -> None:
        self.page.goto(place.as_uri() + fragment)
        # to leave while plots are loading would look like files that are missing
        self.page.wait_for_load_state("networkidle")

    def texts(self, selector: str) -> list[str]:
        return list(self.page.locator(selector).all_inner_texts())

    def column(self, heading: str) -> list[str]:
        """The cells in view under a heading."""
        head = [text.strip() for text in self.texts("#results thead tr > *")]
        return self.texts(f"#results tbody tr > :nth-child({head.index(heading) + 1})")

    def sort(self, heading: str) -> None:
        self.page.get_by_role("button", name=heading, exact=True).click()

    def until(self, expression: str) -> None:
        """Wait for it to hold; Playwright's own way needs what the pages' policy forbids."""
        for _ in range(300):
            if self.page.evaluate(expression):
                return
            self.page.wait_for_timeout(50)
        raise AssertionError(f"never true: {expression}")

    def wait_for_plot(self, within: str) -> None:
        self.page.wait_for_selector(f"{within} .main-svg .trace, {within} .main-svg .scatterlayer")


@pytest.fixture
def reader(chromium: Any) -> Iterator[Reader]:
    context = chromium.new_context(viewport={"width": 1440, "height": 900})
    found = Reader(context.new_page()).follow()
    yield found
    context.close()
    assert found.problems == []


def numbers(cells: list[str]) -> list[float]:
    return [float(cell.replace(",", "")) for cell in cells if cell]


def test_a_heading_sorts_both_ways_and_back(reader: Reader, published: Path) -> None:
    reader.open(published / "index.html")
    before = reader.column("tokens/s")
    state = "th[data-column='tokens_per_second']"
    for direction, reverse in (("descending", True), ("ascending", False)):
        reader.sort("tokens/s")
        found = numbers(reader.column("tokens/s"))
        assert len(found) > 5
        assert found == sorted(found, reverse=reverse)
        assert reader.page.get_attribute(state, "aria-sort") == direction
    reader.sort("tokens/s")
    assert reader.page.get_attribute(state, "aria-sort") == "none"
    assert reader.column("tokens/s") == before


def test_the_keyboard_sorts_too(reader: Reader, published: Path) -> None:
    reader.open(published / "index.html")
    reader.page.focus("th[data-column='perplexity'] button")
    reader.page.keyboard.press("Enter")
    reader.page.keyboard.press("Enter")  # the focus stays
    assert reader.page.get_attribute("th[data-column='perplexity']", "aria-sort") == "ascending"


def test_filters_narrow_the_table_and_can_be_shared(reader: Reader, published: Path) -> None:
    reader.open(published / "index.html")
    every = reader.page.inner_text("#count")
    rows = int(every.split()[0].replace(",", ""))
    names = reader.texts("#results tbody th a:first-child")
    backend, _, mode = max(names, key=len).partition(":")
    reader.page.select_option("[data-filter='backend']", label=backend)
    found = reader.texts("#results tbody th a:first-child")
    assert 0 < len(found) < rows
    assert all(name.startswith(f"{backend}:") for name in found)
    reader.page.fill("#words", mode.upper())
    narrowed = reader.column("trial")
    assert 0 < len(narrowed) <= len(found)
    assert all(f":{mode}" in name for name in narrowed)
    assert f"{len(narrowed)} of {rows:,} rows" in reader.page.inner_text("#count")

    address = reader.page.url
    reader.page.goto("about:blank")
    reader.page.goto(address)
    assert reader.column("trial") == narrowed

    reader.page.get_by_role("button", name="Clear filters").click()
    assert reader.page.inner_text("#count") == every
    reader.page.fill("#words", "no such thing")
    assert reader.texts("#results tbody tr") == ["No row matches. Clear a filter to see more."]


def test_curves_follow_the_rows_in_view_and_have_two_axes(reader: Reader, published: Path) -> None:
    reader.open(published / "index.html")
    reader.wait_for_plot("#curves")
    reader.page.select_option("[data-filter='backend']", label="torch")
    reader.until(
        "[...document.querySelectorAll('#curves [data-key] li')]"
        ".every((item) => item.textContent.startsWith('torch:'))"
    )
    ends = "document.querySelector('#curves [data-chart]').data[0].x.at(-1)"
    epochs = reader.page.evaluate(ends)
    reader.page.get_by_text("against seconds").click()
    reader.until(f"{ends} !== {epochs}")
    assert reader.page.evaluate(ends) % 1 != 0
    assert "seconds" in reader.page.text_content("#curves .xtitle")


def test_a_row_leads_to_its_trial_and_that_to_its_record(reader: Reader, alone: Path) -> None:
    reader.open(alone / "index.html")
    row = reader.page.locator("#results tbody tr").first
    name = row.locator("th a").inner_text()
    speed = row.locator("[data-column='tokens_per_second']").inner_text()
    row.locator("th a").click()
    reader.page.wait_for_url("**/trials/*.html")
    reader.wait_for_plot("#curves")
    reader.wait_for_plot("#rates")
    assert reader.page.inner_text("h1").startswith(name)
    assert speed in reader.page.inner_text(".figures")
    assert reader.page.inner_text("#command").startswith(f"lstmbench run --backends {name}")
    raw = reader.page.get_by_role("link", name="the raw record").evaluate("link => link.href")
    assert (alone.parent / "records" / raw.rpartition("/")[2]).is_file()


def test_two_rows_are_compared(reader: Reader, alone: Path) -> None:
    reader.open(alone / "index.html")
    compare = reader.page.locator("#compare")
    boxes = reader.page.locator("#results tbody input")
    speeds = numbers(reader.column("tokens/s")[:2])
    boxes.nth(0).check()
    assert compare.get_attribute("aria-disabled") == "true"
    boxes.nth(1).check()
    assert compare.get_attribute("aria-disabled") == "false"
    compare.click()
    reader.page.wait_for_url("**/compare.html#*")
    reader.wait_for_plot("#curves")
    ratio = float(reader.page.inner_text("#verdict strong").split()[0])
    assert ratio == pytest.approx(speeds[0] / speeds[1], rel=0.02)
    assert len(reader.texts("#curves [data-key] li")) == 2
    assert "backend (differs)" in reader.page.locator("#facts tr.differs th").all_text_contents()
    every = len(reader.texts("#facts tbody tr"))
    reader.page.check("#only")
    marked = reader.page.locator("#facts tbody tr:not(.title)")
    assert 0 < marked.count() < every
    assert marked.count() == reader.page.locator("#facts tr.differs").count()


def test_repeated_trials_are_compared_with_an_interval(reader: Reader, published: Path) -> None:
    reader.open(published / "index.html", "#protocol=speed&changed=epochs+30")
    boxes = reader.page.locator("#results tbody input")
    boxes.nth(0).check()
    boxes.nth(1).check()
    reader.page.locator("#compare").click()
    reader.page.wait_for_url("**/compare.html#*")
    reader.page.wait_for_selector("#verdict strong")
    assert re.fullmatch(
        r"\d\.\d+ \(\d\.\d+ to \d\.\d+\) .", reader.page.inner_text("#verdict strong")
    )
    assert "95 % interval" in reader.page.inner_text("#verdict")


@pytest.mark.parametrize("name", ["missing", "../../elsewhere", "//example.org/x"])
def test_comparing_what_is_not_there_says_so(chromium: Any, published: Path, name: str) -> None:
    page = chromium.new_page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(f"{(published / 'compare.html').as_uri()}#a={name}&b={name}")
    page.wait_for_selector("#nothing:not([hidden])")
    assert "no such trial" in page.inner_text("#nothing").lower()
    assert all(url.startswith(published.as_uri()) for url in asked)
    page.close()


def test_the_theme_is_chosen_and_kept(reader: Reader, published: Path) -> None:
    background = "getComputedStyle(document.body).backgroundColor"
    reader.open(published / "index.html")
    light = reader.page.evaluate(background)
    reader.page.click("#theme")
    dark = reader.page.evaluate(background)
    assert dark != light
    assert reader.page.get_attribute("#theme", "aria-pressed") == "true"
    reader.page.get_by_role("link", name="Machines").click()
    reader.page.wait_for_url("**/machines.html")
    assert reader.page.evaluate(background) == dark


def test_nothing_sticks_out_on_a_phone(reader: Reader, published: Path) -> None:
    reader.page.set_viewport_size({"width": 390, "height": 844})
    pages = sorted(published.glob("*.html")) + sorted(published.glob("machines/*.html"))
    pages += sorted(published.glob("trials/*.html"))[:3]
    assert len(pages) > 7
    for place in pages:
        reader.open(place)
        over = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        assert reader.page.evaluate(over) == 0, place


def test_what_records_say_stays_text_in_the_plots_too(
    reader: Reader, make_record: Callable[..., Any], tmp_path: Path
) -> None:
    records = [
        make_record(
            backend=f"{EVIL}{i}",
            mode=EVIL,
            device=EVIL,
            message=EVIL,
            log_tail=EVIL,
            seed=i,
            continuations=[Continuation(prefix=EVIL, text=EVIL)],
        )
        for i in range(2)
    ]
    folder = write(tmp_path, {record.trial.name: record for record in records})
    slugs = [place.stem for place in sorted(folder.glob("trials/*.html"))]
    pages = {
        "index.html": "",
        f"trials/{slugs[0]}.html": "",
        "compare.html": f"#a={slugs[0]}&b={slugs[1]}",
    }
    for path, fragment in pages.items():
        reader.open(folder / path, fragment)
        reader.wait_for_plot("#curves")
        reader.page.evaluate(
            "Plotly.Fx.hover(document.querySelector('#curves [data-chart]'),"
            " [{curveNumber: 0, pointNumber: 1}])"
        )
        hover = reader.page.wait_for_selector("#curves .hovertext")
        said = hover.text_content()
        assert "<b>bold</b> %{x} <img" in said
        assert reader.page.locator("b, img, tspan[style*=bold]").count() == 0
        assert EVIL in reader.page.inner_text("main")


def test_ten_thousand_records_are_shown_within_two_seconds(
    reader: Reader, make_record: Callable[..., Any], tmp_path: Path
) -> None:
    epochs = Epochs(
        seconds=[0.1] * 40, nats=[8960 * (1 + exp(-i)) for i in range(40)], tokens=[8960] * 40
    )
    records = {}
    for number in range(10_000):
        record = make_record(
            backend=f"backend-{number % 10}",
            threads=1 + number // 10,
            epochs=epochs,
            **({"status": "failed", "reason": "nan"} if number % 50 == 0 else {}),
        )
        records[record.trial.name] = record
    folder = write(tmp_path, records)
    waits = []
    for _ in range(3):  # the best of three: other processes only ever slow things down
        reader.open(folder / "index.html")
        waits.append(
            reader.page.evaluate(
                "Math.max(...['first-contentful-paint', 'lstmbench-rows']"
                ".map((name) => performance.getEntriesByName(name)[0].startTime))"
            )
        )
    print(f"first paint of the table: {min(waits):.0f} ms")
    assert min(waits) < 2000
    assert reader.page.locator("#results tbody tr").count() == 50
    assert "10,000 rows" in reader.page.inner_text("#count")
    reader.page.get_by_role("button", name="Next").click()
    assert reader.page.inner_text("#place").startswith("51\u2013100 of 10,000")
