"""What verifying found."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

#: What no file can tell.
ANYHOW = (
    "that this was measured: times, machine, code, and which records were left out, are the word "
    "of those who made them"
)
#: What replaying can.
LOSSES = "losses and audits, which are their word, too: --replay trains again"


@dataclass
class Report:
    """``mismatches`` name file and field; ``notes`` say what the reader should know beside.

    ``unmade`` has a line for each file that cannot be made again here, by its path. ``unvouched``
    are claims that nothing here speaks for or against. ``unaudited`` counts ``ok`` records that
    hold no audit, by the schema version that they were written in. ``trained_again`` counts the
    records whose first losses the reference has computed too.
    """

    trained_again: int = 0
    records: int = 0
    files: int = 0
    mismatches: list[str] = field(default_factory=list)
    unmade: dict[str, str] = field(default_factory=dict)
    unvouched: dict[str, None] = field(default_factory=dict)
    unaudited: Counter[int] = field(default_factory=Counter)
    notes: dict[str, None] = field(default_factory=dict)

    def wrong(self, file: str, *lines: str) -> None:
        self.mismatches += [f"{file}: {line}" for line in lines]

    def note(self, line: str) -> None:
        self.notes[line] = None

    def unvouch(self, claim: str) -> None:
        self.unvouched[claim] = None
