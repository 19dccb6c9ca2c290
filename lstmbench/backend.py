"""The interface between the host and one LSTM implementation.

Specs are plain data, so that listing and planning never import a framework, nor NumPy.
A :class:`Backend` is constructed only inside a worker process.
"""

from __future__ import annotations

import hashlib
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
INTERFACE = 1


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
class ModelConfig:
    """Shape of the model: one-hot input, ``layers`` LSTM layers, linear output."""

    vocabulary_size: int
    hidden_size: int
    layers: int

    def input_size(self, layer: int) -> int:
        """Width of what ``layer`` (counted from 0) reads."""
        return self.vocabulary_size if layer == 0 else self.hidden_size

    @property
    def parameter_count(self) -> int:
        """Trainable scalars with one bias per layer, from the shapes alone."""
        hidden = self.hidden_size
        recurrent = sum(
            4 * hidden * (self.input_size(layer) + hidden + 1) for layer in range(self.layers)
        )
        return recurrent + (hidden + 1) * self.vocabulary_size


@dataclass(frozen=True)
class TrainingConfig:
    """SGD with the gradients of all trained parameters clipped together to ``clip_norm``."""

    learning_rate: float
    clip_norm: float
    batch_size: int
    steps: int


@dataclass(frozen=True)
class Task:
    """All that a backend needs to build itself."""

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


#: The tensors of every layer.
LAYER_TENSORS = ("input_kernel", "recurrent_kernel", "bias")


def parameter_names(layers: int) -> list[str]:
    """Names of all trainable tensors, layer by layer, output last."""
    own = [f"layer{index}.{kind}" for index in range(layers) for kind in LAYER_TENSORS]
    return [*own, "output_kernel", "output_bias"]


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

    ``output_kernel`` is ``[H, V]``, ``output_bias`` ``[V]``.
    """

    layers: tuple[LayerParameters, ...]
    output_kernel: np.ndarray
    output_bias: np.ndarray

    def items(self) -> Iterator[tuple[str, np.ndarray]]:
        """``(name, array)`` layer by layer, output last, e.g. ``"layer0.input_kernel"``."""
        for index, layer in enumerate(self.layers):
            for name, array in layer.tensors().items():
                yield f"layer{index}.{name}", array
        yield "output_kernel", self.output_kernel
        yield "output_bias", self.output_bias

    @classmethod
    def from_arrays(cls, arrays: Sequence[np.ndarray], extra: Sequence[str] = ()) -> Parameters:
        """The inverse of the arrays of :meth:`items`, in the same order.

        ``extra`` names what each layer has beside :data:`LAYER_TENSORS`.
        """
        names = (*LAYER_TENSORS, *extra)
        *layers, kernel, bias = arrays
        cut = [layers[i : i + len(names)] for i in range(0, len(layers), len(names))]
        own = [LayerParameters.from_tensors(dict(zip(names, part, strict=True))) for part in cut]
        return cls(tuple(own), kernel, bias)

    def like(self, arrays: Sequence[np.ndarray]) -> Parameters:
        """Other arrays under the same names."""
        extra = self.layers[0].extra if self.layers else ()
        return self.from_arrays(arrays, tuple(extra))

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
    ``prepare``, ``matrix_product`` and ``device_memory`` are optional.
    """

    def __init__(self, task: Task) -> None:
        self.task = task

    @abstractmethod
    def load_parameters(self, parameters: Parameters) -> None:
        """Replace all parameters. A second bias, where there is one, is kept at zero, untrained."""

    @abstractmethod
    def parameters(self) -> Parameters:
        """The current parameters, copied to canonical NumPy arrays of the task's dtype."""

    def prepare(self, batches: Batches) -> None:  # noqa: B027 - optional on purpose
        """Stage, trace and compile for batches of this shape; changes no parameter.

        A phase of its own in the record, so that compilation never counts as training. Training
        to warm up is allowed if the parameters are restored bit for bit. All epochs of a trial
        have the shape that was prepared last, number of windows included.
        """

    @abstractmethod
    def train_epoch(self, batches: Batches) -> EpochLoss:
        """Train on every window in turn: zero state first, then carried without gradient.

        Each window: loss is the mean over its ``batch * steps`` tokens; all gradients together
        times ``min(1, clip_norm / norm)``, without an epsilon; one SGD step. The result sums each
        window's loss as it was before that window's step. Returns only when the updated parameters
        exist on the device.
        """

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
