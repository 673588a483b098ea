"""How much memory a visit needs in a worker, compared with what a worker has, before anything is computed.

The peak of a visit is the sum of the decoded frames that are held at once (a parquet file is one row group, decoded as a
whole; a store gives one chunk), the light curves in the several forms that the series domain keeps, and the cubes that
the config asks for. The factors are fitted to peaks measured on full-length visits (docs/how-to/cluster.md has both) and
give a little more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from dask.utils import format_bytes, parse_bytes
from distributed import Client

from v50calib.config.models import RunConfig
from v50calib.config.runtime import QUEUES, RuntimeConfig
from v50calib.errors import ConfigError, DataError
from v50calib.io.catalog import open_root
from v50calib.io.challenge.parquet import IN_MEMORY_BYTES
from v50calib.io.root import Root
from v50calib.io.storage.machine import memory_limit, memory_limits
from v50calib.runtime.cluster import auto_memory, n_workers
from v50calib.runtime.inputs import spread
from v50calib.runtime.job import Job

#: a worker process with all modules imported and kernels compiled, bytes
BASE = 400 * 2**20
#: float64 copies of each sample of the light curves, and of a value per pair, in the series domain and for the product
SERIES_COPIES, PAIR_COPIES = 11, 40
#: float64 copies of a cube's bins: sums of the chunks, joined sums, variances
CUBE_COPIES = 3
#: copies of full-cadence frames: of the chunks, joined
FULL_COPIES = 2.2
#: memory for the frames of a parquet file and the buffers of its decoding, over the raw bytes
DECODED = 1.6
#: buffers of a file that is too large for memory and is decoded into a temporary file, bytes
SPILLED = 128 * 2**20
#: fraction of the limit at which a nanny ends its worker (Dask's default)
USABLE = 0.95


@dataclass(frozen=True)
class Need:
    """Projected peak of one visit, bytes, and its parts."""

    instrument: str
    base: int
    frames: int
    series: int
    cubes: int

    @property
    def total(self) -> int:
        return self.base + self.frames + self.series + self.cubes

    def __str__(self) -> str:
        parts = f"{format_bytes(self.frames)} frames, {format_bytes(self.series)} light curves, {format_bytes(self.cubes)} cubes"
        return f"{format_bytes(self.total)} for a visit of {self.instrument} ({format_bytes(self.base)} for the process, {parts})"


def projected(job: Job, root: Root) -> Need:
    """The memory that one visit needs. Raises DataError where it cannot be opened."""
    source = root.open(job.key)
    frames, output = source.frames, job.config.output
    ny, nx = frames.shape
    pairs = frames.n_frames // 2
    raw = 2 * frames.n_frames * ny * nx
    chunk = 4 * job.chunk_pairs(source.instrument) * ny * nx
    if root.whole_files:
        held = int(DECODED * raw) if raw <= IN_MEMORY_BYTES else SPILLED + 2 * chunk
    else:
        held = 2 * max(chunk, 2 * max(frames.units) * ny * nx)
    channels = nx if source.instrument.band_um is None else 1
    item = 8 if output.dtype == "float64" else 4
    bins = 0
    if output.binned_cube:
        span_s = 3600.0 * float(source.time_h[-1] - source.time_h[0])
        bins = min(pairs, int(span_s / output.bin_s) + 1)
    cubes = CUBE_COPIES * 8 * bins * ny * nx
    series = 8 * pairs * (SERIES_COPIES * channels + PAIR_COPIES)
    if output.full_cube:
        cubes += int(FULL_COPIES * item * pairs * ny * nx)
    return Need(job.key.instrument, BASE, held, series, cubes)


def check_memory(config: RunConfig, jobs: Sequence[Job], client: Client | None = None) -> list[Need]:
    """The need of the first visit of each instrument that can be opened, of a few; visits of a dataset are alike.

    Where none of these can be opened, nothing is known of that instrument: the run itself reports why.
    Raises ConfigError with the numbers where a worker has too little memory for the visits of its threads.
    """
    limit, threads, said = _worker_limit(config.runtime, client)
    root = open_root(jobs[0].root)
    instruments = dict.fromkeys(job.key.instrument for job in jobs)
    looks = {name: spread([job for job in jobs if job.key.instrument == name]) for name in instruments}
    firsts = [next(filter(None, (_need(job, root) for job in few)), None) for few in looks.values()]
    # the largest first: it is the one that a refusal names
    needs = sorted((need for need in firsts if need is not None), key=lambda need: -need.total)
    for need in needs:
        wanted = need.base + threads * (need.total - need.base)
        if limit is not None and wanted > USABLE * limit:
            together = f", {threads} at once {format_bytes(wanted)}" if threads > 1 else ""
            less = "ingest the dataset into a raw Zarr store first (v50calib ingest: frames come in chunks), " if root.whole_files else ""
            raise ConfigError(
                f"too little memory: {need}{together}, but a worker has {format_bytes(limit)} ({said}) and is ended at "
                f"{USABLE:.0%} of it; raise the limit, use fewer workers or threads, {less}or ask for less (output.cubes=none)"
            )
    return needs


def _need(job: Job, root: Root) -> Need | None:
    """What a visit needs; None if it cannot be opened, which is recorded as that visit's failure."""
    try:
        return projected(job, root)
    except (DataError, OSError):
        return None


def _worker_limit(runtime: RuntimeConfig, client: Client | None) -> tuple[int | None, int, str]:
    """(memory of a worker process, bytes, or None without a limit; visits that it works on at once; source of the numbers)."""
    if client is not None:
        workers: dict[str, Any] = client.scheduler_info(n_workers=-1)["workers"]
        limits = [(w["memory_limit"], w["nthreads"]) for w in workers.values() if w.get("memory_limit")]
        if not limits:
            return None, 1, "the scheduler names no limit"
        limit, threads = min(limits, key=lambda pair: pair[0] / pair[1])
        return int(limit), int(threads), "reported by the scheduler"
    if runtime.scheduler in QUEUES:
        queue = runtime.queue
        return parse_bytes(queue.memory) // queue.processes, queue.cores // queue.processes, "runtime.queue.memory / processes"
    if runtime.scheduler == "kubernetes":
        return parse_bytes(runtime.kubernetes.memory), runtime.threads_per_worker, "runtime.kubernetes.memory"
    if runtime.scheduler == "sync":
        return memory_limit(), runtime.threads_per_worker, _whose_memory()
    together = n_workers(runtime) * runtime.threads_per_worker if runtime.scheduler == "threads" else runtime.threads_per_worker
    if runtime.memory_limit != "auto":
        return parse_bytes(runtime.memory_limit), together, "runtime.memory_limit"
    return auto_memory(runtime), together, f"runtime.memory_limit=auto: {_whose_memory()}, shared"


def _whose_memory() -> str:
    """Words that name what limits this process's memory."""
    narrow = min(memory_limits(), default=None)
    return "this job's or container's memory" if narrow is not None and narrow <= memory_limit() else "this machine's memory"
