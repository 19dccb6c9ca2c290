"""Where a text is looked for, and what is refused."""

from __future__ import annotations

import contextlib
import hashlib
import socket
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from lstmbench.corpora import files
from lstmbench.corpora.corpus import BUNDLED, TIME_MACHINE, CorpusMissing, CorpusSpec, resolve
from lstmbench.corpora.files import DOWNLOAD_SECONDS
from lstmbench.corpora.normalise import letters
from lstmbench.corpora.vocabulary import Vocabulary
from lstmbench.errors import UserError

TEXT = b"The quick brown fox\njumps over the lazy dog.\n"
FOX = CorpusSpec(
    name="fox",
    summary="a fox",
    filename="fox.txt",
    urls=("http://127.0.0.1:9/fox.txt",),
    sha256=hashlib.sha256(TEXT).hexdigest(),
)


@pytest.fixture(autouse=True)
def _nowhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No data folder, an empty cache, no way out but to this machine, however busy that is."""
    monkeypatch.setattr(files, "DOWNLOAD_SECONDS", 120)
    monkeypatch.delenv("LSTMBENCH_DATA_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(files, "cache_folder", lambda: tmp_path / "cache")
    for scheme in ("http", "https"):
        monkeypatch.setenv(f"{scheme}_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture
def no_download(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise AssertionError("a download was tried")

    monkeypatch.setattr(files, "_download", fail)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Path]:
    """A folder that ``http://127.0.0.1:PORT`` serves; its name is the port."""
    folder = tmp_path / "served"
    folder.mkdir()

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    (folder / "port").write_text(str(server.server_port))
    yield folder
    server.shutdown()
    server.server_close()


def url(served: Path) -> str:
    return f"http://127.0.0.1:{(served / 'port').read_text()}/fox.txt"


def put(folder: Path, content: bytes = TEXT) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / "fox.txt"
    path.write_bytes(content)
    return path


def test_the_file_named_wins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_download: None
) -> None:
    named = put(tmp_path / "named")
    monkeypatch.setenv("LSTMBENCH_DATA_DIR", str(put(tmp_path / "data", b"wrong").parent))
    put(tmp_path / "cache", b"wrong")
    assert resolve(FOX, path=named).digest == FOX.sha256


def test_the_data_folder_comes_before_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_download: None
) -> None:
    monkeypatch.setenv("LSTMBENCH_DATA_DIR", str(put(tmp_path / "data").parent))
    put(tmp_path / "cache", b"wrong")
    assert resolve(FOX).digest == FOX.sha256


def test_a_data_folder_without_the_file_leaves_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_download: None
) -> None:
    (tmp_path / "data").mkdir()
    monkeypatch.setenv("LSTMBENCH_DATA_DIR", str(tmp_path / "data"))
    put(tmp_path / "cache")
    assert resolve(FOX).digest == FOX.sha256


@pytest.mark.parametrize("place", ["named", "data", "cache"])
def test_a_wrong_file_is_refused_wherever_it_is(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_download: None
) -> None:
    path = put(tmp_path / place, TEXT.replace(b"quick", b"quack"))
    if place == "data":
        monkeypatch.setenv("LSTMBENCH_DATA_DIR", str(path.parent))
        put(tmp_path / "cache")
    with pytest.raises(UserError, match=r"is not that of 'fox': its digest is") as refused:
        resolve(FOX, path=path if place == "named" else None)
    assert str(path) in str(refused.value)


def test_a_file_that_is_not_there_is_an_error(tmp_path: Path, no_download: None) -> None:
    put(tmp_path / "cache")
    with pytest.raises(UserError, match="No such file"):
        resolve(FOX, path=tmp_path / "none.txt")


def test_a_download_is_verified_and_kept(tmp_path: Path, served: Path) -> None:
    put(served)
    spec = CorpusSpec(**{**vars(FOX), "urls": (FOX.urls[0], url(served))})
    assert resolve(spec).digest == FOX.sha256
    (served / "fox.txt").unlink()
    assert (tmp_path / "cache" / "fox.txt").read_bytes() == TEXT
    assert resolve(spec).digest == FOX.sha256


def test_a_wrong_download_is_neither_used_nor_kept(tmp_path: Path, served: Path) -> None:
    put(served, b"something else")
    with pytest.raises(CorpusMissing, match=r"its digest is sha256:[0-9a-f]*, expected sha256:"):
        resolve(CorpusSpec(**{**vars(FOX), "urls": (url(served),)}))
    assert not (tmp_path / "cache" / "fox.txt").exists()


