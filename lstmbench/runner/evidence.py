"""What a trial has shown of itself, kept where no worker sees what is kept and what is not."""

from __future__ import annotations

import hashlib
import io
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from lstmbench.audit.draws import Segment
from lstmbench.audit.messages import File

#: Bytes up to which parameters stay in memory; more go to a file that has no name.
MAX_BYTES_IN_MEMORY = 16 * 2**20


@dataclass(frozen=True)
class Snapshot:
    """Parameters as a worker has written them."""

    content: IO[bytes]
    sha256: str

    @classmethod
    def of(cls, content: bytes) -> Snapshot:
        file: IO[bytes] = io.BytesIO(content)
        if len(content) > MAX_BYTES_IN_MEMORY:
            file = tempfile.TemporaryFile(prefix="lstmbench-")  # noqa: SIM115 - closed when it goes
            file.write(content)
        return cls(file, hashlib.sha256(content).hexdigest())

    def written(self, path: Path) -> File:
        """The same under a name, for the auditor, once no worker is left."""
        self.content.seek(0)
        path.write_bytes(self.content.read())
        return File(str(path), self.sha256)


@dataclass
class Evidence:
    """What a trial has shown: its parameters after some epochs, and after the fastest challenge.

    ``showing`` are the seconds that it took to show parameters ``times_shown`` times.
    ``challenge`` has its number and the nats that it claims; ``ids`` are the text that it wrote
    after each prefix.
    """

    segments: tuple[Segment, ...]
    snapshots: dict[int, Snapshot] = field(default_factory=dict)
    showing: float = 0.0
    times_shown: int = 0
    challenge: tuple[int, float, Snapshot] | None = None
    ids: list[list[int]] = field(default_factory=list)
