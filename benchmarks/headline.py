"""The headline table: one visit of full length, both instruments, every case in one run on one machine.

    python -m benchmarks.headline [--work DIR] [--repeats 5] [--threads 1] [--frames-fraction 1.0] [--full] [--write PAGE ...]

Each case runs in a process of its own, is warmed up once (compiled kernels cached, files in the page cache) and
repeated; the medians are printed with their ratio to the decode floor. The order is cycled through by case, not
interleaved: run it on an idle machine.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import finished, peer
from benchmarks.cases import CASES, FLOOR, OPEN, PLAIN, PLAIN_FLOOR, plain_of, write_plain
from benchmarks.report import machine, worker_environment, write_between

RECIPE = "NumPy recipe"
SLOW = (RECIPE, peer.NAME)


def prepare(work: Path, fraction: float, *, full: bool = False) -> tuple[Path, Path]:
    """The simulated visit as the challenge's parquet, with plain pages beside it, and as a raw store, and runs; kept for the next call."""
    from v50calib.io import ingest
    from v50calib.simulate import simulate_dataset

    data, store = work / "data", work / "raw.zarr"
    if not data.exists():
        simulate_dataset(data, planets=1, frames_fraction=fraction, seed=3)
    if not plain_of(data).exists():
        write_plain(data)
    if not store.exists():
        ingest(data, store)
    finished.make_run(store)
    if full:
        finished.make_large_run(store)
    return data, store


def run_case(name: str, data: Path, store: Path, out: Path, repeats: int, threads: int) -> dict[str, Any]:
    """Medians of one case, measured in a fresh process."""
    command = [sys.executable, "-m", "benchmarks.cases", name, str(data), str(store), str(out), str(repeats)]
    done = subprocess.run(command, env=worker_environment(threads), capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"case '{name}' failed:\n{done.stderr[-2000:]}")
    found = json.loads(done.stdout.splitlines()[-1])
    return {"name": name, "wall": median(found["wall"]), "cpu": median(found["cpu"]), "peak_mb": found["peak_mb"], "n": len(found["wall"])}


def table(rows: list[dict[str, Any]], threads: int) -> str:
    """Markdown table with ratios to the decode floor (Zarr rows), the pyarrow floor of the same pages (parquet rows) and the recipe."""
    by_name = {r["name"]: r for r in rows}
    zarr_floor, parquet_floor = by_name["decode zarr"]["wall"], by_name[FLOOR]["wall"]
    plain_floor = by_name.get(PLAIN_FLOOR, {}).get("wall", parquet_floor)
    recipe = by_name.get(RECIPE, {}).get("wall")
    repeats = ", ".join(f"{r['name']}: {r['n']}" for r in rows if r["name"] in SLOW)
    lines = [
        (
            f"One simulated visit, both instruments, {threads} thread{'s' if threads > 1 else ''}; "
            f"median of {rows[0]['n']}{f' ({repeats})' if repeats else ''}. {machine()}."
        ),
        "",
        "| case | s | cpu s | peak MB | / decode Zarr | / pyarrow | NumPy recipe / it |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for r in rows:
        faster = f"{recipe / r['wall']:.0f}" if recipe else ""
        lines.append(
            f"| {r['name']} | {r['wall']:.2f} | {r['cpu']:.2f} | {r['peak_mb']:.0f} | {r['wall'] / zarr_floor:.2f} | "
            f"{r['wall'] / (plain_floor if PLAIN in r['name'] else parquet_floor):.2f} | {faster} |"
        )
    if peer.problem():
        lines.append(f"| {peer.NAME} | {peer.problem()} | | | | | |")
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> list[dict[str, Any]]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=None, help="where data and runs are kept (default: a temporary folder)")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, nargs="+", default=[1], help="cores and threads of every case; several: one table each")
    parser.add_argument("--frames-fraction", type=float, default=1.0)
    parser.add_argument("--full", action="store_true", help=f"also: {OPEN}")
    parser.add_argument("--only", nargs="*", default=None, help="names of cases")
    parser.add_argument("--write", type=Path, nargs="+", default=[], help="put the table between the headline marks of these files")
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as scratch:
        work = args.work or Path(scratch)
        work.mkdir(parents=True, exist_ok=True)
        data, store = prepare(work, args.frames_fraction, full=args.full)
        runs = [measure(args, threads, data, store, work / "out") for threads in args.threads]
    text = "\n\n".join(table(rows, threads) for rows, threads in zip(runs, args.threads, strict=True))
    print(text)
    for page in args.write:
        write_between(page, "headline", text)
    return [row for rows in runs for row in rows]


def measure(args: argparse.Namespace, threads: int, data: Path, store: Path, out: Path) -> list[dict[str, Any]]:
    """Every case asked for, each in a process of its own with `threads` cores."""
    rows = []
    for name in CASES:
        if (name == peer.NAME and peer.problem()) or (name == OPEN and not args.full):
            continue
        if args.only and name not in (*args.only, "decode zarr", FLOOR, PLAIN_FLOOR):
            continue
        rows.append(run_case(name, data, store, out, 1 if name in SLOW else args.repeats, threads))
        print(f"{name}, {threads} threads: {rows[-1]['wall']:.3f} s", file=sys.stderr, flush=True)
    return rows


if __name__ == "__main__":
    main()