@pytest.fixture
def trickling() -> Iterator[str]:
    """The address of a server that sends the right file, a byte every half second."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with contextlib.suppress(OSError):
                connection, _ = server.accept()
                connection.recv(4096)
                connection.sendall(b"HTTP/1.0 200 OK\r\nContent-Length: %d\r\n\r\n" % len(TEXT))
                for place in range(len(TEXT)):
                    connection.sendall(TEXT[place : place + 1])
                    time.sleep(0.5)
                connection.close()

        threading.Thread(target=serve, daemon=True).start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}/fox.txt"


def test_a_server_that_goes_on_for_ever_is_given_up(
    monkeypatch: pytest.MonkeyPatch, trickling: str
) -> None:
    monkeypatch.setattr(files, "DOWNLOAD_SECONDS", 1.5)
    with pytest.raises(CorpusMissing, match=r"not served within 1\.5 s"):
        resolve(CorpusSpec(**{**vars(FOX), "urls": (trickling,)}))


def test_each_place_has_a_time_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = []

    def fetch(url: str, path: Path, digest: str, allowed: float) -> str | None:
        tried.append((url, allowed))
        return "slow" if url == "one" else None

    monkeypatch.setattr(files, "_fetch", fetch)
    monkeypatch.setattr(files, "DOWNLOAD_SECONDS", 10)
    (fox,) = files.wanted(CorpusSpec(**{**vars(FOX), "urls": ("one", "two", "three")})).values()
    assert files._download(fox, Path()) is None
    assert [place for place, _ in tried] == ["one", "two"]
    assert [allowed for _, allowed in tried] == pytest.approx([10 / 3] * 2)


def test_a_file_is_taken_out_of_its_archive(tmp_path: Path, served: Path) -> None:
    with zipfile.ZipFile(served / "fox.zip", "w") as archive:
        archive.writestr("fox.txt", TEXT)
        archive.writestr("other.txt", "nothing")
    there = url(served).replace("fox.txt", "fox.zip")
    assert resolve(CorpusSpec(**{**vars(FOX), "urls": (there,)})).digest == FOX.sha256
    assert (tmp_path / "cache" / "fox.txt").read_bytes() == TEXT


@pytest.mark.parametrize("content", [{}, {"fox.txt": b"wrong"}, None])
def test_a_wrong_archive_is_neither_used_nor_kept(
    tmp_path: Path, served: Path, content: dict[str, bytes] | None
) -> None:
    if content is None:
        (served / "fox.zip").write_bytes(b"<html>no such archive</html>")
    else:
        with zipfile.ZipFile(served / "fox.zip", "w") as archive:
            for name, data in content.items():
                archive.writestr(name, data)
    there = url(served).replace("fox.txt", "fox.zip")
    with pytest.raises(CorpusMissing, match=r"fox\.zip: .*get .*fox\.zip, unpack it and give"):
        resolve(CorpusSpec(**{**vars(FOX), "urls": (there,)}))
    assert not list((tmp_path / "cache").iterdir())


def test_where_a_text_is_can_be_asked(tmp_path: Path, no_download: None) -> None:
    assert files.whereabouts(BUNDLED) == "made when it is needed"
    assert files.whereabouts(FOX) == "downloaded when it is needed"
    own = CorpusSpec(**{**vars(FOX), "urls": ()})
    assert files.whereabouts(own) == "your own files"
    place = str(put(tmp_path / "cache"))
    assert files.whereabouts(FOX) == files.whereabouts(own) == place
    assert f"text fox in {place}: " in resolve(FOX).description


def test_all_downloads_together_get_ten_seconds() -> None:
    assert DOWNLOAD_SECONDS <= 10


def test_what_is_missing_says_where_to_put_it(tmp_path: Path) -> None:
    with pytest.raises(CorpusMissing) as missing:
        resolve(FOX)
    for word in ("LSTMBENCH_DATA_DIR", "fox.txt", FOX.urls[0], str(tmp_path)):
        assert word in str(missing.value)


def test_ids_are_the_normalised_text(tmp_path: Path) -> None:
    found = resolve(FOX, path=put(tmp_path))
    assert found.vocabulary.decode(found.ids.tolist()) == letters(TEXT.decode())


def test_the_time_machine_is_pinned(corpus_file: Path) -> None:
    found = resolve(TIME_MACHINE, path=corpus_file)
    assert found.digest == hashlib.sha256(corpus_file.read_bytes()).hexdigest()
    assert (len(found.ids), len(found.vocabulary)) == (170_580, 28)


def test_the_bundled_text_has_the_same_shapes() -> None:
    found = resolve(BUNDLED)
    text = found.vocabulary.decode(found.ids.tolist())
    assert sum(letter != " " for letter in text) >= 12_000
    assert len(found.vocabulary) == 28
    assert set(text) == set(" abcdefghijklmnopqrstuvwxyz")
    assert len(Vocabulary(text[:10_000])) == 28


def test_the_bundled_text_is_prose() -> None:
    found = resolve(BUNDLED)
    text = found.vocabulary.decode(found.ids.tolist())
    words = text.split()
    assert len(set(words)) > 500
    assert 3.5 < len(text.replace(" ", "")) / len(words) < 6.5
    assert "traveller" in text


def test_without_network_the_bundled_text_is_used_and_said(cli: Any) -> None:
    done = cli(
        *("run", "--backends", "numpy", "--devices", "cpu", "--epochs", "1"),
        *("--hidden-size", "8", "--store", cli.store),
    )
    assert done.returncode == 0, done.stderr
    said, why = [line for line in done.stderr.splitlines() if "bundled" in line]
    assert "17,419 tokens" in said
    assert "time-machine" in why
    record = cli.records()["numpy"]
    assert record["trial"]["corpus"] == "bundled"
    assert record["epochs"]["tokens"] == [8960]
    assert record["vocabulary_size"] == 28
    assert f"corpus bundled ({record['trial']['corpus_digest'][:8]})" in done.stdout


def test_named_but_not_available_is_an_error(cli: Any, one_line: Any) -> None:
    done = cli("run", "--backends", "numpy", "--corpus", "time-machine", "--store", cli.store)
    one_line(done, "LSTMBENCH_DATA_DIR", "timemachine.txt")
    assert not cli.runs()


def test_a_wrong_file_in_the_cache_stops_even_an_unnamed_corpus(cli: Any, one_line: Any) -> None:
    (cli.cache / "timemachine.txt").write_text("The Time Eater")
    done = cli("run", "--backends", "numpy", "--store", cli.store)
    one_line(done, "timemachine.txt is not that of 'time-machine'", "sha256:")
    assert not cli.runs()


def test_the_data_folder_serves_a_run(cli: Any, corpus_file: Path) -> None:
    tiny = ("--epochs", "1", "--hidden-size", "8", "--store", cli.store)
    named = ("run", "--backends", "numpy", "--devices", "cpu")
    done = cli(*named, *tiny, LSTMBENCH_DATA_DIR=str(corpus_file.parent))
    assert done.returncode == 0, done.stderr
    trial = cli.records()["numpy"]["trial"]
    assert (trial["corpus"], trial["corpus_digest"]) == ("time-machine", TIME_MACHINE.sha256)


def test_the_downloader_prints_no_traceback(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "lstmbench.corpora.download", str(tmp_path / "f"), "md5:0"]
    done = subprocess.run(
        [*command, "http://127.0.0.1:9/f"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_why_a_download_failed_is_said(
    tmp_path: Path, served: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = CorpusSpec(**{**vars(FOX), "urls": (url(served),)})
    with pytest.raises(
        CorpusMissing, match=r"cannot be downloaded \(http.*fox.txt: .*404.*\): get"
    ):
        resolve(spec)
    put(served)
    monkeypatch.setattr(files, "cache_folder", lambda: put(tmp_path / "mine"))  # no folder
    with pytest.raises(CorpusMissing) as missing:
        resolve(spec)
    assert "mine" in missing.value.reason


def test_without_a_home_there_is_no_cache(
    monkeypatch: pytest.MonkeyPatch, no_download: None
) -> None:
    monkeypatch.setattr(files, "cache_folder", lambda: None)
    with pytest.raises(CorpusMissing, match="there is no home folder to keep it in"):
        resolve(FOX)


def test_a_file_without_an_address_is_asked_for(no_download: None) -> None:
    with pytest.raises(UserError, match="nowhere to be downloaded from: give its path"):
        resolve(CorpusSpec(**{**vars(FOX), "urls": ()}))


def test_a_digest_may_be_in_capitals(tmp_path: Path) -> None:
    spec = CorpusSpec(**{**vars(FOX), "sha256": FOX.sha256.upper()})
    assert resolve(spec, path=put(tmp_path / "mine")).ids.size


@pytest.mark.parametrize("encoding", ["utf-16-le", "latin-1", "koi8-r"])
def test_what_is_no_utf_8_is_named(tmp_path: Path, encoding: str) -> None:
    content = ("é" if encoding == "latin-1" else "Дж 1").encode(encoding) + b"\n"
    digest = hashlib.sha256(content).hexdigest()
    spec = CorpusSpec(**{**vars(FOX), "sha256": digest})
    with pytest.raises(UserError, match=r"corpus 'fox' is (no UTF-8|binary)"):
        resolve(spec, path=put(tmp_path / "mine", content))
