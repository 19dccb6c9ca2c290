"""The interface between the host and one LSTM implementation.

Specs are plain data, so that listing and planning never import a framework, nor NumPy.
A :class:`Backend` is constructed only inside a worker process.
"""

from __future__ import annotations

import hashlib
import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    from lstmbench.batches import Batches

#: The model of every backend that brings none of its own.
LSTM_MODEL = "lstm"
#: Version of this interface. A plugin states the one it was written for.
INTERFACE = 2
#: Versions that this host works with. Backends of version 1 have none of the features.
INTERFACES = (1, 2)

#: What a trial may need beyond one-hot input, SGD, clipping by the norm and the mean loss.
FEATURES = {
    "embedding": "input through an embedding, ``ModelConfig.embedding_size``",
    "tied": "the embedding as output kernel, ``ModelConfig.tied``",
    "dropout": "``TrainingConfig.dropout`` above zero",
    "adam": "``TrainingConfig.optimizer``, with ``Backend.optimizer_state``",
    "rmsprop": "``TrainingConfig.optimizer``, with ``Backend.optimizer_state``",
    "schedule": "``TrainingConfig.scheduled``: calls of ``Backend.set_learning_rate``",
    "clip-value": "a finite ``TrainingConfig.clip_value``",
    "unclipped": "neither a finite ``clip_norm`` nor a finite ``clip_value``",
    "sum-loss": "``TrainingConfig.loss`` as a sum over steps",
    "layer": "the layers alone: ``Backend.stage_layer``, ``layer_pass`` and ``layer_result``",
}
#: How many numbers each optimizer keeps beside every parameter, by name.
MOMENTS: dict[str, tuple[str, ...]] = {
    "sgd": (),
    "adam": ("first moment", "second moment"),
    "rmsprop": ("mean square",),
}
#: What is differentiated: the mean over a window's tokens, or the sum over its steps of the mean
#: over the batch.
LOSSES = ("mean", "sum")
#: From which distribution initial kernels are drawn.
DISTRIBUTIONS = ("normal", "uniform")


@dataclass(frozen=True)
class BackendSpec:
    """What the host knows of a backend without importing its framework.

    ``factory`` is ``"module:attribute"`` of a :class:`Backend` subclass; ``imports`` the
    top-level modules it needs; ``install`` the command that provides them. ``modes`` maps a
    device kind (``cpu``, ``cuda``, ``mps``) to its modes, the default first; ``dtypes`` does the
    same for dtypes, the default where a kind is missing being ``float32``. ``environment`` is
    set before the worker starts. ``out_of_all`` is the reason why ``--backends all`` leaves
    the backend out, or ``None``. ``expected_failures`` maps conformance checks that are known to
    fail, ``"check"`` or ``"mode:check"``, to the reason.

    A backend of another model than this project's LSTM names it as ``model``, and as ``reference``
    the ``"module:attribute"`` of a :class:`lstmbench.Cell`, against which it is proven.
    ``features`` are those of :data:`FEATURES` that the backend has; a trial that needs another is
    not begun.
    """

    name: str
    summary: str
    factory: str
    modes: Mapping[str, tuple[str, ...]]
    interface: int = INTERFACE
    imports: tuple[str, ...] = ()
    install: str = ""
    dtypes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    out_of_all: str | None = None
    expected_failures: Mapping[str, str] = field(default_factory=dict)
    model: str = LSTM_MODEL
    reference: str = ""
    features: tuple[str, ...] = ()

    def modes_on(self, kind: str, asked: Sequence[str]) -> tuple[str, ...]:
        """Modes on a device kind that ``asked`` means: ``default``, ``all`` or names."""
        offered = self.modes.get(kind, ())
        if "all" in asked:
            return offered
        default = offered[:1] if "default" in asked else ()
        return tuple(mode for mode in offered if mode in (*asked, *default))

    def dtypes_on(self, kind: str) -> tuple[str, ...]:
        """Dtypes offered on a device kind such as ``"cuda"``."""
        return self.dtypes.get(kind, ("float32",))


