"""LSTM by hand in TensorFlow: as a student writes it, and as fast as TensorFlow allows."""

from lstmbench import BackendSpec, hookimpl


@hookimpl
def lstmbench_backends() -> list[BackendSpec]:
    return [
        BackendSpec(
            name="tf-scratch",
            summary="LSTM by hand in TensorFlow",
            factory="lstmbench_tf_scratch.backend:TFScratchBackend",
            imports=("tensorflow",),
            install="pip install ./plugins/tf-scratch",
            modes={"cpu": ("xla", "graph", "eager"), "cuda": ("xla", "graph", "eager")},
            dtypes={"cpu": ("float32", "float64"), "cuda": ("float32", "float64")},
            features=(
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
            ),
        )
    ]
