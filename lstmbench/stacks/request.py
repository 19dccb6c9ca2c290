"""What ``--stack`` asks for, checked as far as that goes without making anything."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from lstmbench.errors import UserError
from lstmbench.machine.provenance import HOST
from lstmbench.machine.redact import scrub
from lstmbench.messages import storable

#: ``NAME=`` in front; comparisons of versions begin with other signs, or with two.
_NAMED = re.compile(r"(?P<label>[^=<>!~\[;@(,]*)=(?!=)(?P<value>.*)", re.DOTALL)
_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,63}", re.ASCII)
#: A requirement that can be its own label.
_OWN_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+*=<>!~,\[\]-]{0,63}", re.ASCII)
LISTS = (".txt", ".in", ".lock")
#: Bytes of a file of requirements.
MAX_BYTES = 2**20
#: Lines of such a file that are no requirement, and that its own text decides.
_OPTIONS = re.compile(
    r"(-i|-f|--index-url|--extra-index-url|--find-links|--no-index|--only-binary|--no-binary|"
    r"--prefer-binary|--pre|--trusted-host|--require-hashes)\b"
)
_HASHES = re.compile(r"\s--hash[= ].*$")

Form = Literal["requirement", "list", "python", "git", "folder"]


@dataclass(frozen=True)
class Request:
    """A stack with its label. ``text`` is what was asked for; ``path`` is what it names, if any.

    ``content`` is that of a file of requirements.
    """

    label: str
    form: Form
    text: str
    path: Path | None = None
    content: str = ""

    @property
    def recorded(self) -> str:
        """What a record may show of it: no path, no password."""
        return storable(scrub(self.text))


def parse(texts: Sequence[str]) -> list[Request]:
    """One for each. Raises :class:`UserError` for what cannot be meant, and for equal labels."""
    found: dict[str, Request] = {}
    for text in texts:
        request = _parse(text)
        if request.label in found:
            raise UserError(f"--stack {text!r}: another one is called {request.label!r}, too")
        found[request.label] = request
    return list(found.values())


def _parse(text: str) -> Request:
    named = _NAMED.fullmatch(text)
    label, value = (named["label"], named["value"].strip()) if named else ("", text.strip())
    if named and not _LABEL.fullmatch(label):
        raise UserError(
            f"--stack {text!r:.100}: {label!r:.70} is no label: up to 64 letters, digits, '.', "
            "'_', '-' and '+'"
        )
    form, path = _form(text, value)
    if not named:
        label = "".join(value.split())
        if form != "requirement" or not _OWN_LABEL.fullmatch(label):
            raise UserError(f"--stack {text!r:.100}: give it a label: --stack NAME={value:.100}")
    content = ""
    if form == "list" and path:
        content = _read(path)
        for number, requirement in _requirements(content, path):
            _check(requirement, f"--stack {label}: {path}, line {number}")
    elif form == "requirement":
        _check(value, f"--stack {text!r:.100}")
    return Request(label, form, value, path, content)


def _form(text: str, value: str) -> tuple[Form, Path | None]:
    if value.startswith("git+"):
        return "git", None
    try:
        path = Path(value).expanduser()
        is_folder, is_file = path.is_dir(), path.is_file()
    except (OSError, ValueError, RuntimeError):
        path, is_folder, is_file = Path(), False, False
    if value and is_folder:
        return "folder", path.absolute()
    if value and is_file:
        runs = path.suffix not in LISTS and os.access(path, os.X_OK)
        return "python" if runs else "list", path.absolute()
    if not value or os.sep in value.partition("@")[0] or value.endswith(LISTS):
        raise UserError(f"--stack {text!r:.200}: no such file or folder")
    return "requirement", None


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise UserError(f"--stack: {path} is larger than {MAX_BYTES // 2**20} MiB")
        return content.decode()
    except (OSError, UnicodeDecodeError) as error:
        what = getattr(error, "strerror", None) or error
        raise UserError(f"--stack: {path} cannot be read: {what}") from error


def _requirements(content: str, path: Path) -> Iterator[tuple[int, str]]:
    """The requirements of a file, with the lines on which they end."""
    begun = ""
    for number, line in enumerate(content.splitlines(), start=1):
        begun += re.sub(r"(^|\s)#.*$", "", line)
        if begun.endswith("\\"):
            begun = begun[:-1] + " "
            continue
        line, begun = begun.strip(), ""
        if not line or _OPTIONS.match(line):
            continue
        if line.startswith("-"):
            raise UserError(
                f"--stack: {path}, line {number}: {line.split()[0]!r:.40} leads to other files, "
                "which may change: write all requirements into one file"
            )
        yield number, _HASHES.sub("", line)


def _check(text: str, where: str) -> None:
    """Raise :class:`UserError` for what is no requirement, or not for a stack."""
    try:
        requirement = Requirement(text)
    except InvalidRequirement as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{where}: {text!r:.100} is no requirement: {reason}") from None
    if canonicalize_name(requirement.name) == HOST:
        raise UserError(
            f"{where}: {HOST} itself cannot be replaced: workers run the code of the {HOST} that "
            "is running; leave it out"
        )
    if requirement.url and not requirement.url.startswith(("http://", "https://", "git+")):
        raise UserError(f"{where}: {requirement.url!r:.100} may change: install from an address")
