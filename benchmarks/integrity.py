"""What it costs that damaged bytes are found and that nobody else drives our workers: checksums of a raw store, TLS in a cluster.

    python -m benchmarks.integrity [--rounds 8] [--planets 6] [--frames-fraction 1.0] [--write PAGE ...]

Checksums: one planet's visit (FGS1 and AIRS-CH0) is calibrated by one thread under calib/nominal, in turn from a store as `ingest` makes
it and from one of the same frames without checksums of chunks and hashes of maps. TLS: runs of --planets such visits by one worker
process, in turn with the certificates that a run makes for itself and without (`runtime.tls.temporary=false`). Times are processor
seconds of the process and of its children, which other programs of the machine disturb less than the clock on the wall.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from unittest import mock

import numpy as np

from benchmarks.report import machine, worker_environment, write_between
from v50calib.io.ingestion import ingest
from v50calib.io.raw_store import group
from v50calib.simulate import simulate_dataset

MARK = "integrity"
#: a process of its own: what it and its children took, once the kernels are compiled
TIMED = """
import json, os, sys, time
from v50calib import calibrate
def spent():
    t = os.times()
    return t.user + t.system + t.children_user + t.children_system
if __name__ == "__main__":
    data, out, times, planets, *overrides = sys.argv[1:]
    planets = planets.split()
    if int(times) > 1:
        calibrate(data, out + "-first", "calib/nominal", overrides, planets=planets)
    before = spent()
    for i in range(int(times)):
        calibrate(data, f"{out}-{i}", "calib/nominal", overrides, planets=planets)
    print("SPENT", (spent() - before) / int(times) / len(planets))
"""


def spent(data: Path, out: Path, times: int, planets: Sequence[str], *overrides: str) -> float:
    """Processor seconds of calibrating a visit of these planets, the mean of `times` in one process."""
    words = [sys.executable, "-c", TIMED, str(data), str(out), str(times), " ".join(planets), "output.cubes=none", *overrides]
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=worker_environment(), stdin=subprocess.DEVNULL)
    if done.returncode:
        raise SystemExit(done.stderr[-2000:])
    return float(done.stdout.split("SPENT")[1])


def without_checksums(data: Path, store: Path) -> Path:
    """A raw store of the same frames in which no damage would be found."""
    with mock.patch.object(group, "CHECKSUMS", ()):
        ingest(data, store)
    for record in store.glob("*/*/*/*/zarr.json"):
        text = json.loads(record.read_text())
        del text["attributes"][group.HASHES_ATTR]
        record.write_text(json.dumps(text))
    return store


def paired(rounds: int, one: Callable[[int], float], other: Callable[[int], float]) -> tuple[float, float, float]:
    """Medians of both, in turn, and the standard error of their mean difference."""
    times = np.array([(one(i), other(i)) if i % 2 else (other(i), one(i))[::-1] for i in range(rounds)])
    difference = times[:, 0] - times[:, 1]
    return median(times[:, 0]), median(times[:, 1]), float(difference.std(ddof=1) / np.sqrt(rounds))


def measure(work: Path, fraction: float, rounds: int, planets: int) -> str:
    """The table's rows."""
    data = simulate_dataset(work / "data", planets=planets, frames_fraction=fraction, seed=3, workers=os.cpu_count() or 1)
    checked, plain = work / "checked.zarr", without_checksums(data, work / "plain.zarr")
    ingest(data, checked)
    ids = [str(planet["planet_id"]) for planet in json.loads((data / "truth.json").read_text())["planets"]]
    sync, worker = "runtime.scheduler=sync", ("runtime.scheduler=local", "runtime.num_workers=1")
    rows = ["| | with | without | more |", "| --- | ---: | ---: | ---: |"]
    pairs = {
        "checksums of chunks, hashes of maps": (
            lambda i: spent(checked, work / f"checked-{i}", 3, ids[:1], sync),
            lambda i: spent(plain, work / f"plain-{i}", 3, ids[:1], sync),
        ),
        f"TLS, a run of {planets} planets by a worker process, its start included": (
            lambda i: spent(checked, work / f"tls-{i}", 1, ids, *worker),
            lambda i: spent(checked, work / f"open-{i}", 1, ids, *worker, "runtime.tls.temporary=false"),
        ),
    }
    for name, (one, other) in pairs.items():
        a, b, error = paired(rounds, one, other)
        rows.append(f"| {name} | {a:.3f} s | {b:.3f} s | {1e3 * (a - b):+.0f} ± {1e3 * error:.0f} ms, {100 * (a / b - 1):+.1f} % |")
    return "\n".join(rows)


def main() -> None:
    """Measure and print; `--write` puts the table into pages."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--planets", type=int, default=6, help="visits of a run of a worker process")
    parser.add_argument("--frames-fraction", type=float, default=1.0)
    parser.add_argument("--write", type=Path, action="append", default=[], help="page whose table is rewritten")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        rows = measure(Path(scratch), args.frames_fraction, args.rounds, args.planets)
    frames = f"{args.frames_fraction:.0%} of the frames"
    head = f"Processor seconds of a visit (FGS1 and AIRS-CH0, {frames}), {args.rounds} rounds in turn; {machine()}."
    text = f"{head}\n\n{rows}"
    print(text)
    for page in args.write:
        write_between(page, MARK, text)


if __name__ == "__main__":
    main()