@dataclass(frozen=True)
class Initialisation:
    """From what initial parameters are drawn.

    Kernels and the embedding come from normal(0, ``scale``) or uniform(-``scale``, ``scale``),
    biases alike with ``bias_scale``. ``forget_bias``, unless it is ``None``, is what the biases of
    the LSTM's forget gates are set to (Gers, Schmidhuber & Cummins 2000; Jozefowicz et al. 2015).
    """

    distribution: str = "normal"
    scale: float = 0.01
    bias_scale: float = 0.0
    forget_bias: float | None = None


@dataclass(frozen=True)
class ModelConfig:
    """Shape of the model: input, ``layers`` LSTM layers, linear output.

    The input is one-hot, or a row of an embedding ``[V, embedding_size]``. With ``tied`` the
    embedding, transposed, is the output kernel too, and ``embedding_size`` equals ``hidden_size``
    (Press & Wolf 2017; Inan, Khosravi & Socher 2017).
    """

    vocabulary_size: int
    hidden_size: int
    layers: int
    embedding_size: int | None = None
    tied: bool = False
    initialisation: Initialisation = Initialisation()

    def input_size(self, layer: int) -> int:
        """Width of what ``layer`` (counted from 0) reads."""
        if layer:
            return self.hidden_size
        return self.vocabulary_size if self.embedding_size is None else self.embedding_size

    @property
    def parameter_count(self) -> int:
        """Trainable scalars with one bias per layer, from the shapes alone."""
        hidden, vocabulary = self.hidden_size, self.vocabulary_size
        output = vocabulary if self.tied else (hidden + 1) * vocabulary
        return (self.embedding_size or 0) * vocabulary + self.layers_parameter_count + output

    @property
    def layers_parameter_count(self) -> int:
        """The same of the recurrent layers alone."""
        hidden = self.hidden_size
        return sum(
            4 * hidden * (self.input_size(layer) + hidden + 1) for layer in range(self.layers)
        )


@dataclass(frozen=True)
class TrainingConfig:
    """How parameters are updated after each window.

    The gradient is that of the mean over the window's tokens, or, with ``loss="sum"``, of the sum
    over its steps of the mean over the batch. The gradients of all trained parameters are clipped
    together to ``clip_norm``, or each number to ``clip_value``; infinity does not clip, and at
    most one of the two is finite. ``optimizer`` then moves the parameters, as
    :mod:`lstmbench.optimizers` says. ``dropout`` is the probability with which a number is dropped
    in training: of the embedding's output, between layers and before the output, never of what is
    carried through time. With ``scheduled`` the learning rate is told before each epoch.
    """

    learning_rate: float
    clip_norm: float
    batch_size: int
    steps: int
    clip_value: float = math.inf
    loss: str = "mean"
    optimizer: str = "sgd"
    dropout: float = 0.0
    scheduled: bool = False

    @property
    def moments(self) -> tuple[str, ...]:
        """Names of what the optimizer keeps beside each parameter."""
        return MOMENTS[self.optimizer]


def needed_features(
    model: ModelConfig, training: TrainingConfig, *, layer: bool = False
) -> list[str]:
    """Those of :data:`FEATURES` without which a backend cannot train this.

    Of the ``layer`` alone nothing is trained, and nothing around it needed.
    """
    if layer:
        return ["layer"]
    unclipped = math.isinf(training.clip_norm) and math.isinf(training.clip_value)
    needed = {
        "embedding": model.embedding_size is not None,
        "tied": model.tied,
        "dropout": training.dropout > 0,
        "adam": training.optimizer == "adam",
        "rmsprop": training.optimizer == "rmsprop",
        "schedule": training.scheduled,
        "clip-value": math.isfinite(training.clip_value),
        "unclipped": unclipped,
        "sum-loss": training.loss == "sum",
    }
    return [name for name in FEATURES if needed.get(name)]


def parameter_dtype(dtype: str) -> str:
    """In what parameters are kept and updated: in 16 bits most updates would be rounded away."""
    return "float64" if dtype == "float64" else "float32"


