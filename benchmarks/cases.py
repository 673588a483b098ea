"""What the benchmarks run: each case is a function of (data, store, out) on one visit, both instruments.

`python -m benchmarks.cases NAME DATA STORE OUT REPEATS` runs one case in this process, warms it up once and prints
JSON: wall and cpu seconds of every repeat and the process's peak memory.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from benchmarks import finished, peer
from benchmarks.report import status_mb

INSTRUMENTS = {"AIRS-CH0": (32, 356), "FGS1": (32, 32)}

Case = Callable[[Path, Path, Path], None]

#: of a run that takes a minute to make: measured with --full only
OPEN = f"open a run of {finished.PRODUCTS} products"

#: the challenge's files have dictionary-encoded pages, as Polars writes them; those of most other writers of noise are plain
PLAIN = "plain pages"
FLOOR, PLAIN_FLOOR = "read parquet (pyarrow)", f"read parquet (pyarrow), {PLAIN}"


def threads() -> int:
    """Threads that a case may use (BENCH_THREADS, default 1): decoding and calibrating get the same number."""
    return int(os.environ.get("BENCH_THREADS", "1"))


def limit_threads() -> None:
    """Pin this process to `threads()` cores, and tell the libraries that count cores for themselves."""
    import pyarrow as pa

    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: threads()])
    pa.set_cpu_count(threads())


def planet(data: Path) -> str:
    return min(p.name for p in (data / "train").iterdir())


def decode_zarr(data: Path, store: Path, out: Path) -> None:
    """Floor: every chunk of the raw store decoded by zarr, nothing kept; chunks are shared out over `threads()` threads."""
    import zarr

    zarr.config.set({"threading.max_workers": threads(), "async.concurrency": threads()})
    for instrument in INSTRUMENTS:
        array = zarr.open_array(store / "train" / planet(data) / "0" / instrument / "raw_frames", mode="r")
        step = array.chunks[0] * threads()
        for start in range(0, array.shape[0], step):
            array[start : start + step]


def decode_direct(data: Path, store: Path, out: Path) -> None:
    """The same chunks by the package's own reader of its shards, in `threads()` threads."""
    from v50calib.io import open_source, scan

    for key in scan(store):
        frames = open_source(store, key).frames
        starts = np.concatenate([[0], np.cumsum(frames.units)])
        with ThreadPoolExecutor(threads()) as pool:
            for _ in pool.map(lambda i, frames=frames, starts=starts: frames.read(starts[i], starts[i + 1]).size, range(len(frames.units))):
                pass


def plain_of(data: Path) -> Path:
    """The same dataset with plain pages."""
    return data.with_name(f"{data.name}-plain")


def write_plain(data: Path) -> None:
    """A copy of a dataset, its signal files with plain pages."""
    part = data.with_name(f".{data.name}-plain")
    shutil.rmtree(part, ignore_errors=True)
    shutil.copytree(data, part)
    for path in part.rglob("*_signal*.parquet"):
        table = pq.read_table(path)
        pq.write_table(table, path, compression="zstd", compression_level=1, use_dictionary=False, row_group_size=table.num_rows)
    part.rename(plain_of(data))


def read_parquet(data: Path, store: Path, out: Path) -> None:
    """Floor: pyarrow's own read of the two files into row-major NumPy arrays."""
    for instrument, (ny, nx) in INSTRUMENTS.items():
        table = pq.read_table(data / "train" / planet(data) / f"{instrument}_signal_0.parquet")
        np.ascontiguousarray(table.to_pandas().to_numpy()).reshape(-1, ny, nx)


@cache
def config(profile: str, *overrides: str) -> Any:
    """The composed profile: once a run of any number of visits, so not part of a visit's time."""
    from v50calib.config import load

    return load(f"calib/{profile}", ["runtime.scheduler=sync", f"runtime.threads_per_worker={threads()}", *overrides])


