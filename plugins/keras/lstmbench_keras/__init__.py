"""Keras' LSTM layer as three backends, one per engine that Keras runs on."""

from lstmbench import BackendSpec, hookimpl

#: Keras fixes its engine when it is first imported.
ENGINE = "KERAS_BACKEND"
#: Of every mode but ``fit``.
FEATURES = (
    "embedding",
    "tied",
    "dropout",
    "adam",
    "rmsprop",
    "schedule",
    "clip-value",
    "unclipped",
    "sum-loss",
    "layer",
)


@hookimpl
def lstmbench_backends() -> list[BackendSpec]:
    return [
        BackendSpec(
            name="keras",
            summary="keras.layers.LSTM on TensorFlow",
            factory="lstmbench_keras.tensorflow_engine:TensorFlowBackend",
            imports=("keras", "tensorflow"),
            install="pip install ./plugins/keras",
            modes={
                "cpu": ("xla", "graph", "fit", "eager"),
                "cuda": ("cudnn", "xla", "fit", "eager"),
            },
            # on the other engines Keras' ops pass through float32 on their way
            dtypes={"cpu": ("float32", "float64")},
            # several workers share a GPU: none may take all of its memory at the start
            environment={ENGINE: "tensorflow", "TF_FORCE_GPU_ALLOW_GROWTH": "true"},
            features=FEATURES,
        ),
        BackendSpec(
            name="keras-jax",
            summary="keras.layers.LSTM on JAX",
            factory="lstmbench_keras.jax_engine:JaxBackend",
            imports=("keras", "jax"),
            install="pip install './plugins/keras[jax]'",
            modes={"cpu": ("jit", "fit"), "cuda": ("cudnn", "jit", "fit")},
            environment={ENGINE: "jax", "XLA_PYTHON_CLIENT_PREALLOCATE": "false"},
            features=FEATURES,
        ),
        BackendSpec(
            name="keras-torch",
            summary="keras.layers.LSTM on PyTorch",
            factory="lstmbench_keras.torch_engine:TorchBackend",
            imports=("keras", "torch"),
            install="pip install './plugins/keras[torch]'",
            modes={"cpu": ("eager", "compile", "fit"), "cuda": ("cudnn", "fit")},
            environment={ENGINE: "torch"},
            features=FEATURES,
        ),
    ]