@dataclass(frozen=True)
class Task:
    """All that a backend needs to build itself.

    In a ``dtype`` of 16 bits the layers compute; parameters, losses and what an optimizer keeps are
    float32 (Micikevicius et al., "Mixed precision training", 2018).
    """

    model: ModelConfig
    training: TrainingConfig
    device: str
    mode: str
    dtype: str
    threads: int
    seed: int

    @property
    def device_kind(self) -> str:
        """``"cuda"`` for ``"cuda:0"``."""
        return self.device.partition(":")[0]

    @property
    def parameter_dtype(self) -> str:
        """As the function of that name."""
        return parameter_dtype(self.dtype)


#: The tensors of every layer.
LAYER_TENSORS = ("input_kernel", "recurrent_kernel", "bias")


def parameter_names(model: ModelConfig) -> list[str]:
    """Names of all trainable tensors: embedding, layer by layer, output last."""
    first = [] if model.embedding_size is None else ["embedding"]
    own = [f"layer{index}.{kind}" for index in range(model.layers) for kind in LAYER_TENSORS]
    return [*first, *own, *([] if model.tied else ["output_kernel"]), "output_bias"]


@dataclass(frozen=True)
class LayerParameters:
    """One LSTM layer; gates stand in the order input, forget, cell, output.

    ``input_kernel`` is ``[in, 4H]``, ``recurrent_kernel`` ``[H, 4H]``, ``bias`` ``[4H]``. Only a
    plugin's own model has other shapes, and ``extra`` tensors.
    """

    input_kernel: np.ndarray
    recurrent_kernel: np.ndarray
    bias: np.ndarray
    extra: Mapping[str, np.ndarray] = field(default_factory=dict)

    def tensors(self) -> dict[str, np.ndarray]:
        """All by name, in canonical order."""
        own = {name: getattr(self, name) for name in LAYER_TENSORS}
        return {**own, **self.extra}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, np.ndarray]) -> LayerParameters:
        """The inverse of :meth:`tensors`."""
        extra = {name: array for name, array in tensors.items() if name not in LAYER_TENSORS}
        kernel, recurrent, bias = (tensors[name] for name in LAYER_TENSORS)
        return cls(kernel, recurrent, bias, extra)


@dataclass(frozen=True)
class Parameters:
    """All trainable parameters in canonical form, as NumPy arrays of one dtype.

    ``output_kernel`` is ``[H, V]``, ``output_bias`` ``[V]``, ``embedding``, where there is one,
    ``[V, E]``. If ``tied``, the output kernel is the embedding transposed, and no tensor of its
    own.
    """

    layers: tuple[LayerParameters, ...]
    output_kernel: np.ndarray
    output_bias: np.ndarray
    embedding: np.ndarray | None = None
    tied: bool = False

    def items(self) -> Iterator[tuple[str, np.ndarray]]:
        """``(name, array)``: embedding, layer by layer, output last, e.g.
        ``"layer0.input_kernel"``."""
        if self.embedding is not None:
            yield "embedding", self.embedding
        for index, layer in enumerate(self.layers):
            for name, array in layer.tensors().items():
                yield f"layer{index}.{name}", array
        if not self.tied:
            yield "output_kernel", self.output_kernel
        yield "output_bias", self.output_bias

    @classmethod
    def from_arrays(
        cls,
        arrays: Sequence[np.ndarray],
        extra: Sequence[str] = (),
        *,
        embedding: bool = False,
        tied: bool = False,
    ) -> Parameters:
        """The inverse of the arrays of :meth:`items`, in the same order.

        ``extra`` names what each layer has beside :data:`LAYER_TENSORS`; ``embedding`` and
        ``tied`` say whether the first array is an embedding, and the output kernel as well.
        """
        names = (*LAYER_TENSORS, *extra)
        *layers, bias = arrays
        table = layers.pop(0) if embedding else None
        kernel = table.T if tied and table is not None else layers.pop()
        cut = [layers[i : i + len(names)] for i in range(0, len(layers), len(names))]
        own = [LayerParameters.from_tensors(dict(zip(names, part, strict=True))) for part in cut]
        return cls(tuple(own), kernel, bias, table, tied)

    @classmethod
    def of_model(cls, model: ModelConfig, arrays: Sequence[np.ndarray]) -> Parameters:
        """The LSTM's parameters from the arrays of :meth:`items`."""
        embedding = model.embedding_size is not None
        return cls.from_arrays(arrays, embedding=embedding, tied=model.tied)

    def like(self, arrays: Sequence[np.ndarray]) -> Parameters:
        """Other arrays under the same names."""
        extra = tuple(self.layers[0].extra) if self.layers else ()
        embedding = self.embedding is not None
        return self.from_arrays(arrays, extra, embedding=embedding, tied=self.tied)

    def astype(self, dtype: Any) -> Parameters:
        """A copy in another dtype."""
        return self.like([array.astype(dtype) for _, array in self.items()])

    def digest(self) -> str:
        """SHA-256 of names, shapes, dtypes and bytes, little-endian and row-major."""
        sha = hashlib.sha256()
        for name, array in self.items():
            little = array.astype(array.dtype.newbyteorder("<"), order="C")
            sha.update(f"{name} {little.dtype.str} {little.shape}\n".encode())
            sha.update(little.tobytes())
        return sha.hexdigest()


