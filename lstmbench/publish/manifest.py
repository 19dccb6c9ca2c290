"""``store.json``: what a published store holds, so that a reader can check every byte of it."""

from __future__ import annotations

import importlib.metadata
import json
import platform
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lstmbench import __version__
from lstmbench.errors import UserError
from lstmbench.records import canonical

#: Version of the layout of published stores.
FORMAT = 1
#: Where generated files may be; nothing else in the folder is ever replaced or removed.
FOLDERS = ("plots", "site", "tables")
FILES = ("README.md", "schema.json")
#: Libraries that the bytes of generated files depend on.
LIBRARIES = ("jinja2", "matplotlib", "numpy", "pydantic", "scipy", "tabulate")
_DIGEST = re.compile(r"[0-9a-f]{64}")
#: A line that git writes into a file whose two sides it cannot merge.
_CONFLICT = re.compile(rb"^<{7} ", re.MULTILINE)
#: A line of a manifest that lists a file.
_LISTED = re.compile(r'^ *"([A-Za-z0-9_./-]+)": "([0-9a-f]{64})",?\r?$', re.MULTILINE)


def is_generated(path: str) -> bool:
    """Whether ``path``, relative to a store, is where generated files are."""
    first, *rest = path.split("/")
    if not rest:
        return path in FILES
    return first in FOLDERS and all(
        part not in ("", ".", "..") and "\\" not in part for part in rest
    )


@dataclass(frozen=True)
class Manifest:
    """``records`` and ``generated`` files with their SHA-256, by version ``lstmbench``."""

    records: Mapping[str, str]
    generated: Mapping[str, str]
    libraries: Mapping[str, str]
    lstmbench: str = __version__
    format: int = field(default=FORMAT)

    def to_bytes(self) -> bytes:
        """The file, with a digest of itself."""
        holds: dict[str, Any] = {
            "format": self.format,
            "lstmbench": self.lstmbench,
            "libraries": dict(sorted(self.libraries.items())),
            "records": dict(sorted(self.records.items())),
            "made": dict(sorted(self.generated.items())),
        }
        holds["sha256"] = canonical.digest(json.dumps(holds, sort_keys=True).encode())
        return (json.dumps(holds, indent=1) + "\n").encode()

    @classmethod
    def parse(cls, place: str, content: bytes) -> Manifest:
        """The manifest in a file's bytes. Raises :class:`UserError` saying what is wrong."""
        if cls.conflicting(content):
            raise UserError(f"{place} holds a conflict: publish the store to itself")
        try:
            holds = json.loads(content)
        except (ValueError, RecursionError) as error:
            raise UserError(f"{place} is damaged: {error}") from error
        return cls._of(place, holds)

    @staticmethod
    def conflicting(content: bytes) -> bool:
        """Whether git could not merge two manifests."""
        return _CONFLICT.search(content) is not None

    @classmethod
    def of_both_sides(cls, place: str, content: bytes) -> Manifest:
        """All files that either side of a conflict lists. Raises as :meth:`parse` does."""
        text = content.decode(errors="replace")
        listed = dict(_LISTED.findall(text))
        listed.pop("sha256", None)  # of the manifest itself
        records = {name: sha for name, sha in listed.items() if canonical.FILE.fullmatch(name)}
        generated = {path: sha for path, sha in listed.items() if path not in records}
        formats = [int(number) for number in re.findall(r'^ "format": ([0-9]{1,9}),', text, re.M)]
        other = next((number for number in formats if number != FORMAT), FORMAT)
        holds = {"format": other, "lstmbench": "of one side", "libraries": {}}
        return cls._of(place, {**holds, "records": records, "made": generated})

    @classmethod
    def _of(cls, place: str, holds: Any) -> Manifest:
        if not isinstance(holds, dict) or type(holds.get("format")) is not int:
            raise UserError(f"{place} is damaged: it names no format")
        if holds["format"] != FORMAT:
            raise UserError(
                f"{place}: format {holds['format']} of published stores by lstmbench "
                f"{holds.get('lstmbench')}, this one knows {FORMAT}: use that one, or a newer one"
            )
        tables = [holds.get(key) for key in ("libraries", "records", "made")]
        if not isinstance(holds.get("lstmbench"), str) or not all(map(_strings, tables)):
            raise UserError(f"{place} is damaged: a part of it is missing")
        records, generated = holds["records"], holds["made"]
        odd = [name for name in records if not canonical.FILE.fullmatch(name)]
        odd += [path for path in generated if not is_generated(path)]
        odd += [name for name, sha in (records | generated).items() if not _DIGEST.fullmatch(sha)]
        if odd:
            raise UserError(f"{place} is damaged: it lists {odd[0]!r}")
        return cls(records, generated, holds["libraries"], holds["lstmbench"])


def _strings(table: Any) -> bool:
    return isinstance(table, dict) and all(isinstance(value, str) for value in table.values())


def installed() -> dict[str, str]:
    """Versions of :data:`LIBRARIES`, and of Python, here."""
    found = {name: importlib.metadata.version(name) for name in LIBRARIES}
    return found | {"python": platform.python_version()}
