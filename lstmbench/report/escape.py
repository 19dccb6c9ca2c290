"""Texts of others, written so that a format shows them as they are."""

from __future__ import annotations

import html
import re

#: What Markdown takes for more than text anywhere. An underscore within a word is none of it, nor
#: are brackets of other kinds, once ``[`` and ``]`` are escaped.
_MARKDOWN = re.compile(r"[\\`*\[\]|~]|(?<![^\W_])_|_(?![^\W_])")
#: What ends a heading, and is left out of it.
_CLOSING = re.compile(r"#(?=\s*$)")
#: What begins a list or a heading, or underlines one.
_OPENING = re.compile(r"^(?=[-+=#])|^([0-9]+)(?=[.)](\s|$))")
_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    **{c: "\\" + c for c in "&%$#_{}"},
}


def escape_markdown(text: str) -> str:
    """``text`` as GitHub shows it within a line: in a cell, a heading or a link."""
    escaped = _MARKDOWN.sub(r"\\\g<0>", html.escape(text, quote=False))
    return _CLOSING.sub(r"\\#", escaped)


def escape_markdown_line(text: str) -> str:
    """The same for a whole line, which begins no list and underlines no heading."""
    return _OPENING.sub(r"\1\\", escape_markdown(text))


def escape_latex(text: str) -> str:
    """``text`` as LaTeX shows it."""
    return "".join(_LATEX.get(c, c) for c in text)
