"""``lstmbench run --corpus PATH``: texts of any script, from the file to the record."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import lstmbench
from lstmbench.corpora.named import PENN_TREEBANK
from lstmbench.runner import texts

#: Each repeats, so that forty epochs are enough to write something readable.
TEXTS = {
    "english.txt": "It was the best of times, it was the worst of times;\n",
    "chinese.txt": "春眠不覺曉，處處聞啼鳥。夜來風雨聲，花落知多少。\n",  # noqa: RUF001
    "code.py": "def add_1(x: int) -> int:\n    return x + 1\n\n\n",
    "emoji.txt": "🎉🎊 party 👩‍👩‍👧 and ☀️🌧️🌈 weather\n",
}
SMALL = ("--hidden-size", "48", "--batch-size", "8", "--steps", "16", "--threads", "1")


def write(cli: Any, name: str, times: int = 400) -> Path:
    path: Path = cli.folder / name
    path.write_text(TEXTS[name] * times, encoding="utf-8")
    return path


def run(cli: Any, *arguments: str | Path) -> dict[str, Any]:
    named = ("run", "--backends", "numpy", "--devices", "cpu", "--protocol", "quick")
    done = cli(*named, "--store", cli.store, *arguments)
    assert done.returncode == 0, done.stderr
    record: dict[str, Any] = cli.records()["numpy"]
    return record | {"said": done.stderr, "table": done.stdout}


@pytest.mark.slow
@pytest.mark.parametrize("name", TEXTS)
def test_what_a_model_writes_is_readable_in_any_script(cli: Any, name: str) -> None:
    record = run(cli, "--corpus", write(cli, name), *SMALL)
    assert f"text {name}: " in record["said"]
    assert (
        f"corpus {name} ({record['trial']['corpus_digest'][:8]}) normalise none"
        in (record["table"])
    )
    assert record["continuations"]
    period = TEXTS[name]
    for written in record["continuations"]:
        # what follows is the text itself, for it repeats
        assert written["prefix"] + written["text"] in period * 20


def test_a_record_has_name_and_digest_and_how_the_text_was_prepared(cli: Any) -> None:
    path = write(cli, "english.txt")
    tiny = ("--epochs", "2", "--hidden-size", "8", "--batch-size", "4", "--steps", "5")
    words = ("--tokens", "word", "--vocabulary-size", "7", "--prompt", "the best of")
    record = run(cli, "--corpus", path, *tiny, *words)
    assert record["trial"]["corpus"] == "english.txt"
    assert record["trial"]["preparation"] == {
        "tokens": "word",
        "normalise": "none",
        "vocabulary_size": 7,
        "min_count": 1,
    }
    assert record["vocabulary_size"] == 7
    (written,) = record["continuations"]
    assert written["prefix"] == "the best of"
    assert written["text"].startswith(" ")
    assert len(written["text"].split()) == 50
    assert str(path.parent) not in json.dumps(record["trial"] | record["source"])
    assert "'It was the best of times, <unk> was the <unk> of <unk> " in record["said"]
    verified = cli("verify", cli.store)
    assert verified.returncode == 0, verified.stdout


def test_without_samples_nothing_of_the_text_is_kept(cli: Any) -> None:
    tiny = ("--epochs", "2", "--hidden-size", "8", "--batch-size", "4", "--steps", "5")
    record = run(cli, "--corpus", write(cli, "english.txt"), "--no-samples", *tiny)
    assert record["continuations"] == []
    (folder,) = cli.runs()
    for path in folder.rglob("*"):
        if path.is_file():
            assert b"best of times" not in path.read_bytes(), path


def test_a_folder_is_trained_and_judged_on_its_own_splits(cli: Any) -> None:
    folder = cli.folder / "parts"
    folder.mkdir()
    for name, times in (("train", 40), ("valid", 8), ("test", 12)):
        (folder / f"{name}.txt").write_text(TEXTS["english.txt"] * times)
    size = ("--hidden-size", "8", "--batch-size", "4", "--steps", "5", "--epochs", "5")
    record = run(cli, "--corpus", folder, "--protocol", "heldout", *size)
    length = len(TEXTS["english.txt"])
    tokens = [n * length for n in (40, 8, 12)]
    train, validation, test = ((n - 6) // 4 // 5 * 20 for n in tokens)
    assert record["epochs"]["tokens"] == [train] * 5
    evaluated = [(e["split"], e["tokens"]) for e in record["evaluations"]]
    assert evaluated == [("validation", validation), ("test", test)]


def test_python_takes_a_path(here: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(here.folder)
    results = lstmbench.run(
        "numpy",
        devices="cpu",
        corpus=write(here, "chinese.txt"),
        protocol="quick",
        epochs=1,
        hidden_size=8,
        batch_size=4,
        steps=5,
        prompt=["春眠"],
        store=here.store,
    )
    (record,) = results.records
    assert (record.status, record.trial.corpus) == ("ok", "chinese.txt")
    assert [written.prefix for written in record.continuations] == ["春眠"]


@pytest.mark.parametrize(
    ("content", "options", "words"),
    [
        (b"", (), ("is empty",)),
        (b"aaaa", (), ("one symbol only",)),
        (b"\x7fELF\0\0", (), ("is binary",)),
        (b"short", (), ("5 tokens", "too few", "--batch-size")),
        (b"caf\xe9", (), ("no UTF-8", "byte 0xe9 at 3")),
        (b"some text", ("--prompt", "xyz"), ("too few",)),
        (b"some text " * 999, ("--prompt", "xyz"), ("--prompt 'xyz'", "no 'y', 'z'")),
        (
            b"some text " * 999,
            ("--hidden-size", "100000", "--batch-size", "1"),
            ("--yes",),
        ),
    ],
    ids=lambda value: str(value)[:30],
)
def test_what_cannot_be_trained_on_is_one_line_before_anything_is_written(
    call: Any, one_line: Any, here: Any, content: bytes, options: tuple[str, ...], words: Any
) -> None:
    path = here.folder / "mine.txt"
    path.write_bytes(content)
    done = call("run", "--backends", "numpy", "--store", here.store, "--corpus", path, *options)
    one_line(done, *words)
    assert not here.runs()


def test_a_vocabulary_that_memory_does_not_hold_is_one_line(
    call: Any, one_line: Any, here: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(texts, "memory", lambda: 2**18)
    path = here.folder / "mine.txt"
    path.write_text("some words that " * 999)
    named = ("run", "--backends", "numpy", "--store", here.store, "--corpus", path)
    one_line(call(*named), "12 symbols", "do not fit into memory", "GiB", "--vocabulary-size")
    assert not here.runs()


def test_the_files_of_a_named_text_are_taken_from_their_folder(
    call: Any, one_line: Any, here: Any
) -> None:
    folder = here.folder / "data"
    folder.mkdir()
    for part in PENN_TREEBANK.splits:
        (folder / part.filename).write_text("no such treebank\n")
    named = ("run", "--backends", "numpy", "--store", here.store, "--corpus")
    one_line(call(*named, folder), "ptb.train.txt is not that of 'penn-treebank'", "md5:f26c4b92")
    one_line(call(*named, "penn-treebank"), "redistributed", "md5:f26c4b92")
    assert not here.runs()


def test_a_folder_without_what_is_needed_is_one_line(call: Any, one_line: Any, here: Any) -> None:
    folder = here.folder / "parts"
    folder.mkdir()
    named = ("run", "--backends", "numpy", "--store", here.store, "--corpus", folder)
    one_line(call(*named), "has no train.txt")
    (folder / "train.txt").write_text(TEXTS["english.txt"] * 400)
    one_line(call(*named, "--protocol", "heldout"), "needs validation text", "valid.txt")
    assert not here.runs()
