"""What a run may be asked for, by the command line and by Python alike, with the defaults."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from lstmbench.runner.text_options import TextOptions

#: Options that decide no trial, and so may change when a run goes on: limits, where the text is,
#: and variables whose values no plan keeps.
LIMITS = ("timeout", "prepare_timeout", "memory_limit", "corpus", "env")


@dataclass(frozen=True, kw_only=True)
class Options:
    """The options of ``lstmbench run``; names and numbers are not checked yet.

    Lists of names are one text with commas, as on the command line. Several values of a
    hyper-parameter, or of ``threads``, make a sweep; several seeds are trained for each row.
    """

    backends: str = "all"
    modes: str = "default"
    devices: str = "all"
    protocol: str = "d2l"
    epochs: Sequence[int] | None = None
    hidden_size: Sequence[int] | None = None
    batch_size: Sequence[int] | None = None
    steps: Sequence[int] | None = None
    learning_rate: Sequence[float] | None = None
    layers: Sequence[int] | None = None
    embedding_size: Sequence[int] | None = None
    dropout: Sequence[float] | None = None
    optimizer: Sequence[str] | None = None
    tied: Sequence[bool] | None = None
    input_size: Sequence[int] | None = None
    dtype: str = "float32"
    seed: Sequence[int] = (0,)
    init: str = "shared"
    repeats: int | None = None
    precision: float | None = None
    budget: float | None = None
    yes: bool = False
    corpus: str | None = None
    tokens: str | None = None
    normalise: str | None = None
    vocabulary_size: int | None = None
    min_count: int | None = None
    prompt: Sequence[str] = ()
    no_samples: bool = False
    threads: Sequence[int] | None = None
    stack: Sequence[str] = ()
    env: Sequence[str] = ()
    no_interleave: bool = False
    timeout: float = 300.0
    prepare_timeout: float = 900.0
    memory_limit: int | None = None
    store: Path = Path("lstmbench-runs")

    @property
    def text(self) -> TextOptions:
        """Which text, and how it is prepared."""
        return TextOptions(
            corpus=self.corpus,
            tokens=self.tokens,
            normalise=self.normalise,
            vocabulary_size=self.vocabulary_size,
            min_count=self.min_count,
        )

    def command(self) -> list[str]:
        """The command line that asks for the same; defaults are left out."""
        words = ["lstmbench", "run"]
        for option in fields(self):
            value = getattr(self, option.name)
            if value == option.default:
                continue
            flag = f"--{option.name.replace('_', '-')}"
            if value is True:
                words.append(flag)
            elif option.name in ("env", "prompt", "stack"):
                words += [word for each in value for word in (flag, each)]
            elif isinstance(value, (str, Path, int, float)):
                words += [flag, str(value)]
            else:
                words += [flag, ",".join(map(str, value))]
        return words
