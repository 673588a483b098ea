"""Where tasks run: processes or threads of this machine, jobs of a queue, pods, or a scheduler that already runs."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import dask
from distributed import Client, LocalCluster
from distributed.security import Security

from v50calib.config.runtime import QUEUES, RuntimeConfig
from v50calib.errors import ClusterError, refuse_in_a_daemon
from v50calib.io.storage.machine import cores, memory_limit
from v50calib.runs.stop import STOP
from v50calib.runtime.certificates import security
from v50calib.runtime.environment import WORKER_ENVIRONMENT
from v50calib.runtime.queues import kubernetes_cluster, queue_cluster

#: events and transitions that a scheduler started here remembers
LOG_LENGTH = 100
LOOPBACK = "127.0.0.1"
#: loggers that tell of connections, and what they say when one is closed
_TALKING = ("distributed", "tornado", "asyncio")
_CLOSING = ("CommClosedError", "CancelledError", "StreamClosedError", "Stream is closed", "Connection closed", "Worker process")


def n_workers(runtime: RuntimeConfig) -> int:
    """Number of worker processes: as configured, else the cores of this machine over `threads_per_worker`.

    >>> n_workers(RuntimeConfig(num_workers=3))
    3
    """
    return runtime.num_workers or max(1, cores() // runtime.threads_per_worker)


def auto_memory(runtime: RuntimeConfig) -> int:
    """Memory of a worker process with runtime.memory_limit=auto, bytes: this machine's, or this job's, shared by the workers.

    Dask's own `auto` looks at the outermost control group only, and not at that of a job.
    """
    runtime = runtime.processes
    workers = n_workers(runtime) if runtime.scheduler == "local" else 1
    share = min(1.0, runtime.threads_per_worker / cores()) if runtime.scheduler == "local" else 1.0
    return int(memory_limit() * (share if workers <= cores() else 1 / workers))


def dask_settings(runtime: RuntimeConfig) -> dict[str, Any]:
    """Settings of schedulers, workers and connections that this process starts."""
    return {
        "distributed.scheduler.allowed-failures": runtime.allowed_failures,
        # by default Dask waits for ever
        "distributed.scheduler.no-workers-timeout": f"{runtime.worker_timeout_s} s",
        "distributed.comm.timeouts.connect": f"{runtime.comm_timeout_s} s",
        "distributed.comm.timeouts.tcp": f"{max(runtime.comm_timeout_s, 11)} s",
        "distributed.nanny.pre-spawn-environ": WORKER_ENVIRONMENT,
        "distributed.worker.memory.spill": False,
        # else the scheduler's record of past transitions and events grows by 60 kB per visit, up to 100,000 of each
        "distributed.admin.low-level-log-length": LOG_LENGTH,
        "distributed.admin.log-length": LOG_LENGTH,
    }


#: what a script must do for worker processes to start
_GUARD = (
    'worker processes import the script that starts them, so a script calls calibrate below `if __name__ == "__main__":` and is a file '
    "(not standard input); runtime.scheduler=threads needs neither"
)


def refuse_in_a_starting_worker() -> None:
    """Raises SystemExit in a worker process that is still importing the script which calls this: it would start a run of its own."""
    # multiprocessing makes the same check; any other exception would be printed by every worker with its traceback
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        raise SystemExit(f"v50calib.calibrate: {_GUARD}")


@contextmanager
def open_client(runtime: RuntimeConfig) -> Iterator[Client]:
    """A Dask client for `runtime.scheduler`; a cluster that this starts is stopped at the end.

    Raises ConfigError: files or an optional package are missing; ClusterError: no scheduler answers; RunInterruptedError: a signal to
    the whole group has ended the workers while they started.
    """
    runtime = runtime.processes
    certificates = security(runtime)
    with dask.config.set(dask_settings(runtime)), ExitStack() as stack:
        ending = stack.enter_context(_quiet_end())
        if runtime.is_address:
            target: Any = runtime.scheduler
        else:
            try:
                cluster = _cluster(runtime, certificates)
            except Exception as exc:
                if STOP:
                    raise STOP.error() from exc
                raise
            target = stack.enter_context(_stopping(cluster))
        try:
            client = stack.enter_context(Client(target, security=certificates, timeout=runtime.comm_timeout_s))
        except (OSError, TimeoutError) as exc:
            if STOP:
                raise STOP.error() from exc
            raise ClusterError(
                f"no Dask scheduler answers at {runtime.scheduler} ({str(exc).splitlines()[0]}): start one "
                "('dask scheduler'), correct the address, or use runtime.scheduler=local"
            ) from exc
        yield client
        # only here: what is said around a failure may be its cause
        ending()


@contextmanager
def _quiet_end() -> Iterator[Callable[[], None]]:
    """Gives a function to call when the work is done: from then to the end of this context Dask does not tell of closed connections.

    Workers are killed and connections cut on purpose, and each cut would be told as CommClosedError or CancelledError with a traceback.
    """
    hushed: list[logging.Logger] = []

    def end() -> None:
        hushed.extend(logging.getLogger(name) for name in list(logging.root.manager.loggerDict) if name.partition(".")[0] in _TALKING)
        for logger in hushed:
            logger.addFilter(_not_of_closing)

    try:
        yield end
    finally:
        for logger in hushed:
            logger.removeFilter(_not_of_closing)


def _not_of_closing(record: logging.LogRecord) -> bool:
    """Whether a record is to be shown: all but those of connections and tasks that end."""
    kind = record.exc_info[0] if record.exc_info else None
    words = f"{record.getMessage()} {kind.__name__ if kind is not None else ''}"
    return not any(word in words for word in _CLOSING)


def _cluster(runtime: RuntimeConfig, certificates: Security | None) -> Any:
    if runtime.scheduler in QUEUES:
        cluster = queue_cluster(runtime, certificates)
    elif runtime.scheduler == "kubernetes":
        cluster = kubernetes_cluster(runtime)
    else:
        if runtime.scheduler == "local":
            refuse_in_a_daemon("runtime.scheduler=local", "runtime.scheduler=threads or sync")
        try:
            cluster = _local_cluster(runtime, certificates)
        except RuntimeError as exc:
            if runtime.scheduler != "local":
                raise
            raise ClusterError(f"no worker process could be started ({exc}): {_GUARD}") from exc
    if runtime.adaptive.enabled:
        cluster.adapt(minimum=runtime.adaptive.minimum, maximum=runtime.adaptive.maximum or runtime.num_workers or n_workers(runtime))
    return cluster


def _local_cluster(runtime: RuntimeConfig, certificates: Security | None) -> LocalCluster:
    off = runtime.dashboard == "off"
    processes, workers = runtime.scheduler == "local", n_workers(runtime)
    # threads communicate in memory, processes on loopback
    network: dict[str, Any] = {"host": LOOPBACK} if processes else {}
    if processes and certificates is not None:
        network |= {"security": certificates, "protocol": "tls"}
    return LocalCluster(
        n_workers=workers if processes else 1,
        threads_per_worker=runtime.threads_per_worker if processes else workers * runtime.threads_per_worker,
        processes=processes,
        dashboard_address=f"{LOOPBACK}:0" if off else runtime.dashboard,
        # even without a dashboard both have an HTTP server, for health and metrics, on all interfaces by default
        scheduler_kwargs={"dashboard": not off},
        worker_dashboard_address=f"{LOOPBACK}:0",
        memory_limit=auto_memory(runtime) if runtime.memory_limit == "auto" else runtime.memory_limit,
        **network,
    )


@contextmanager
def _stopping(cluster: Any) -> Iterator[Any]:
    """The cluster, closed at the end. Worker processes of this machine are killed first: they have nothing left to do, or the
    run was stopped and must not wait for their visits; the next run removes their leftovers."""
    with cluster:
        try:
            yield cluster
        finally:
            for nanny in cluster.workers.values() if isinstance(cluster, LocalCluster) else ():
                pid = getattr(nanny, "pid", None)
                if isinstance(pid, int) and pid != os.getpid():
                    nanny.auto_restart = False
                    _kill(pid)


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
