"""Fixtures: the command line in a clean environment, plugins made on the spot, records."""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from lstmbench.records.record import Record

# one for each process of pytest: threads of several would only wait for each other
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


def share_processors() -> None:
    """Give each process of pytest-xdist its own processors.

    A run takes the first ones that it may use: without this, all runs would share the first.
    """
    number, count = (os.environ.get(f"PYTEST_XDIST_{name}") for name in ("WORKER", "WORKER_COUNT"))
    if number is None or count is None or not hasattr(os, "sched_setaffinity"):
        return
    usable = sorted(os.sched_getaffinity(0))
    own = usable[int(number.removeprefix("gw")) :: int(count)]
    if own:
        os.sched_setaffinity(0, own)


share_processors()

HERE = Path(__file__).parent
#: An epoch of milliseconds, many windows.
TINY = ("--epochs", "4", "--hidden-size", "8", "--batch-size", "4", "--steps", "5")
#: Where nothing listens.
CLOSED = "http://127.0.0.1:9"


@dataclass(frozen=True)
class Cli:
    """``python -m lstmbench`` in ``folder``, seeing nothing of the user's.

    Of the installed plugins only ``numpy`` is seen, and those that :meth:`plugin` adds.
    """

    folder: Path

    @property
    def site(self) -> Path:
        return self.folder / "site"

    @property
    def scratch(self) -> Path:
        return self.folder / "scratch"

    @property
    def store(self) -> Path:
        return self.folder / "runs"

    @property
    def cache(self) -> Path:
        darwin = sys.platform == "darwin"
        return self.folder / ("Library/Caches" if darwin else "cache") / "lstmbench"

    def prepare(self) -> Cli:
        for path in (self.site, self.scratch, self.cache):
            path.mkdir(parents=True)
        for entry in importlib.metadata.entry_points(group="lstmbench"):
            # the first distribution of a name on the path hides those behind it
            if entry.dist is not None and entry.dist.name != "lstmbench-numpy":
                self.distribution(entry.dist.name, "")
        return self

    def distribution(self, name: str, entry_points: str) -> Path:
        """Install a distribution that has metadata only; returns its ``.dist-info``."""
        info = self.site / f"{name.replace('-', '_')}-0.1.dist-info"
        info.mkdir(exist_ok=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 0.1\n")
        (info / "entry_points.txt").write_text(entry_points)
        return info

    def plugin(self, module: str, source: str) -> None:
        """Install a plugin of one module, registered under its own name."""
        (self.site / f"{module}.py").write_text(source)
        self.distribution(f"lstmbench-{module}", f"[lstmbench]\n{module} = {module}\n")

    def environment(self, **more: str) -> dict[str, str]:
        kept = {k: os.environ[k] for k in ("PATH", "LD_LIBRARY_PATH") if k in os.environ}
        return {
            **kept,
            "HOME": str(self.folder),
            "LANG": "C.UTF-8",
            "LSTMBENCH_LOCK_DIR": str(self.folder / "locks"),
            "MPLCONFIGDIR": os.environ["MPLCONFIGDIR"],
            "PYTHONPATH": os.pathsep.join([str(self.site), str(HERE)]),
            "TMPDIR": str(self.scratch),
            "XDG_CACHE_HOME": str(self.folder / "cache"),
            "http_proxy": CLOSED,
            "https_proxy": CLOSED,
            **more,
        }

    def start(self, *arguments: str | Path, **environment: str) -> subprocess.Popen[str]:
        """The command, running."""
        return subprocess.Popen(
            [sys.executable, "-m", "lstmbench", *map(str, arguments)],
            cwd=self.folder,
            env=self.environment(**environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def __call__(
        self, *arguments: str | Path, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """The command, ended."""
        with self.start(*arguments, **environment) as process:
            try:
                out, err = process.communicate(timeout=300)
            except BaseException:
                process.kill()
                raise
        return subprocess.CompletedProcess(arguments, process.returncode, out, err)

    def run(self, *arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
        """``lstmbench run`` at a tiny size on the bundled text; later arguments win."""
        return self(*self.tiny_run, *arguments, **environment)

    @property
    def tiny_run(self) -> tuple[str, ...]:
        """The beginning of a command line."""
        named = ("run", "--devices", "cpu", "--corpus", "bundled", "--threads", "1", *TINY)
        return (*named, "--store", str(self.store))

    def runs(self) -> list[Path]:
        return sorted(self.store.iterdir()) if self.store.exists() else []

    def all_records(self) -> list[dict[str, Any]]:
        """Records of the only run, repeat by repeat."""
        (folder,) = self.runs()
        found = [json.loads(path.read_text()) for path in (folder / "records").glob("*.json")]
        return sorted(found, key=lambda record: int(record["trial"]["repeat"]))

    def records(self) -> dict[str, dict[str, Any]]:
        """Records of the only run, by backend."""
        found = self.all_records()
        assert len({record["trial"]["backend"] for record in found}) == len(found)
        return {record["trial"]["backend"]: record for record in found}


@pytest.fixture(scope="session", autouse=True)
def _shared_font_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    os.environ["MPLCONFIGDIR"] = str(tmp_path_factory.mktemp("matplotlib"))


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    return Cli(tmp_path).prepare()


@pytest.fixture(scope="module")
def module_cli(tmp_path_factory: pytest.TempPathFactory) -> Cli:
    """For one run that many tests look at."""
    return Cli(tmp_path_factory.mktemp("cli")).prepare()


@pytest.fixture
def here(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cli]:
    """In this process too, of all plugins only ``numpy`` and those of ``cli`` are seen."""
    from lstmbench.plugin import manager

    before = set(sys.modules)
    monkeypatch.syspath_prepend(str(cli.site))
    manager.load.cache_clear()
    yield cli
    manager.load.cache_clear()
    for name in set(sys.modules) - before:
        origin = getattr(sys.modules[name], "__file__", None) or ""
        if origin.startswith(str(cli.site)):
            del sys.modules[name]


@pytest.fixture
def call(
    here: Cli, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., SimpleNamespace]:
    """``lstmbench`` in this process: faster than :class:`Cli`, for what starts no worker."""
    from lstmbench.cli import main
    from lstmbench.plugin import manager

    monkeypatch.chdir(here.folder)
    monkeypatch.delenv("LSTMBENCH_DATA_DIR", raising=False)
    for name, value in here.environment().items():
        monkeypatch.setenv(name, value)

    def run(*arguments: str | Path) -> SimpleNamespace:
        manager.load.cache_clear()
        monkeypatch.setattr(sys, "argv", ["lstmbench", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        return SimpleNamespace(returncode=ended.value.code or 0, stdout=out, stderr=err)

    return run


@pytest.fixture
def one_line() -> Callable[..., None]:
    """Assert that a command refused: exit code 2 and one line on stderr with all of ``words``."""

    def check(done: Any, *words: str) -> None:
        assert done.returncode == 2, done.stderr
        assert re.fullmatch(r"lstmbench: [^\n]+\n", done.stderr), done.stderr
        assert done.stdout == ""
        for word in words:
            assert word in done.stderr

    return check


@pytest.fixture(scope="session")
def golden() -> Callable[[Path, str], None]:
    """Assert that a file of the repository holds a text; with ``LSTMBENCH_REWRITE=1`` write it."""

    def check(path: Path, text: str) -> None:
        if os.environ.get("LSTMBENCH_REWRITE"):
            path.write_text(text, encoding="utf-8")
        assert path.read_text(encoding="utf-8") == text, "LSTMBENCH_REWRITE=1 writes what is new"

    return check


@pytest.fixture(scope="session")
def corpus_file() -> Path:
    """The Time Machine."""
    folder = os.environ.get("LSTMBENCH_DATA_DIR")
    if not folder:
        pytest.skip("LSTMBENCH_DATA_DIR names no folder with timemachine.txt")
    return Path(folder) / "timemachine.txt"


@pytest.fixture
def make_record() -> Callable[..., Record]:
    """:func:`lstmbench.testing.make_record`."""
    from lstmbench.testing.records import make_record

    return make_record


@pytest.fixture
def make_row(make_record: Callable[..., Record]) -> Callable[..., list[Record]]:
    """The records of one row: for each of ``seconds`` a process, of which all epochs take that.

    But for what clocks tell; ``changes`` are those of ``make_record``.
    """
    from lstmbench.records.record import Epochs

    count = 40

    def make(seconds: Iterable[float], backend: str = "numpy", **changes: Any) -> list[Record]:
        return [
            make_record(
                backend=backend,
                repeat=repeat,
                epochs=Epochs(
                    seconds=[s * (1 + 1e-9 * epoch) for epoch in range(count)],
                    nats=[9000.0] * count,
                    tokens=[8960] * count,
                ),
                **changes,
            )
            for repeat, s in enumerate(seconds)
        ]

    return make


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[..., Path]:
    """A run's folder that holds records."""
    from lstmbench.records.store import Run

    def make(*rows: Iterable[Record]) -> Path:
        run = Run.create(tmp_path / "made", "d2l")
        run.write_plan({})
        for record in (record for row in rows for record in row):
            run.write_record(record)
        return run.folder

    return make
