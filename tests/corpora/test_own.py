"""A user's own file or folder, and texts of several files."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

import numpy as np
import pytest

from lstmbench.corpora import corpus, files, named, prompts
from lstmbench.corpora.corpus import Corpus, own_text
from lstmbench.corpora.spec import CorpusSpec, SplitFile
from lstmbench.errors import UserError
from lstmbench.preparation import Preparation
from lstmbench.protocol import D2L, HELDOUT

PLAIN = Preparation(normalise="none")
WORDS = Preparation("word", "none")
#: SHA-256 of the ids, and of the surprisal, that earlier versions made of these texts.
UNCHANGED = {
    "time-machine": ("fb6baf724650c638a7812623c04da9d6086613fe33b981b1c5be87f9169d3dc7", None),
    "bundled": ("1255357ab4e56407f67cb85de932ac83d85347c77c533c95efbdf9ea04f0b80b", None),
    "markov": (
        "d31fe441534e4296e4df0a09a832aeb77501c1b3f96d747e83813ba4b970fa0e",
        "dce20111c8c14e9c5bcde72f443b74d9b885ffc8168020d759d20484cede6b3d",
    ),
}


@pytest.fixture(autouse=True)
def _nowhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(files, "cache_folder", lambda: tmp_path / "cache")


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8", newline="")
    return path


def own(path: Path, preparation: Preparation = PLAIN) -> Corpus:
    return own_text(path, path.name, preparation)


@pytest.mark.parametrize("spec", [named.TIME_MACHINE, named.BUNDLED, named.MARKOV])
def test_the_first_texts_are_what_they_were(spec: CorpusSpec, corpus_file: Path) -> None:
    found = corpus.resolve(spec, path=corpus_file if spec.sha256 else None)
    surprisal = found.surprisal
    assert UNCHANGED[spec.name] == (
        hashlib.sha256(found.ids.tobytes()).hexdigest(),
        None if surprisal is None else hashlib.sha256(surprisal.tobytes()).hexdigest(),
    )
    assert found.preparation == Preparation()
    for protocol in (D2L, HELDOUT):
        assert found.splits(protocol) == protocol.splits(len(found.ids))


def test_tiny_shakespeare_is_what_char_rnn_ships(corpus_file: Path) -> None:
    path = corpus_file.with_name("tinyshakespeare.txt")
    if not path.exists():
        pytest.skip("LSTMBENCH_DATA_DIR has no tinyshakespeare.txt")
    found = corpus.resolve(named.TINY_SHAKESPEARE, path=path)
    assert (len(found.ids), len(found.vocabulary)) == (1_115_394, 66)
    assert found.vocabulary.decode(found.ids.tolist()) == path.read_text()


def test_a_file_is_all_that_it_was(tmp_path: Path) -> None:
    path = write(tmp_path / "mine.txt", "def f(x_1):\r\n\treturn 'é'  # 漢字 🎉\r\n")
    found = own(path)
    text = found.vocabulary.decode(found.ids.tolist())
    assert text == "def f(x_1):\n\treturn 'é'  # 漢字 🎉\n"
    assert found.digest == hashlib.sha256(path.read_bytes()).hexdigest()
    assert found.own
    assert found.description == (
        f"text mine.txt: {len(text)} tokens (characters), {len(set(text)) + 1} symbols, no <unk>; "
        f"it begins {text!r}"
    )


def test_control_characters_are_shown_and_not_executed(tmp_path: Path) -> None:
    found = own(write(tmp_path / "evil.txt", "\x1b]0;title\x07\u202eabc" * 3))
    assert "\x1b" not in found.description
    assert r"\x1b]0;title\x07\u202eabc" in found.description


def test_sixty_characters_are_shown_of_bytes_too(tmp_path: Path) -> None:
    found = own(write(tmp_path / "mine.txt", "春眠不覺曉🎉" * 30), Preparation("byte", "none"))
    assert found.description.endswith(f"it begins {'春眠不覺曉🎉' * 10!r}")


def test_what_a_limit_costs_is_said(tmp_path: Path) -> None:
    path = write(tmp_path / "mine.txt", "a a a b b c\nd\n")
    found = own(path, Preparation("word", "none", vocabulary_size=4))
    assert found.vocabulary.symbols == ["<unk>", "a", "b", "<eos>"]
    assert "9 tokens (words), 4 symbols, 22.22% <unk>" in found.description
    assert found.description.endswith("'a a a b b <unk> <eos> <unk> <eos>'")


def test_what_normalising_drops_is_said(tmp_path: Path) -> None:
    found = own(write(tmp_path / "mine.txt", "ab 漢字漢字漢字\n"), Preparation())
    assert "'letters' left 25% of its characters" in found.description


@pytest.mark.parametrize("end", ["", "\n"])
def test_the_last_line_ends_too(tmp_path: Path, end: str) -> None:
    found = own(write(tmp_path / "mine.txt", f"a b\nc{end}"), WORDS)
    assert found.vocabulary.decode(found.ids.tolist()) == "a b <eos> c <eos>"


def test_letters_keep_words_apart(tmp_path: Path) -> None:
    found = own(write(tmp_path / "mine.txt", "It's\nnine\n"), Preparation("word"))
    assert found.vocabulary.decode(found.ids.tolist()) == "it s <eos> nine <eos>"


def folder(path: Path, **texts: str) -> Path:
    for name, text in texts.items():
        write(path / f"{name}.txt", text)
    return path


def test_a_folder_has_its_own_splits(tmp_path: Path) -> None:
    found = own(folder(tmp_path / "f", train="abcab" * 9, valid="abx", test="cc"))
    assert found.parts == {
        "train": slice(0, 45),
        "validation": slice(45, 48),
        "test": slice(48, 50),
    }
    assert found.splits(HELDOUT) == found.parts
    assert found.splits(D2L) == {"train": slice(0, 45)}
    assert found.vocabulary.symbols == ["<unk>", "a", "b", "c"]  # those of the training text
    assert found.vocabulary.decode(found.ids[45:].tolist()) == "ab<unk>cc"
    assert "train 45 + validation 3 + test 2" in found.description


def test_a_long_training_text_is_cut_as_the_protocol_says(tmp_path: Path) -> None:
    found = own(folder(tmp_path / "f", train="ab" * 9000, valid="ab"))
    assert found.splits(D2L) == {"train": slice(0, 10_000)}


def test_the_digest_of_a_folder_is_that_of_every_file(tmp_path: Path) -> None:
    digests = {
        own(folder(tmp_path / name, **texts)).digest
        for name, texts in {
            "1": {"train": "abc"},
            "2": {"train": "abc", "valid": "d"},
            "3": {"train": "abc", "test": "d"},
            "4": {"train": "abx", "test": "d"},
        }.items()
    }
    assert len(digests) == 4
    assert all(len(digest) == 64 for digest in digests)


@pytest.mark.parametrize(("missing", "file"), [("valid", "valid.txt"), ("test", "test.txt")])
def test_a_protocol_that_needs_a_split_says_which(tmp_path: Path, missing: str, file: str) -> None:
    texts = {name: "abc" for name in ("train", "valid", "test") if name != missing}
    with pytest.raises(UserError, match=f"'heldout' needs .* text, .* add {file}"):
        own(folder(tmp_path / "f", **texts)).splits(HELDOUT)


@pytest.mark.parametrize(
    ("text", "preparation", "words"),
    [
        ("", PLAIN, "is empty"),
        (" \n\n", WORDS, "is empty"),
        ("aaaa", PLAIN, "has one symbol only, 'a'"),
        ("\n", PLAIN, "is empty"),
        ("漢字", Preparation(), "normalising by 'letters' leaves nothing"),
        ("abc", Preparation(normalise="lettres"), "'lettres': there are: letters, none"),
    ],
)
def test_what_cannot_be_learnt_is_refused(
    tmp_path: Path, text: str, preparation: Preparation, words: str
) -> None:
    with pytest.raises(UserError) as refused:
        own(write(tmp_path / "mine.txt", text), preparation)
    assert words in str(refused.value)


def test_files_that_have_no_end_are_not_read(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="/dev/zero: is no regular file"):
        own(Path("/dev/zero"))
    with pytest.raises(UserError, match=r"the folder has no train\.txt"):
        own(tmp_path)


def test_a_large_file_is_refused_before_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "MAX_BYTES", 10)
    with pytest.raises(UserError, match="11 bytes, 10 are the most"):
        own(write(tmp_path / "mine.txt", "hello world"))


def git_name(path: Path) -> str:
    done = subprocess.run(["git", "hash-object", path], capture_output=True, text=True, check=True)
    return f"git:{done.stdout.strip()}"


def several(place: Path) -> CorpusSpec:
    """A text of two files in ``place``; they may have any kind of digest."""
    train, test = write(place / "two/a.txt", "ab\nab\n"), write(place / "two/b.txt", "b c\n")
    md5 = hashlib.md5(test.read_bytes(), usedforsecurity=False).hexdigest()
    return CorpusSpec(
        "two",
        "",
        splits=(
            SplitFile("test", "b.txt", f"md5:{md5}"),
            SplitFile("train", "a.txt", git_name(train)),
        ),
        source="ask the author",
        tokens="word",
        normalise="none",
    )


def test_a_named_text_may_have_a_file_for_each_split(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = several(tmp_path)
    monkeypatch.setenv(files.DATA_DIR, str(tmp_path))
    found = corpus.resolve(spec)
    assert found.vocabulary.decode(found.ids.tolist()) == "ab <eos> ab <eos> <unk> <unk> <eos>"
    assert list(found.parts) == ["train", "test"]


def test_a_wrong_file_of_several_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = several(tmp_path)
    monkeypatch.setenv(files.DATA_DIR, str(tmp_path))
    write(tmp_path / "two/b.txt", "b d\n")
    with pytest.raises(UserError, match=r"two/b\.txt is not that of 'two': its digest is md5:"):
        corpus.resolve(spec)


def test_without_addresses_the_message_says_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = several(tmp_path)
    monkeypatch.setenv(files.DATA_DIR, str(tmp_path / "elsewhere"))
    for missing in (spec, CorpusSpec("one", "", filename="one.txt", sha256="0" * 64)):
        with pytest.raises(corpus.CorpusMissing) as refused:
            corpus.resolve(missing)
        assert files.DATA_DIR in str(refused.value)
        for file in files.wanted(missing).values():
            assert file.place in str(refused.value)
            assert file.digest[:14] in str(refused.value)


def test_a_folder_of_a_named_text_s_files_is_that_text(tmp_path: Path) -> None:
    spec = several(tmp_path)
    assert files.recognise(tmp_path / "two", [named.TIME_MACHINE, spec]) is spec
    assert files.recognise(tmp_path, [spec]) is None
    found = corpus.resolve(spec, path=tmp_path / "two")
    assert (list(found.parts), found.place) == (["train", "test"], str(tmp_path / "two"))
    write(tmp_path / "two/a.txt", "ab\nac\n")
    assert files.recognise(tmp_path / "two", [spec]) is spec  # so that the wrong file is named
    with pytest.raises(UserError, match=r"a\.txt is not that of 'two'"):
        corpus.resolve(spec, path=tmp_path / "two")
    write(tmp_path / "two/train.txt", "ab\n")
    assert files.recognise(tmp_path / "two", [spec]) is None  # it may be the user's own


def test_the_penn_treebank_is_never_downloaded() -> None:
    assert not any(part.urls for part in named.PENN_TREEBANK.splits)
    with pytest.raises(corpus.CorpusMissing, match="may not be redistributed") as missing:
        corpus.resolve(named.PENN_TREEBANK)
    for part in named.PENN_TREEBANK.splits:
        assert f"penn-treebank/{part.filename} ({part.digest})" in str(missing.value)


def test_all_downloads_have_two_places_and_a_fixed_version() -> None:
    for spec in named.SPECS:
        for file in files.wanted(spec).values() if spec.make is None else ():
            if spec is not named.PENN_TREEBANK:
                assert len(file.urls) == 2
                assert len({url.split("/")[2] for url in file.urls}) == 2
                assert not any("/master/" in url or "/main/" in url for url in file.urls)


def test_a_made_text_may_have_splits() -> None:
    spec = CorpusSpec("made", "", make=lambda: {"validation": "b", "train": "abc"})
    found = corpus.resolve(spec)
    assert found.parts == {"train": slice(0, 3), "validation": slice(3, 4)}


@pytest.mark.parametrize("made", [{"test": "a"}, {"train": "a", "valid": "b"}, {"train": 3}, 3])
def test_a_text_that_is_made_wrongly_is_named(made: object) -> None:
    spec = CorpusSpec("made", "", make=lambda: made)  # type: ignore[arg-type,return-value]
    with pytest.raises(UserError, match="corpus 'made' cannot be made"):
        corpus.resolve(spec)


def test_a_surprisal_for_other_tokens_is_refused() -> None:
    spec = CorpusSpec("made", "", make=lambda: "abc", surprisal=lambda text: [1.0])
    with pytest.raises(UserError, match="corpus 'made': surprisal gives 1 values for 3 tokens"):
        corpus.resolve(spec)


def test_a_plugin_s_own_normalisation_is_named_after_its_corpus() -> None:
    spec = CorpusSpec("loud", "", make=lambda: "abc", normalise=str.upper, tokens="byte")
    found = corpus.resolve(spec)
    assert found.preparation == Preparation("byte", "loud")
    assert found.vocabulary.decode(found.ids.tolist()) == "ABC"
    other = corpus.resolve(named.BUNDLED, Preparation(normalise="loud"), {"loud": spec})
    assert other.vocabulary.decode(other.ids[:8].tolist()) == "THE TIDE"


@pytest.mark.parametrize(
    ("text", "preparation", "expected"),
    [
        ("\n\n  The quick brown fox jumps\nand\nover it\n", PLAIN, ("The quick brown", "and")),
        ("春眠不覺曉\n處處聞啼鳥\n夜來風雨聲\n花落知多少\n", PLAIN, ("春眠不覺曉", "花落知多少")),
        ("one two three four five\n" * 4, WORDS, ("one two three four",)),
        ("a b\nc d\ne f\n", WORDS, ("a b", "e f")),
        ("aébé" * 3, Preparation("byte", "none"), ("aébéaébéaébé", "béaébé")),
        ("one two one three", PLAIN, ("one two one", "three")),
    ],
)
def test_prompts_are_beginnings_of_the_text_s_lines(
    tmp_path: Path, text: str, preparation: Preparation, expected: tuple[str, ...]
) -> None:
    found = own(write(tmp_path / "mine.txt", text), preparation)
    chosen = prompts.from_text(found, slice(0, len(found.ids)))
    assert chosen == expected
    for prompt in chosen:
        assert np.all(found.vocabulary.encode(prompt) > 0)


def test_no_prompt_has_an_unknown_symbol(tmp_path: Path) -> None:
    path = write(tmp_path / "mine.txt", "a x b b\nb b a\n" * 3 + "y\n")
    found = own(path, Preparation("word", "none", min_count=4))
    assert "x" not in found.vocabulary.symbols
    assert prompts.from_text(found, slice(0, len(found.ids))) == ("a",)


@pytest.mark.parametrize(
    ("prompt", "words"),
    [("abx!", "no 'x', '!'"), ("", "is empty"), ("a\udcff", "is no text")],
)
def test_prompts_of_other_symbols_are_refused(tmp_path: Path, prompt: str, words: str) -> None:
    found = own(write(tmp_path / "mine.txt", "ab\nab"))
    with pytest.raises(UserError, match="--prompt") as refused:
        prompts.given(found, [prompt])
    assert words in str(refused.value)


def test_a_prompt_is_normalised_as_the_text(tmp_path: Path) -> None:
    found = own(write(tmp_path / "mine.txt", "caf\xe9s\r\n"))
    assert prompts.given(found, ["cafe\u0301\r\n"]) == ("caf\xe9\n",)
