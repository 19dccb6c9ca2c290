"""The texts that come with the host, or that it knows where to find."""

from __future__ import annotations

from importlib import resources

from lstmbench.corpora.spec import CorpusSpec, SplitFile

TIME_MACHINE = CorpusSpec(
    name="time-machine",
    summary="H. G. Wells, The Time Machine (1895), as the d2l course ships it",
    filename="timemachine.txt",
    urls=(
        "http://d2l-data.s3-accelerate.amazonaws.com/timemachine.txt",
        "https://raw.githubusercontent.com/d2l-ai/d2l-zh/"
        "592fbef84a684e752393edbf267c07dbc53e082b/data/timemachine.txt",
    ),
    sha256="8424dbd9532ac81f7e5f0b6add90e6952baea29158309d7d1bf3884f4e12c516",
)


def _bundled_text() -> str:
    return resources.files("lstmbench").joinpath("data/bundled.txt").read_text("ascii")


BUNDLED = CorpusSpec(
    name="bundled",
    summary="an original story that comes with lstmbench: same alphabet, no network needed",
    make=_bundled_text,
)


def _markov_text() -> str:
    from lstmbench.corpora.markov import Source

    return Source().text()


def _markov_surprisal(text: str) -> list[float]:
    from lstmbench.corpora.markov import Source

    return Source().surprisal(text)


MARKOV = CorpusSpec(
    name="markov",
    summary="text from a known random source: the best possible perplexity is known",
    make=_markov_text,
    surprisal=_markov_surprisal,
)


def _zipf_text() -> str:
    from lstmbench.corpora.zipf import Source

    return Source().text()


def _zipf_surprisal(text: str) -> list[float]:
    from lstmbench.corpora.zipf import Source

    return Source().surprisal(text)


ZIPF = CorpusSpec(
    name="zipf",
    summary="10,000 words from a known random source, as many as the Penn Treebank has",
    make=_zipf_text,
    surprisal=_zipf_surprisal,
    tokens="word",
    normalise="none",
)
TINY_SHAKESPEARE = CorpusSpec(
    name="tiny-shakespeare",
    summary="40,000 lines of Shakespeare's plays, as char-rnn ships them",
    filename="tinyshakespeare.txt",
    urls=tuple(
        f"{place}/data/tinyshakespeare/input.txt"
        for place in (
            "https://raw.githubusercontent.com/karpathy/char-rnn/"
            "6f9487a6fe5b420b7ca9afb0d7c078e37c1d1b4e",
            "https://cdn.jsdelivr.net/gh/karpathy/char-rnn@6f9487a6fe5b420b7ca9afb0d7c078e37c1d1b4e",
        )
    ),
    sha256="86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
    normalise="none",
)


def _wikitext(split: str, filename: str, digest: str) -> SplitFile:
    commit = "77f55b912142e11fcfdf5b530231fb9c52f181e8"
    path = f"word_language_model/data/wikitext-2/{filename}"
    places = (
        f"https://raw.githubusercontent.com/pytorch/examples/{commit}/{path}",
        f"https://cdn.jsdelivr.net/gh/pytorch/examples@{commit}/{path}",
    )
    return SplitFile(split, filename, digest, places)


#: The digests are of the files in Mahoney's archives; of ``enwik8`` he publishes SHA-1 and MD5
#: himself, of the same bytes.
TEXT8 = CorpusSpec(
    name="text8",
    summary="100,000,000 letters and blanks of Wikipedia of 2006 (Mahoney 2006)",
    filename="text8",
    urls=("http://mattmahoney.net/dc/text8.zip", "https://data.deepai.org/text8.zip"),
    sha256="6e890197040d37d85beb962ae1f041ff1d9a9ca8d20c7d99c85027eebf51dca7",
    normalise="none",
)
ENWIK8 = CorpusSpec(
    name="enwik8",
    summary="the first 100,000,000 bytes of Wikipedia of 2006, with all markup (Mahoney 2006)",
    filename="enwik8",
    urls=("http://mattmahoney.net/dc/enwik8.zip", "https://data.deepai.org/enwik8.zip"),
    sha256="2b49720ec4d78c3c9fabaee6e4179a5e997302b3a70029f30f2d582218c024a8",
    tokens="byte",
    normalise="exact",
)
WIKITEXT_2 = CorpusSpec(
    name="wikitext-2",
    summary="articles of Wikipedia (Merity et al. 2016), as PyTorch's example ships them",
    # the names that git gives to the files in the repository of PyTorch's examples
    splits=(
        _wikitext("train", "train.txt", "git:2d84b35af79e411d73ea7cae83c73964c6ac83b4"),
        _wikitext("validation", "valid.txt", "git:eec944eb2d9e46061cd34a6913528797db6842fc"),
        _wikitext("test", "test.txt", "git:6f3fc88e4cd88456ea892971f9f12243e8428624"),
    ),
    tokens="word",
    normalise="exact",
)
PENN_TREEBANK = CorpusSpec(
    name="penn-treebank",
    summary="Wall Street Journal (Marcus et al. 1993; Mikolov et al. 2010): your own files only",
    source="it may not be redistributed; it is 'simple-examples/data' of Mikolov's RNNLM",
    # as torchtext's PennTreebank has them
    splits=(
        SplitFile("train", "ptb.train.txt", "md5:f26c4b92c5fdc7b3f8c7cdcb991d8420"),
        SplitFile("validation", "ptb.valid.txt", "md5:aa0affc06ff7c36e977d7cd49e3839bf"),
        SplitFile("test", "ptb.test.txt", "md5:8b80168b89c18661a38ef683c0dc3721"),
    ),
    tokens="word",
    normalise="none",
)
#: For trials that read no text.
NO_TEXT = CorpusSpec(
    name="none", summary="no text: for the recurrent layers alone", make=lambda: "ab"
)
SPECS = (
    *(TIME_MACHINE, BUNDLED, MARKOV, ZIPF),
    *(TINY_SHAKESPEARE, WIKITEXT_2, TEXT8, ENWIK8, PENN_TREEBANK),
)
DEFAULT = TIME_MACHINE
FALLBACK = BUNDLED
