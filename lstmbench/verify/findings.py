"""What verifying found."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Report:
    """``mismatches`` name file and field; ``notes`` say what could not be checked.

    ``trained_again`` counts the records whose first losses the reference has computed too.
    """

    train_again: bool = False
    trained_again: int = 0
    records: int = 0
    files: int = 0
    mismatches: list[str] = field(default_factory=list)
    notes: dict[str, None] = field(default_factory=dict)

    def wrong(self, file: str, *lines: str) -> None:
        self.mismatches += [f"{file}: {line}" for line in lines]

    def note(self, line: str) -> None:
        self.notes[line] = None