@dataclass(frozen=True)
class LayerResult:
    """What one pass through the recurrent layers alone has given.

    ``outputs`` ``[T, B, H]`` are those of the last layer. After a backward pass, ``inputs``
    ``[T, B, in]`` and ``layers``, shaped like the parameters, are gradients of the sum of
    ``outputs * slopes``; otherwise ``None`` and empty.
    """

    outputs: np.ndarray
    inputs: np.ndarray | None = None
    layers: tuple[LayerParameters, ...] = ()

    @classmethod
    def of_arrays(
        cls,
        outputs: np.ndarray,
        inputs: np.ndarray | None = None,
        gradients: Sequence[np.ndarray] = (),
    ) -> LayerResult:
        """Of the LSTM, whose ``gradients`` are flat: :data:`LAYER_TENSORS`, layer by layer."""
        layers = (
            LayerParameters(kernel, recurrent, bias)
            for kernel, recurrent, bias in zip(*(gradients[i::3] for i in range(3)), strict=True)
        )
        return cls(outputs, inputs, tuple(layers))

    def items(self) -> Iterator[tuple[str, np.ndarray]]:
        """``(name, array)``: ``outputs``, ``inputs``, then layer by layer as in
        :class:`Parameters`."""
        yield "outputs", self.outputs
        if self.inputs is not None:
            yield "inputs", self.inputs
        for index, layer in enumerate(self.layers):
            for name, array in layer.tensors().items():
                yield f"layer{index}.{name}", array


@dataclass(frozen=True)
class EpochLoss:
    """Cross-entropy summed over ``tokens`` predictions, in nats."""

    nats: float
    tokens: int


