"""Environment variables of worker processes, and the folder of compiled kernels."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from v50calib.errors import no_cache
from v50calib.safety.compiled import is_empty

#: variables that worker processes start with. One thread per task: threads that libraries start would only compete. Freed
#: memory is kept (by default Dask gives it back at once): a visit allocates arrays of 10 MB again and again, and mapping them
#: costs more than filling them.
WORKER_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "MALLOC_TRIM_THRESHOLD_": str(2**27),
    "MALLOC_MMAP_THRESHOLD_": str(2**25),
}

#: where numba keeps compiled functions; a worker that has no other folder for them needs it as well
CACHE_VARIABLE = "NUMBA_CACHE_DIR"


def first_compilation() -> str:
    """What a run says before its first visit where no kernel is compiled yet; empty where some are."""
    folder = os.environ.get(CACHE_VARIABLE, "")
    if not folder or not is_empty(Path(folder)):
        return ""
    return (
        f"no kernel is compiled yet ({folder} is empty): the first visit compiles them, once, which takes one to several minutes in which "
        "nothing is printed; later runs do without"
    )


def queue_environment() -> dict[str, str]:
    """Variables of workers that are jobs of a queue: they do not always inherit those of the driver."""
    cache = os.environ.get(CACHE_VARIABLE)
    return WORKER_ENVIRONMENT | ({CACHE_VARIABLE: str(Path(cache).absolute())} if cache else {})


@dataclass(frozen=True)
class KernelCache:
    """Where compiled kernels are kept, or why they cannot be."""

    folder: str
    problem: str


def kernel_cache() -> KernelCache:
    """Import the kernels; where they cannot be kept, they are for this process alone, so that the rest can be looked at."""
    try:
        from v50calib.kernels.fused import extreme_codes
    except RuntimeError as exc:
        if (told := no_cache(exc)) is None:
            return KernelCache("", str(exc).splitlines()[0])
        from numba.core import config

        folder = tempfile.mkdtemp(prefix="v50calib-doctor-")
        setattr(config, "CACHE_DIR", folder)  # noqa: B010 - an attribute that numba makes when it is imported
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        return KernelCache("", str(told))
    try:
        kept = Path(str(extreme_codes.stats.cache_path))
        kept.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=kept):
            return KernelCache(str(kept), "")
    except OSError as exc:
        return KernelCache("", str(exc))
