"""What a record says of its own audit: that it was drawn as it claims, and found nothing."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator

from lstmbench.audit.comparison import most_allowed
from lstmbench.audit.draws import segments
from lstmbench.records.parse import Stored
from lstmbench.records.record import AuditPart, Record, Status

#: The first version of records that hold an audit.
FIRST_VERSION = 5
_NONCE = re.compile(r"[0-9a-f]{32}")


def faults(stored: Stored) -> Iterator[tuple[str, str]]:
    """Fields of the audit that contradict each other, or the draws that the nonce gives."""
    record = stored.record
    if stored.raw["schema_version"] >= FIRST_VERSION and record.status == Status.OK:
        for name in ("audit", "challenge", "activity"):
            if getattr(record, name) is None:
                yield name, "missing, though status is ok"
        if not record.epochs.host_seconds:
            yield "epochs.host_seconds", "missing, though status is ok"
    if record.audit is None:
        if record.reason == "audit" and record.parity is not None:
            yield "audit", "missing, though it failed the trial"
        return
    if not _NONCE.fullmatch(record.audit.nonce):
        yield "audit.nonce", f"{record.audit.nonce!r} is no nonce"
    beyond = False
    for index, part in enumerate(record.audit.parts):
        place = f"audit.parts.{index}"
        yield from ((f"{place}.{name}", what) for name, what in _part(record, part))
        wrong = [q for q, allowed in part.allowed.items() if not part.errors[q] <= allowed]
        beyond = beyond or bool(wrong)
        for quantity in wrong if record.reason != "audit" else ():
            yield f"{place}.errors.{quantity}", f"{part.errors[quantity]} is beyond what is allowed"
    if record.reason == "audit" and record.audit.parts and not beyond:
        yield "reason", "audit, though every error is within what is allowed"


def _part(record: Record, part: AuditPart) -> Iterator[tuple[str, str]]:
    done = len(record.epochs.seconds)
    if part.last > done:
        yield "last", f"{part.last}, of {done} epochs"
    if part.what == "segment" and record.audit is not None:
        drawn = segments(record.audit.nonce, record.trial.name, record.trial.protocol.epochs)
        if (part.first, part.last) not in [(segment.first, segment.last) for segment in drawn]:
            yield "first", f"the nonce draws no segment from {part.first} to {part.last}"
    most = most_allowed(record.trial.dtype, record.trial.protocol.dropout)
    for quantity, allowed in part.allowed.items():
        if quantity not in part.errors:
            yield f"allowed.{quantity}", "there is no such error"
        elif not 0 < allowed <= most:
            yield f"allowed.{quantity}", f"{allowed} may not be allowed"
    for quantity, error in part.errors.items():
        if math.isnan(error) or error < 0:
            yield f"errors.{quantity}", f"{error} is no relative error"
