"""Where tasks run: worker processes of this machine, threads, or a scheduler that is already there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import dask
from distributed import Client, LocalCluster

from v50calib.config.models import RuntimeConfig

#: what worker processes start with. One thread a task: libraries that start their own would only compete. Freed memory
#: is kept (Dask's default gives it back at once): a visit's arrays of 10 MB come and go, and mapping them anew costs more
#: than filling them.
_WORKER_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "MALLOC_TRIM_THRESHOLD_": str(2**27),
    "MALLOC_MMAP_THRESHOLD_": str(2**25),
}


def cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def open_client(runtime: RuntimeConfig) -> Iterator[Client]:
    """A Dask client for `runtime.scheduler`; what this starts is stopped on leaving. Listens on loopback only."""
    if runtime.scheduler.startswith(("tcp://", "tls://")):
        with Client(runtime.scheduler) as client:
            yield client
        return
    workers = runtime.num_workers or max(1, cores() // runtime.threads_per_worker)
    settings = {
        "distributed.scheduler.allowed-failures": 2,
        "distributed.nanny.pre-spawn-environ": _WORKER_ENVIRONMENT,
        "distributed.worker.memory.spill": False,
    }
    with dask.config.set(settings):
        processes = runtime.scheduler == "local"
        # threads talk in memory and listen nowhere; processes on loopback
        place = {"host": "127.0.0.1"} if processes else {}
        cluster = LocalCluster(
            n_workers=workers if processes else 1,
            threads_per_worker=runtime.threads_per_worker if processes else workers * runtime.threads_per_worker,
            processes=processes,
            dashboard_address="127.0.0.1:0",
            memory_limit=runtime.memory_limit,
            **place,
        )
        with cluster, Client(cluster) as client:
            yield client
