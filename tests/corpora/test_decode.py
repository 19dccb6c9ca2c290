"""From the bytes of a user's file to its text."""

from __future__ import annotations

import codecs

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lstmbench.corpora.decode import decode
from lstmbench.errors import UserError

#: No zero characters, no halves of others.
TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))


@given(TEXTS.filter(lambda text: not text.startswith("\ufeff")))
def test_every_encoding_gives_the_same_text(text: str) -> None:
    assert decode(text.encode(), "x") == text
    assert decode(codecs.BOM_UTF8 + text.encode(), "x") == text
    assert decode(codecs.BOM_UTF16_LE + text.encode("utf-16-le"), "x") == text
    assert decode(codecs.BOM_UTF16_BE + text.encode("utf-16-be"), "x") == text


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"ab\ncd\xff", "no UTF-8: byte 0xff at 5 (line 2)"),
        (codecs.BOM_UTF8 + b"ab\xff", "no UTF-8: byte 0xff at 5 (line 1)"),
        (b"caf\xe9 au lait", "byte 0xe9 at 3"),
        ("漢".encode()[:2], "byte 0xe6 at 0"),
        (codecs.BOM_UTF16_LE + b"a\0b", "no UTF-16: byte 0x62 at 4"),
        (b"\x7fELF\x02\x01\x01\0\0", "binary, not a text: it has a zero character at 7"),
        (codecs.BOM_UTF16_LE + b"a\0\0\0", "binary, not a text: it has a zero character at 1"),
        (codecs.BOM_UTF32_LE + b"a\0\0\0", "binary"),
    ],
)
def test_what_is_no_text_is_said_with_its_byte(raw: bytes, words: str) -> None:
    with pytest.raises(UserError) as refused:
        decode(raw, "some.txt")
    assert words in str(refused.value)
    assert "some.txt" in str(refused.value)
