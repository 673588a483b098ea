"""Environment variables of worker processes."""

from __future__ import annotations

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
