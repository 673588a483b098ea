"""runtime.scheduler=auto: threads of this process for a small job, worker processes for any other."""

from __future__ import annotations

import multiprocessing
from collections.abc import Sequence

from dask.utils import format_bytes

from v50calib.config.models import RunConfig
from v50calib.config.runtime import RuntimeConfig
from v50calib.errors import ConfigError, V50CalibError
from v50calib.io.catalog import open_root
from v50calib.runtime.inputs import spread
from v50calib.runtime.job import Job
from v50calib.runtime.memory import check_memory

#: raw frames, bytes, below which a job is done by threads before worker processes have started and imported everything: about two
#: visits of full length with both instruments
SMALL = 10**9


def chosen(config: RunConfig, jobs: Sequence[Job]) -> tuple[RunConfig, str]:
    """The config with a scheduler in place of `auto`, and what is told of the choice; an explicit scheduler stays and nothing is told.

    jobs: the visits that are left. Whoever has asked for workers (their number, threads or memory) gets worker processes.
    """
    runtime = config.runtime
    if runtime.scheduler != "auto" or not jobs:
        return config, ""
    processes, threads = _with(config, "local"), _with(config, "threads")
    if _workers_asked(runtime):
        return processes, ""
    size = frame_bytes(jobs)
    if multiprocessing.current_process().daemon or (size is not None and size <= SMALL and _fits(threads, jobs)):
        told = f"{len(jobs)} visits x instruments, {format_bytes(size or 0)} of frames: threads of this process were used"
        return threads, f"{told} (runtime.scheduler=local starts worker processes)"
    return processes, ""


def frame_bytes(jobs: Sequence[Job]) -> int | None:
    """Raw frames of all jobs, bytes, by the first visit of each instrument that can be opened; None where an instrument has none."""
    root, total = open_root(jobs[0].root), 0
    for name in dict.fromkeys(job.key.instrument for job in jobs):
        mine = [job for job in jobs if job.key.instrument == name]
        for job in spread(mine):
            try:
                frames = root.open(job.key).frames
            except (V50CalibError, OSError):
                continue
            ny, nx = frames.shape
            total += len(mine) * 2 * frames.n_frames * ny * nx
            break
        else:
            return None
    return total


def _workers_asked(runtime: RuntimeConfig) -> bool:
    asked = runtime.num_workers, runtime.adaptive.enabled, runtime.threads_per_worker > 1, runtime.memory_limit != "auto"
    return any(asked)


def _fits(config: RunConfig, jobs: Sequence[Job]) -> bool:
    """Whether one process has the memory for the visits of all its threads."""
    try:
        check_memory(config, jobs)
    except ConfigError:
        return False
    return True


def _with(config: RunConfig, scheduler: str) -> RunConfig:
    return config.model_copy(update={"runtime": config.runtime.model_copy(update={"scheduler": scheduler})})
