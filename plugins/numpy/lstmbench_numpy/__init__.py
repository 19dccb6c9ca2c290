"""The NumPy reference as a backend: the worked example for plugin authors."""

from lstmbench import BackendSpec, hookimpl

#: All that a protocol may ask for; a backend without some of it leaves them out.
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
            name="numpy",
            summary="the reference equations in NumPy",
            factory="lstmbench_numpy.backend:NumpyBackend",
            imports=("numpy",),
            install="pip install ./plugins/numpy",
            modes={"cpu": ("eager",)},
            dtypes={"cpu": ("float32", "float64")},
            features=FEATURES,
        )
    ]
