"""LSTM in JAX: an epoch as one XLA program."""

from lstmbench import BackendSpec, hookimpl


@hookimpl
def lstmbench_backends() -> list[BackendSpec]:
    return [
        BackendSpec(
            name="jax",
            summary="LSTM by lax.scan in JAX",
            factory="lstmbench_jax.backend:JaxBackend",
            imports=("jax",),
            install="pip install ./plugins/jax",
            modes={"cpu": ("jit", "autodiff"), "cuda": ("jit", "autodiff")},
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
            # workers on one GPU live at the same time: none may take most of its memory at once
            environment={"XLA_PYTHON_CLIENT_PREALLOCATE": "false"},
        )
    ]
