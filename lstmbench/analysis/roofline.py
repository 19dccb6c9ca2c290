"""How far from the hardware's limit: operations and bytes of a token, against measured peaks.

Source of the picture: Williams, Waterman & Patterson, "Roofline: an insightful visual performance
model", CACM 52 (2009). The counts are derived in ``docs/protocol.md``; H hidden, V vocabulary,
L layers, P parameters, B batch, T steps.
"""

from __future__ import annotations

from dataclasses import dataclass

from lstmbench.analysis import series
from lstmbench.backend import ModelConfig, TrainingConfig
from lstmbench.protocol import Protocol
from lstmbench.records.record import OwnModel, Record

#: Sides of the matmuls by kind of device, else 1024: long enough to reach the peak, short enough to
#: be interleaved with epochs.
SIDES = {"cpu": 1024, "mps": 4096, "cuda": 8192}
#: Bytes of the copies in memory, more than caches hold.
COPY_BYTES = 1 << 27
#: Rounds of measuring the peak in a trial, and matmuls and copies in each.
MAX_ROUNDS, MATMULS, COPIES = 11, 4, 2
#: Of a round of the layers alone: operations of its passes by kind of device, passes, and numbers
#: that they read together, at most.
OPERATIONS_OF_A_ROUND = {"cpu": 2e10, "mps": 2e11, "cuda": 1e12}
MAX_PASSES, MAX_NUMBERS = 64, 1 << 25
_ITEM_BYTES = {"float16": 2, "bfloat16": 2, "float32": 4, "float64": 8}


@dataclass(frozen=True)
class Cost:
    """Of one trained token: floating-point ``forward``, ``backward`` and ``update`` operations
    (multiplications and additions count one each), and compulsory ``bytes`` of memory traffic."""

    forward: float
    backward: float
    update: float
    bytes: float

    @property
    def operations(self) -> float:
        return self.forward + self.backward + self.update

    @property
    def intensity(self) -> float:
        """Operations per byte."""
        return self.operations / self.bytes


def cost(model: ModelConfig, training: TrainingConfig, dtype: str = "float32") -> Cost:
    """Operations and bytes per token, from the shapes alone.

    Matmuls only: the element-wise work of the gates is below one per cent of them at the default
    size. The first layer's input is a look-up, or its embedding is.
    """
    hidden, layers, vocabulary = model.hidden_size, model.layers, model.vocabulary_size
    window = training.batch_size * training.steps
    entries = layers * 4 * hidden**2 + (layers - 1) * 4 * hidden**2 + hidden * vocabulary
    entries += 4 * hidden * (model.embedding_size or 0)
    parameters = model.parameter_count
    # forward: gates, cell and hidden of each layer are written; backward reads them again
    activations = 2 * layers * 6 * hidden + 2 * vocabulary + 2 * (model.embedding_size or 0)
    # per window: parameters read forward and backward, gradient written and read, result written;
    # what the optimizer keeps is read and written
    weights = (5 + 2 * len(training.moments)) * parameters / window
    return Cost(
        forward=2 * entries,
        backward=4 * entries,
        # norm of the gradient, then scaling and subtracting it
        update=4 * parameters / window,
        bytes=_ITEM_BYTES[dtype] * (activations + weights),
    )


def layer_cost(model: ModelConfig, training: TrainingConfig, dtype: str = "float32") -> Cost:
    """The same of the recurrent layers alone, on numbers: nothing is looked up or updated."""
    hidden, layers = model.hidden_size, model.layers
    width = model.input_size(0)
    entries = 4 * hidden * (width + hidden) + (layers - 1) * 8 * hidden**2
    activations = 2 * layers * 6 * hidden + 2 * width
    # parameters are read forward and backward, their gradient is written
    weights = 3 * model.layers_parameter_count / (training.batch_size * training.steps)
    return Cost(2 * entries, 4 * entries, 0.0, _ITEM_BYTES[dtype] * (activations + weights))


def layer_passes(protocol: Protocol, device_kind: str) -> int:
    """Passes in a round of the layers alone: long enough for a clock, in little memory."""
    model, training = protocol.model(1), protocol.training
    tokens = training.batch_size * training.steps
    operations = layer_cost(model, training).operations * tokens
    numbers = tokens * (model.input_size(0) + model.hidden_size)
    wanted = OPERATIONS_OF_A_ROUND.get(device_kind, max(OPERATIONS_OF_A_ROUND.values()))
    most = min(MAX_PASSES, MAX_NUMBERS // numbers)
    return max(1, min(int(wanted // operations), most))


def own_cost(
    own: OwnModel, model: ModelConfig, training: TrainingConfig, dtype: str = "float32"
) -> Cost:
    """Of a plugin's own model: its reference states the forward operations.

    Backward takes twice as many. Of activations only what leaves a layer is sure to be moved.
    """
    window = training.batch_size * training.steps
    activations = 2 * model.layers * model.hidden_size + 2 * model.vocabulary_size
    return Cost(
        forward=own.operations_per_token,
        backward=2 * own.operations_per_token,
        update=4 * own.parameter_count / window,
        bytes=_ITEM_BYTES[dtype] * (activations + 5 * own.parameter_count / window),
    )


def matmul_side(device_kind: str) -> int:
    """Rows and columns of the square matrices of the matmul that is the peak."""
    return SIDES.get(device_kind, 1024)


def record_cost(record: Record) -> Cost:
    """Of the record's model, batch and dtype."""
    protocol = record.trial.protocol
    model = protocol.model(record.vocabulary_size)
    if protocol.is_layer:
        return layer_cost(model, protocol.training, record.trial.dtype)
    if record.own_model:
        return own_cost(record.own_model, model, protocol.training, record.trial.dtype)
    return cost(model, protocol.training, record.trial.dtype)


def achieved(record: Record) -> float | None:
    """Operations per second in training, ``None`` without a speed."""
    speed = series.speed(record.epochs)
    return speed * record_cost(record).operations if speed else None


def peak(record: Record) -> float | None:
    """Operations per second of the fastest matmul in the group, by the estimator of speeds."""
    if record.peak is None:
        return None
    matmul = record.peak.matmul
    seconds = series.faster_half_mean(matmul.seconds)
    return 2 * matmul.side**3 / seconds if seconds else None


def bandwidth(record: Record) -> float | None:
    """Bytes per second of copies in memory (each byte is read once and written once)."""
    if record.peak is None or record.peak.copies is None:
        return None
    seconds = series.faster_half_mean(record.peak.copies.seconds)
    return 2 * record.peak.copies.size / seconds if seconds else None


def peak_share(record: Record) -> float | None:
    """Achieved operations per second as a share of the peak."""
    reached, limit = achieved(record), peak(record)
    return reached / limit if reached and limit else None
