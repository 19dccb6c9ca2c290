"""Two models that are not this project's LSTM, each with a reference of its own."""

from lstmbench import BackendSpec, hookimpl

INSTALL = "pip install ./docs/examples/own-models"


@hookimpl
def lstmbench_backends() -> list[BackendSpec]:
    return [
        BackendSpec(
            name=f"numpy-{model}",
            summary=f"{what} in NumPy",
            factory=f"lstmbench_own_models.backend:{factory}",
            modes={"cpu": ("eager",)},
            dtypes={"cpu": ("float32", "float64")},
            imports=("numpy",),
            install=INSTALL,
            model=model,
            reference=f"lstmbench_own_models.reference:{cell}",
            out_of_all="an example",
        )
        for model, what, factory, cell in (
            ("gru", "gated recurrent units", "GruBackend", "GruCell"),
            ("peephole", "LSTM with peepholes", "PeepholeBackend", "PeepholeCell"),
        )
    ]
