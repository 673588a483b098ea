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
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

INSTRUMENTS = {"AIRS-CH0": (32, 356), "FGS1": (32, 32)}
READS = {"AIRS-CH0": (0.1, 4.6), "FGS1": (0.1, 0.2)}

Case = Callable[[Path, Path, Path], None]


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
    """Floor: every chunk of the raw store decoded, nothing kept."""
    import zarr

    for instrument in INSTRUMENTS:
        array = zarr.open_array(store / "train" / planet(data) / "0" / instrument / "raw_frames", mode="r")
        step = array.chunks[0]
        for start in range(0, array.shape[0], step):
            array[start : start + step]


def read_parquet(data: Path, store: Path, out: Path) -> None:
    """Floor: pyarrow's own read of the two files into row-major NumPy arrays."""
    for instrument, (ny, nx) in INSTRUMENTS.items():
        table = pq.read_table(data / "train" / planet(data) / f"{instrument}_signal_0.parquet")
        np.ascontiguousarray(table.to_pandas().to_numpy()).reshape(-1, ny, nx)


def _calibrate(root: Path, out: Path, profile: str) -> None:
    from v50calib import calibrate

    shutil.rmtree(out, ignore_errors=True)
    summary = calibrate(root, out, profile=f"calib/{profile}", overrides=["runtime.scheduler=sync"])
    if summary.failed:
        raise RuntimeError(summary.failed[0].error)


def frame_domain(data: Path, store: Path, out: Path) -> None:
    """adc … photometry of every pair from the store, sums and bins in memory; nothing written."""
    from v50calib import Pipeline
    from v50calib.io import open_source, scan
    from v50calib.runtime.visit import CHUNK_PAIRS, visit_of

    pipeline = Pipeline.from_profile("calib/nominal")
    for key in scan(store):
        source = open_source(store, key)
        frame = pipeline.prepare(visit_of(source), source.frames.read)
        for start, block in source.frames.blocks(2 * CHUNK_PAIRS[key.instrument]):
            pipeline.run_chunk(frame, block, start // 2)


def numpy_recipe(data: Path, store: Path, out: Path) -> None:
    """The published procedure as a NumPy script: whole-visit float64 arrays, linearity pixel by pixel with poly1d."""
    for instrument, (ny, nx) in INSTRUMENTS.items():
        folder = data / "train" / planet(data)

        def table(name: str, folder: Path = folder, instrument: str = instrument) -> np.ndarray:
            return pd.read_parquet(folder / f"{instrument}_calibration_0" / f"{name}.parquet").to_numpy()

        signal = pd.read_parquet(folder / f"{instrument}_signal_0.parquet").to_numpy().reshape(-1, ny, nx)
        adc = pd.read_csv(data / "adc_info.csv").iloc[0]
        signal = signal / adc[f"{instrument}_adc_gain"] + adc[f"{instrument}_adc_offset"]
        cut = slice(39, 321) if instrument == "AIRS-CH0" else slice(None)
        signal = signal[:, :, cut]
        coef = np.flip(table("linear_corr").reshape(6, ny, nx)[:, :, cut], axis=0)
        for y in range(ny):
            for x in range(signal.shape[2]):
                signal[:, y, x] = np.poly1d(coef[:, y, x])(signal[:, y, x])
        dark, dead, flat = (table(n)[:, cut] for n in ("dark", "dead", "flat"))
        kept = dark[np.abs(dark - np.median(dark)) < 5 * dark.std()]
        masked = dead.astype(bool) | (np.abs(dark - np.median(kept)) > 5 * kept.std())
        signal -= dark * np.tile(READS[instrument], len(signal) // 2)[:, None, None]
        cds = signal[1::2] - signal[0::2]
        del signal
        per_bin = 30 if instrument == "AIRS-CH0" else 360
        whole = len(cds) // per_bin * per_bin
        binned = cds[:whole].reshape(-1, per_bin, *cds.shape[1:]).sum(axis=1)
        with np.errstate(divide="ignore", invalid="ignore"):
            binned = np.where(masked, np.nan, binned / flat)
        out.mkdir(parents=True, exist_ok=True)
        np.save(out / f"{instrument}.npy", binned)


CASES: dict[str, Case] = {
    "decode zarr": decode_zarr,
    "read parquet (pyarrow)": read_parquet,
    "frame domain from zarr": frame_domain,
    "fast from zarr": lambda data, store, out: _calibrate(store, out, "fast"),
    "nominal from zarr": lambda data, store, out: _calibrate(store, out, "nominal"),
    "strict from zarr": lambda data, store, out: _calibrate(store, out, "strict"),
    "fast from parquet": lambda data, store, out: _calibrate(data, out, "fast"),
    "nominal from parquet": lambda data, store, out: _calibrate(data, out, "nominal"),
    "strict from parquet": lambda data, store, out: _calibrate(data, out, "strict"),
    "NumPy recipe": numpy_recipe,
}


def peer_available() -> bool:
    """True where the package ariel-data-preprocessing is installed beside v50calib."""
    return find_spec("ariel_data_preprocessing") is not None


def peak_mb() -> float:
    """Peak resident memory of this process. Linux's VmHWM where there is one: ru_maxrss survives exec and shows the parent's."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(v for v in status.read_text().splitlines() if v.startswith("VmHWM"))
        return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    name, data, store, out, repeats = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), Path(sys.argv[4]), int(sys.argv[5])
    limit_threads()
    case = CASES[name]
    wall, cpu = [], []
    for i in range(repeats + (repeats > 1)):
        w, c = time.perf_counter(), time.process_time()
        case(data, store, out)
        if i or repeats == 1:
            wall.append(time.perf_counter() - w)
            cpu.append(time.process_time() - c)
    print(json.dumps({"wall": wall, "cpu": cpu, "peak_mb": peak_mb()}))


if __name__ == "__main__":
    main()
