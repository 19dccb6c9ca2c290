"""The environment of a worker: the same for every backend, nothing kept for the next process.

What it holds is described in ``docs/plugin-guide.md``.
"""

from __future__ import annotations

import os

from lstmbench.machine.interpreter import search_paths
from lstmbench.runner.channel import Launch

#: What a worker inherits. Whatever else should matter is named with ``--env``, and so recorded.
PASSED_ON = (
    "PATH",
    "LANG",
    "LC_ALL",
    "LC_CTYPE",
    "LD_LIBRARY_PATH",
    "DYLD_LIBRARY_PATH",
    "VIRTUAL_ENV",
    "SYSTEMROOT",
    "CUDA_HOME",
    "CUDA_VISIBLE_DEVICES",
    "CUDA_DEVICE_ORDER",
    "NVIDIA_VISIBLE_DEVICES",
    "NVIDIA_DRIVER_CAPABILITIES",
)
#: Where libraries read their thread count when they are loaded.
THREADS = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "TF_NUM_INTRAOP_THREADS",
    "NPROC",
)
#: Where libraries and compilers keep files: in the worker's own scratch folder. Most look into the
#: home folder, for settings too, which would change what is measured without being recorded.
SCRATCH = (
    "HOME",
    "TMPDIR",
    "XDG_CACHE_HOME",
    "CUDA_CACHE_PATH",
    "TRITON_CACHE_DIR",
    "TORCHINDUCTOR_CACHE_DIR",
    "KERAS_HOME",
    "NUMBA_CACHE_DIR",
    "CUPY_CACHE_DIR",
    "MPLCONFIGDIR",
)
#: By which the host knows what a worker has started.
MARKER = "LSTMBENCH_WORKER"
FIXED = {
    "PYTHONUNBUFFERED": "1",
    "TF_CPP_MIN_LOG_LEVEL": "1",
    # as the driver counts, by whose order devices are named; CUDA's own order is fastest first
    "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
}


def worker_environment(launch: Launch, scratch: str) -> dict[str, str]:
    """All variables of the worker whose own, empty folder is ``scratch``."""
    passed_on = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    paths = search_paths()
    if launch.interpreter:
        passed_on.pop("VIRTUAL_ENV", None)
        paths = {"PYTHONPATH": os.pathsep.join(launch.interpreter.paths), "PYTHONNOUSERSITE": "1"}
    return {
        **FIXED,
        **passed_on,
        **paths,
        **dict.fromkeys(THREADS, str(launch.threads)),
        **dict.fromkeys(SCRATCH, scratch),
        **launch.environment,
        MARKER: scratch,
    }
