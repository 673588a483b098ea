"""Environment variables of worker processes."""

from __future__ import annotations

#: what worker processes start with. One thread a task: libraries that start their own would only compete. Freed memory
#: is kept (Dask's default gives it back at once): a visit's arrays of 10 MB come and go, and mapping them anew costs more
#: than filling them.
WORKER_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "MALLOC_TRIM_THRESHOLD_": str(2**27),
    "MALLOC_MMAP_THRESHOLD_": str(2**25),
}
