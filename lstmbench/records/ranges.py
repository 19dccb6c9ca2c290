"""Ranges of the numbers in a record: what lies beyond is no measurement.

Both the reader and the published JSON Schema take them from here.
"""

from __future__ import annotations

from typing import Annotated, TypeVar

from pydantic import FailFast, Field, FiniteFloat

from lstmbench.protocol import MAX_COUNT, OVERRIDABLE

T = TypeVar("T")

#: Nothing lasts longer, in seconds.
MAX_SECONDS = 1e9
#: What a measured time may be: never nothing at all.
Seconds = Annotated[float, Field(ge=1e-9, le=MAX_SECONDS)]
#: A time that may round to nothing.
Duration = Annotated[float, Field(ge=0, le=MAX_SECONDS)]
#: How many there are of something that is there.
Count = Annotated[int, Field(ge=1, le=MAX_COUNT)]
#: How many there are of something that need not be there.
Number = Annotated[int, Field(ge=0, le=MAX_COUNT)]
#: A size in bytes.
Size = Annotated[int, Field(ge=0, le=MAX_COUNT)]
Joules = Annotated[float, Field(ge=0, le=MAX_COUNT)]
#: A sum of negative log-likelihoods.
Nats = FiniteFloat
Share = Annotated[float, Field(ge=0, le=1)]

#: A value for each epoch. Only the first one that is wrong is looked at.
Series = Annotated[list[T], Field(max_length=int(OVERRIDABLE["epochs"][1])), FailFast()]
