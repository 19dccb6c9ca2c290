"""From the bytes of a file to its text."""

from __future__ import annotations

import codecs

from lstmbench.errors import UserError


def decode(raw: bytes, place: str) -> str:
    """UTF-8, with or without a byte order mark, or UTF-16 by its mark.

    Raises :class:`UserError` naming ``place`` and the byte where it is neither, or no text at all.
    """
    wide = raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    body = raw if wide else raw.removeprefix(codecs.BOM_UTF8)
    if not wide and b"\0" in body:
        raise _binary(place, raw.index(b"\0"))
    try:
        text = body.decode("utf-16" if wide else "utf-8")
    except UnicodeDecodeError as error:
        start = error.start + len(raw) - len(body)
        line = raw.count(b"\n", 0, start) + 1
        raise UserError(
            f"{place} is no {'UTF-16' if wide else 'UTF-8'}: byte 0x{raw[start]:02x} at "
            f"{start:,} (line {line:,}), {error.reason}: save it as UTF-8"
        ) from error
    if "\0" in text:
        raise _binary(place, text.index("\0"))
    return text


def _binary(place: str, where: int) -> UserError:
    return UserError(f"{place} is binary, not a text: it has a zero character at {where:,}")
