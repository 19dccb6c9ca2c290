"""What a trial has shown of itself, kept where no worker sees what is kept and what is not."""

from __future__ import annotations

import hashlib
import io
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, NamedTuple

from lstmbench.audit.draws import Segment
from lstmbench.audit.messages import File

#: Bytes up to which parameters stay in memory; more go to a file that has no name.
MAX_BYTES_IN_MEMORY = 16 * 2**20


@dataclass(frozen=True)
class Snapshot:
    """Parameters as a worker has written them."""

    content: IO[bytes]

    @classmethod
    def of(cls, content: bytes) -> Snapshot:
        file: IO[bytes] = io.BytesIO(content)
        if len(content) > MAX_BYTES_IN_MEMORY:
            file = tempfile.TemporaryFile(prefix="lstmbench-")  # noqa: SIM115 - closed when it goes
            file.write(content)
        return cls(file)

    def written(self, path: Path) -> File:
        """The same under a name, for the auditor, once no worker is left."""
        self.content.seek(0)
        content = self.content.read()
        path.write_bytes(content)
        return File(str(path), hashlib.sha256(content).hexdigest())


class Fastest(NamedTuple):
    """The segment with the epoch of fewest ``seconds``, and what was shown at its ends."""

    seconds: float
    segment: Segment
    before: Snapshot
    after: Snapshot


@dataclass
class Evidence:
    """What a trial has shown: its parameters after some epochs, and after the fastest challenge.

    ``showing`` are the seconds that it took to show parameters ``times_shown`` times; ``latest`` is
    what was shown last, and after how many epochs.
    ``challenge`` has its number and the nats that it claims; ``ids`` are the text that it wrote
    after each prefix.
    """

    segments: tuple[Segment, ...]
    snapshots: dict[int, Snapshot] = field(default_factory=dict)
    latest: tuple[int, Snapshot] | None = None
    fastest: Fastest | None = None
    showing: float = 0.0
    times_shown: int = 0
    challenge: tuple[int, float, Snapshot] | None = None
    ids: list[list[int]] = field(default_factory=list)

    def shown(self, epoch: int, snapshot: Snapshot, seconds: Sequence[float]) -> None:
        """Note what was shown after ``epoch`` epochs, which took ``seconds`` each."""
        before, self.latest = self.latest, (epoch, snapshot)
        if before is None:
            return
        for segment in self.segments:
            if segment.last == epoch and segment.first - 1 == before[0]:
                least = min(seconds[before[0] : epoch])
                if self.fastest is None or least < self.fastest.seconds:
                    self.fastest = Fastest(least, segment, before[1], snapshot)

    def after(self, epoch: int) -> Snapshot | None:
        """What was shown after so many epochs, where it was kept."""
        if self.fastest and epoch == self.fastest.segment.first - 1:
            return self.fastest.before
        if self.fastest and epoch == self.fastest.segment.last:
            return self.fastest.after
        return self.snapshots.get(epoch)