def _calibrate(root: Path, out: Path, profile: str, *overrides: str) -> None:
    from v50calib import calibrate

    summary = calibrate(root, out, config=config(profile, *overrides))
    if summary.failed:
        raise RuntimeError(summary.failed[0].error)


def frame_domain(data: Path, store: Path, out: Path) -> None:
    """adc … photometry of every pair from the store, sums and bins in memory; nothing written."""
    from v50calib import Pipeline
    from v50calib.io import open_source, scan
    from v50calib.runtime.job import visit_of

    pipeline = Pipeline(config("nominal"))
    for key in scan(store):
        source = open_source(store, key)
        frame = pipeline.engine.prepare(visit_of(source), source.frames.read)
        for start, block in source.frames.blocks(source.instrument.chunk_frames):
            pipeline.engine.run_chunk(frame, block, start // 2)


def numpy_recipe(data: Path, store: Path, out: Path) -> None:
    """The challenge's published procedure; see `benchmarks.recipe`."""
    from benchmarks.recipe import calibrate_planet

    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    calibrate_planet(data, planet(data), out)


def peer_package(data: Path, store: Path, out: Path) -> None:
    """The peer's own pipeline; see `benchmarks.peer`."""
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    peer.calibrate_root(data, out)


CASES: dict[str, Case] = {
    "decode zarr": decode_zarr,
    "decode zarr, own reader": decode_direct,
    FLOOR: read_parquet,
    PLAIN_FLOOR: lambda data, store, out: read_parquet(plain_of(data), store, out),
    "frame domain from zarr": frame_domain,
    "fast from zarr": lambda data, store, out: _calibrate(store, out, "fast"),
    "nominal from zarr": lambda data, store, out: _calibrate(store, out, "nominal"),
    "strict from zarr": lambda data, store, out: _calibrate(store, out, "strict"),
    "strict from zarr, no cubes": lambda data, store, out: _calibrate(store, out, "strict", "output.cubes=none"),
    "fast from parquet": lambda data, store, out: _calibrate(data, out, "fast"),
    "nominal from parquet": lambda data, store, out: _calibrate(data, out, "nominal"),
    f"nominal from parquet, {PLAIN}": lambda data, store, out: _calibrate(plain_of(data), out, "nominal"),
    "strict from parquet": lambda data, store, out: _calibrate(data, out, "strict"),
    "report of the nominal run": lambda data, store, out: finished.report(store, out),
    OPEN: lambda data, store, out: finished.open_large_run(store),
    "NumPy recipe": numpy_recipe,
    peer.NAME: peer_package,
}
#: what a case may do before it is timed, where it is not warmed up
PREPARE: dict[str, Callable[[], None]] = {peer.NAME: peer.load}


def peak_mb() -> float:
    """Peak resident memory of this process or of the largest of its children, MB."""
    return max(status_mb("VmHWM"), resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024)


def cpu_seconds() -> float:
    """Processor time of this process and of its children that have ended."""
    t = os.times()
    return t.user + t.system + t.children_user + t.children_system


def main() -> None:
    name, data, store, out, repeats = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), Path(sys.argv[4]), int(sys.argv[5])
    limit_threads()
    case = CASES[name]
    PREPARE.get(name, lambda: None)()
    wall, cpu = [], []
    for i in range(repeats + (repeats > 1)):
        here = out / str(i)
        w, c = time.perf_counter(), cpu_seconds()
        case(data, store, here)
        w, c = time.perf_counter() - w, cpu_seconds() - c
        if i or repeats == 1:
            wall.append(w)
            cpu.append(c)
    # not in between: for seconds after it, ext4 looks at every deleted file each time one is made (`recently_deleted`)
    for i in range(len(wall) + (repeats > 1)):
        shutil.rmtree(out / str(i), ignore_errors=True)
    print(json.dumps({"wall": wall, "cpu": cpu, "peak_mb": peak_mb()}))


if __name__ == "__main__":
    main()
