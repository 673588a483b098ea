"""Peak resident memory of a worker and of ingest, for a full visit and one four times as long.

    python -m benchmarks.memory [--work DIR] [--factors 1 4] [--frames-fraction 1.0] [--write PAGE ...]

The longer visit repeats every pair of reads of a simulated one: the same light curve at a higher cadence. Every
figure is VmHWM of a fresh process: a worker process that calibrated both instruments, or the process that ran ingest.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.report import machine, status_mb, worker_environment, write_between

CASES = ("calibrate parquet", "calibrate zarr", "ingest")


def longer(source: Path, out: Path, factor: int) -> Path:
    """A dataset of one visit with `factor` times the frames of the first planet of `source`, in one row group a file."""
    planet = min(p.name for p in (source / "train").iterdir())
    shutil.copytree(source / "train" / planet, out / "train" / planet, ignore=shutil.ignore_patterns("*_signal_*"))
    for table in source.glob("*.csv"):
        shutil.copy(table, out)
    for path in sorted((source / "train" / planet).glob("*_signal_0.parquet")):
        table = pq.read_table(path)
        columns = [pa.array(c.to_numpy().reshape(-1, 2).repeat(factor, axis=0).ravel()) for c in table.columns]
        # as the simulator and the challenge write them: one row group, zstd
        pq.write_table(
            pa.table(columns, names=table.column_names), out / "train" / planet / path.name,
            compression="zstd", compression_level=1, use_dictionary=False, row_group_size=table.num_rows * factor,
        )  # fmt: skip
        del table, columns
    axes = pq.read_table(source / "axis_info.parquet").to_pandas()
    stretched = {}
    for name in axes:
        values = axes[name].dropna().to_numpy()
        if name.endswith("axis0-h"):
            pairs = np.linspace(values[0], values[-1], len(values) // 2 * factor, endpoint=False)
            values = (pairs[:, None] + (pairs[1] - pairs[0]) * np.array([0.2, 0.4])).ravel()
        elif name.endswith("integration_time"):
            values = np.tile(values, factor)
        stretched[name] = np.concatenate([values, np.full(len(axes) * factor - len(values), np.nan)])
    pq.write_table(pa.table({n: pa.array(v, from_pandas=True) for n, v in stretched.items()}), out / "axis_info.parquet")
    return out


def run(case: str, data: Path, store: Path, out: Path) -> dict[str, float]:
    """One case in this process; returns peak MB and seconds. A calibration runs in one worker process of its own."""
    import time

    from v50calib import calibrate
    from v50calib.config import load
    from v50calib.io import ingest
    from v50calib.runtime.cluster import open_client

    shutil.rmtree(out, ignore_errors=True)
    begun = time.perf_counter()
    if case == "ingest":
        report = ingest(data, out)
        if not report.ok:
            raise RuntimeError(str(report.failed))
        return {"peak_mb": status_mb("VmHWM"), "seconds": time.perf_counter() - begun}
    config = load("calib/nominal", ["runtime.num_workers=1"])
    with open_client(config.runtime) as client:
        begun = time.perf_counter()
        summary = calibrate(data if case == "calibrate parquet" else store, out, config=config, client=client)
        seconds = time.perf_counter() - begun
        if summary.failed:
            raise RuntimeError(summary.failed[0].traceback)
        return {"peak_mb": max(client.run(status_mb, "VmHWM").values()), "seconds": seconds}


def measure(case: str, data: Path, store: Path, out: Path) -> dict[str, float]:
    """`run` in a fresh process with the workers' environment."""
    command = [sys.executable, "-m", "benchmarks.memory", "--run", case, str(data), str(store), str(out)]
    done = subprocess.run(command, env=worker_environment(), capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"'{case}' of {data} failed:\n{done.stderr[-2000:]}")
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=None, help="where data and runs are kept (default: a temporary folder)")
    parser.add_argument("--factors", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--frames-fraction", type=float, default=1.0)
    parser.add_argument("--write", type=Path, nargs="+", default=[], help="put the table between the memory marks of these files")
    parser.add_argument("--run", nargs=4, metavar=("CASE", "DATA", "STORE", "OUT"), help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.run:
        print(json.dumps(run(args.run[0], *map(Path, args.run[1:]))))
        return
    from benchmarks.headline import prepare
    from v50calib.io import ingest

    lines = [
        f"Nominal, one worker with one thread, both instruments. {machine()}.",
        "",
        "| case | visit | peak MB | s |",
        "| --- | ---: | ---: | ---: |",
    ]
    with tempfile.TemporaryDirectory() as scratch:
        work = args.work or Path(scratch)
        work.mkdir(parents=True, exist_ok=True)
        data, store = prepare(work, args.frames_fraction)
        for factor in args.factors:
            root, raw = (data, store) if factor == 1 else (work / f"data-{factor}x", work / f"raw-{factor}x.zarr")
            if not (root / "axis_info.parquet").exists():
                longer(data, root, factor)
            if not raw.exists():
                ingest(root, raw)
            for case in CASES:
                found = measure(case, root, raw, work / "out")
                lines.append(f"| {case} | {factor} x | {found['peak_mb']:.0f} | {found['seconds']:.1f} |")
                print(lines[-1], file=sys.stderr, flush=True)
    print("\n".join(lines))
    for page in args.write:
        write_between(page, "memory", "\n".join(lines))


if __name__ == "__main__":
    main()
