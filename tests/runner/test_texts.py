"""From what the user typed to a text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lstmbench.corpora import corpus
from lstmbench.corpora.spec import CorpusSpec
from lstmbench.errors import UserError
from lstmbench.plugin.manager import Host
from lstmbench.preparation import Preparation
from lstmbench.protocol import D2L, QUICK, SPEED
from lstmbench.runner import texts
from lstmbench.runner.text_options import TextOptions

FOX = b"The quick brown fox\njumps over the lazy dog.\n"


def host(*specs: CorpusSpec) -> Any:
    found = Host([])
    found._collected["lstmbench_corpora"] = {spec.name: spec for spec in specs}
    return found


def choose(path: Path, *specs: CorpusSpec, **options: Any) -> corpus.Corpus:
    found, note = texts.choose_corpus(host(*specs), TextOptions(corpus=str(path), **options))
    assert note is None
    return found


@pytest.fixture
def fox(tmp_path: Path) -> Path:
    path = tmp_path / "fox.txt"
    path.write_bytes(FOX)
    return path


def test_a_path_is_a_text_of_one_s_own(fox: Path) -> None:
    found = choose(fox)
    assert (found.name, found.own) == ("fox.txt", True)
    assert found.preparation == Preparation(normalise="none")
    assert found.vocabulary.decode(found.ids.tolist()) == FOX.decode()


def test_each_choice_is_taken(fox: Path) -> None:
    found = choose(fox, tokens="word", normalise="letters", vocabulary_size=5, min_count=2)
    assert found.preparation == Preparation("word", "letters", 5, 2)
    assert found.vocabulary.symbols == ["<unk>", "the", "<eos>"]


def test_the_file_of_a_named_text_is_that_text(fox: Path, tmp_path: Path) -> None:
    import hashlib

    sha256 = hashlib.sha256(FOX).hexdigest()
    spec = CorpusSpec("fox", "", filename="somewhere.txt", sha256=sha256)
    found = choose(fox, spec)
    assert (found.name, found.own) == ("fox", False)
    assert found.preparation == Preparation()
    assert choose(fox, spec, normalise="none").preparation == Preparation(normalise="none")


def test_a_name_comes_before_a_file_of_that_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").write_text("text of a file")
    spec = CorpusSpec("mine", "", make=lambda: "text of a plugin")
    assert not choose(Path("mine"), spec).own
    with pytest.raises(UserError, match="'mine' comes with lstmbench or a plugin: rename yours"):
        choose(tmp_path / "mine", spec)


@pytest.mark.parametrize("name", ["a b,c:d.txt", "我的文本.txt", "\x1b]0;x\x07.txt", "x" * 200])
def test_any_file_name_can_be_recorded(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(FOX)
    found = choose(path)
    assert len(found.name) <= texts.MAX_NAME
    assert "\x1b" not in found.name


@pytest.mark.parametrize("name", ["", "x/" * 3000, "\0", "no/such/file", "mine.txt", "mine"])
def test_what_is_neither_name_nor_path_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train.txt").write_bytes(FOX)
    with pytest.raises(UserError, match="corpus"):
        texts.choose_corpus(host(), TextOptions(corpus=name))


def test_a_model_that_memory_does_not_hold_says_how_much_it_takes() -> None:
    texts.check_memory(D2L, 10_000, 2**30)
    with pytest.raises(UserError) as refused:
        texts.check_memory(D2L, 1_000_000, 2**30)
    assert "1,000,000 symbols with --hidden-size 256" in str(refused.value)
    each = 4 * 256 + 256 + 1
    weights = 1_000_000 * each * 4 / 2**30
    taken = f"{each:,} weights of 4 bytes for each symbol take {weights:.2f} GiB"
    assert taken in str(refused.value)
    assert "of 1.00 GiB: lower --vocabulary-size" in str(refused.value)
    assert "--embedding-size" in str(refused.value)
    texts.check_memory(D2L.override({"embedding_size": 8, "hidden_size": 8}), 1_000_000, 2**30)


def test_a_protocol_s_prompts_are_for_texts_as_the_course_prepares_them(fox: Path) -> None:
    bundled = corpus.resolve(corpus.BUNDLED)
    assert texts.choose_prompts(QUICK, bundled, (), True) == QUICK
    assert texts.choose_prompts(QUICK, choose(fox), (), True).prefixes == ("The quick brown",)
    letters = choose(fox, normalise="letters")
    assert texts.choose_prompts(QUICK, letters, (), True).prefixes[0] == "the quick brown"


def test_prompts_that_are_given_win_and_none_may_be_wanted(fox: Path) -> None:
    found = choose(fox)
    assert texts.choose_prompts(SPEED, found, (), True).prefixes == ()
    assert texts.choose_prompts(SPEED, found, ("The fox",), True).prefixes == ("The fox",)
    assert texts.choose_prompts(QUICK, found, (), False).prefixes == ()
    with pytest.raises(UserError, match="--no-samples"):
        texts.choose_prompts(QUICK, found, ("The fox",), False)
