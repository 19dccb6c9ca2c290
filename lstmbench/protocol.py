"""What is trained and how it is evaluated, frozen, so that two results can be compared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cache
from typing import Any

from lstmbench.backend import ModelConfig, TrainingConfig
from lstmbench.errors import UserError

#: Hyper-parameters that the command line may override, with the range that makes sense; the
#: learning rate may not be the lower end.
OVERRIDABLE: dict[str, tuple[float, float]] = {
    "epochs": (1, 10**5),
    "batch_size": (1, 10**6),
    "steps": (1, 10**6),
    "hidden_size": (1, 10**5),
    "layers": (1, 1000),
    "learning_rate": (0.0, 10**6),
}

#: Counts and sizes up to here are exact in every program that reads JSON.
MAX_COUNT = 2**53

#: Fields that say in words what a protocol is.
WORDING = ("summary", "note")
#: Fields that say in how many processes it is run.
SAMPLING = ("repeats", "precision", "budget")


def _in_range(default: Any, least: float, most: float = MAX_COUNT) -> Any:
    """A field with the range that readers of records hold it to, in the words of pydantic."""
    return field(default=default, metadata={"ge": least, "le": most})


@dataclass(frozen=True)
class Protocol:
    """Every hyper-parameter and the evaluation rule.

    Trained on are the first ``train_tokens`` tokens of the corpus, or, if that is ``None``, its
    first ``train_fraction``. ``validation_fraction`` and ``test_fraction`` of the corpus follow
    directly; validation happens every ``validate_every`` epochs, untimed, the test once at the
    end, both from zero state at offset 0. After training, ``continuation`` symbols are generated
    greedily after each of ``prefixes``. ``note`` is printed beneath every table. A trial is run in
    ``repeats`` fresh processes; where ``precision`` is given, in as many as it takes until every
    ratio is known so well (0.02 is +-2 %), or until ``budget`` seconds are spent.
    """

    name: str
    summary: str
    epochs: int = _in_range(500, *OVERRIDABLE["epochs"])
    batch_size: int = _in_range(32, *OVERRIDABLE["batch_size"])
    steps: int = _in_range(35, *OVERRIDABLE["steps"])
    hidden_size: int = _in_range(256, *OVERRIDABLE["hidden_size"])
    layers: int = _in_range(1, *OVERRIDABLE["layers"])
    learning_rate: float = field(default=1.0, metadata={"gt": 0, "le": 10**6})
    clip_norm: float = _in_range(1.0, 0)
    train_tokens: int | None = _in_range(10_000, 0)
    train_fraction: float = _in_range(0.9, 0, 1)
    validation_fraction: float = _in_range(0.0, 0, 1)
    test_fraction: float = _in_range(0.0, 0, 1)
    validate_every: int = _in_range(0, 0)
    prefixes: tuple[str, ...] = ("time traveller", "traveller")
    continuation: int = _in_range(50, 0)
    note: str = ""
    repeats: int = _in_range(1, 0)
    precision: float | None = _in_range(None, 0)
    budget: float = _in_range(600.0, 0, 1e9)

    def override(self, values: Mapping[str, float]) -> Protocol:
        """A copy with some hyper-parameters replaced.

        Raises :class:`UserError` naming the option whose value is out of range.
        """
        for name, value in values.items():
            least, most = OVERRIDABLE[name]
            if not least <= value <= most or value == 0:
                bound = f"at least {least}" if least else "positive"
                option = name.replace("_", "-")
                raise UserError(f"--{option} {value}: must be {bound} and at most {most}")
        return replace(self, **values)  # type: ignore[arg-type]

    def overrides(self, preset: Protocol) -> dict[str, float]:
        """What differs from the preset of the same name."""
        names = [f.name for f in fields(self) if f.name in OVERRIDABLE]
        return {n: getattr(self, n) for n in names if getattr(self, n) != getattr(preset, n)}

    def model(self, vocabulary_size: int) -> ModelConfig:
        """The model for a vocabulary of that size."""
        return ModelConfig(vocabulary_size, self.hidden_size, self.layers)

    @property
    def training(self) -> TrainingConfig:
        return TrainingConfig(self.learning_rate, self.clip_norm, self.batch_size, self.steps)

    def splits(self, tokens: int) -> dict[str, slice]:
        """``train`` and, where the protocol has them, ``validation`` and ``test`` of a corpus."""
        if self.train_tokens is not None:
            return {"train": slice(0, min(self.train_tokens, tokens))}
        end = int(tokens * self.train_fraction)
        parts = {"train": slice(0, end)}
        for name, share in (
            ("validation", self.validation_fraction),
            ("test", self.test_fraction),
        ):
            if share:
                parts[name] = slice(end, end + int(tokens * share))
                end = parts[name].stop
        return parts


@cache
def identity(protocol: Protocol) -> dict[str, Any]:
    """The fields that decide what is trained and how it is evaluated; not to be changed."""
    names = [f.name for f in fields(protocol) if f.name not in (*WORDING, *SAMPLING)]
    return {name: getattr(protocol, name) for name in names}


D2L = Protocol(
    name="d2l",
    summary='500 epochs over the first 10,000 characters, as in "Dive into Deep Learning"',
)
QUICK = replace(
    D2L,
    name="quick",
    summary="the same maths for 40 epochs: a first look",
    epochs=40,
    note="`quick` is a first look: the model has barely learned, and perplexities only show that "
    "backends agree.",
)
HELDOUT = replace(
    D2L,
    name="heldout",
    summary="30 epochs over the first 90 % of the text, judged on text it never saw",
    epochs=30,
    train_tokens=None,
    validation_fraction=0.05,
    test_fraction=0.05,
    validate_every=5,
)
SPEED = replace(
    D2L,
    name="speed",
    summary="timing only: 60 epochs in each of several processes, until every ratio is known",
    epochs=60,
    prefixes=(),
    note="`speed` is for timing only: the model has barely learned.",
    precision=0.02,
)
PRESETS = (D2L, QUICK, HELDOUT, SPEED)
