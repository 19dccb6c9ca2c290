"""Two backends on PyTorch: ``torch.nn.LSTM``, and the same model by hand."""

from lstmbench import BackendSpec, hookimpl

#: Modes per device kind, the default first.
LIBRARY_MODES = {"cpu": ("eager", "compile"), "cuda": ("cudnn", "graphs"), "mps": ("eager",)}
SCRATCH_MODES = {
    "cpu": ("bptt", "eager"),
    "cuda": ("bptt", "graphs", "eager"),
    "mps": ("bptt", "eager"),
}
_DTYPES = {"cpu": ("float32", "float64"), "cuda": ("float32", "float64")}
#: oneDNN has an LSTM in bfloat16; the loop by hand would mostly convert.
_LIBRARY_DTYPES = {**_DTYPES, "cpu": ("float32", "float64", "bfloat16")}
_FEATURES = (
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
#: A fixed cuBLAS workspace makes cuDNN's LSTM repeat itself (documentation of ``nn.LSTM``).
_ENVIRONMENT = {"CUBLAS_WORKSPACE_CONFIG": ":4096:2"}


@hookimpl
def lstmbench_backends() -> list[BackendSpec]:
    return [
        BackendSpec(
            name="torch",
            summary="torch.nn.LSTM and torch.nn.Linear",
            factory="lstmbench_torch.backend:TorchBackend",
            imports=("torch",),
            install="pip install ./plugins/torch",
            modes=LIBRARY_MODES,
            dtypes=_LIBRARY_DTYPES,
            environment=_ENVIRONMENT,
            features=_FEATURES,
        ),
        BackendSpec(
            name="torch-scratch",
            summary="the LSTM by hand in PyTorch tensors",
            factory="lstmbench_torch.scratch:TorchScratchBackend",
            imports=("torch",),
            install="pip install ./plugins/torch",
            modes=SCRATCH_MODES,
            dtypes=_DTYPES,
            environment=_ENVIRONMENT,
            features=_FEATURES,
        ),
    ]