class Backend(ABC):
    """One LSTM language model and its training, on one framework, device and mode.

    Constructed with the framework's own initial parameters (hand-written backends:
    normal(0, 0.01), biases 0). Raise :class:`lstmbench.Unavailable` in ``__init__`` when the
    device or mode cannot be had here. To be written are ``load_parameters``, ``parameters``,
    ``train_epoch``, ``evaluate``, ``generate`` and, since records state its facts, ``runtime``;
    ``prepare``, ``matrix_product`` and ``device_memory`` are optional; some :data:`FEATURES` need
    ``set_learning_rate``, ``optimizer_state``, or the three methods of the layer alone.
    """

    def __init__(self, task: Task) -> None:
        self.task = task

    @abstractmethod
    def load_parameters(self, parameters: Parameters) -> None:
        """Replace all parameters, and forget what the optimizer keeps.

        A second bias, where there is one, is kept at zero, untrained.
        """

    @abstractmethod
    def parameters(self) -> Parameters:
        """The current parameters, copied to canonical NumPy arrays of the task's dtype."""

    def prepare(self, batches: Batches) -> None:  # noqa: B027 - optional on purpose
        """Stage, trace and compile for batches of this shape; changes no parameter.

        A phase of its own in the record, so that compilation never counts as training. Training
        to warm up is allowed if the parameters, and what the optimizer keeps, are restored bit for
        bit. All epochs of a trial
        have the shape that was prepared last, number of windows included.
        """

    @abstractmethod
    def train_epoch(self, batches: Batches) -> EpochLoss:
        """Train on every window in turn: zero state first, then carried without gradient.

        Each window: loss is the mean over its ``batch * steps`` tokens; all gradients together
        times ``min(1, clip_norm / norm)``, without an epsilon; one SGD step. Other losses, ways to
        clip and optimizers are those of ``task.training``; what an optimizer keeps is kept from
        epoch to epoch. The result sums each window's loss in nats, over all tokens, as it was
        before that window's step, with what was dropped where there is dropout. Returns only when
        the updated parameters exist on the device.
        """

    def set_learning_rate(self, rate: float) -> None:
        """Use this learning rate from the next window on.

        Called before each epoch, inside the time that is measured, if ``task.training.scheduled``:
        a compiled program takes the rate as an argument. A rate that follows the validation loss
        is known to the host alone.
        """
        raise NotImplementedError

    def optimizer_state(self) -> tuple[Parameters, ...]:
        """What the optimizer keeps beside each parameter, copied to canonical arrays.

        In the order of ``task.training.moments``, in shapes and names of the parameters: first and
        second moment of ``adam`` before their correction, mean square of ``rmsprop``; zeros before
        the first update. With two biases per layer, what belongs to one of them. Audits train again
        from here.
        """
        return ()

    @abstractmethod
    def evaluate(self, batches: Batches) -> EpochLoss:
        """The loss from zero state, state carried from window to window; changes nothing.

        The shape may differ from the training batches'.
        """

    @abstractmethod
    def generate(self, prefix: Sequence[int], length: int) -> list[int]:
        """Read ``prefix`` from zero state, then choose the likeliest symbol ``length`` times.

        Returns only the new ids.
        """

    def stage_layer(self, inputs: np.ndarray, slopes: np.ndarray | None = None) -> None:
        """Feature ``layer``: take what the next passes read to the device; not timed.

        ``inputs`` ``[P, T, B, in]`` are those of P passes, where ``in`` is
        ``task.model.input_size(0)``; ``slopes`` ``[P, T, B, H]``, where passes go backward too,
        the gradients by the outputs; both C-ordered, in the task's dtype. Nothing is computed yet.
        """
        raise NotImplementedError

    def layer_pass(self, index: int) -> None:
        """Feature ``layer``: pass ``index`` through the recurrent layers alone, from zero state.

        Forward, and backward as well if slopes were staged. Returns only when the outputs and all
        gradients exist on the device. The first pass of a shape may compile. Embedding, output and
        optimizer have no part in it.
        """
        raise NotImplementedError

    def layer_result(self) -> LayerResult:
        """Feature ``layer``: what the last pass has given, copied to arrays of the task's dtype."""
        raise NotImplementedError

    def matrix_product(self, side: int) -> None:
        """Multiply two ``[side, side]`` matrices once, as fast as the framework can on the device.

        In the task's dtype, at its threads; returns when the result exists. The matrices are
        made, and the matmul compiled, in the first call of a side, which is not timed. Optional:
        the fastest matmul in a group is the peak that its trials are measured against (roofline:
        Williams, Waterman & Patterson, CACM 2009).
        """
        raise NotImplementedError

    def device_memory(self) -> int | None:
        """Peak bytes allocated on a device with memory of its own, or ``None``."""
        return None

    def runtime(self) -> dict[str, str]:
        """Facts for the record, as strings.

        ``kernel`` (the path really taken), ``threads`` (those in force), ``tf32`` (on or off),
        ``biases`` (how many per layer, which are trained) and ``parameters`` (trained scalars, as
        the framework counts them) are required; others, such as versions, are free.
        """
        return {}
