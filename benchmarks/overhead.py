"""What Dask costs: idle time around tasks, a long queue of visits, the first visit of a process, one to two workers, Slurm.

    python -m benchmarks.overhead [--store STORE] [--queue 2000] [--repeats 3] [--frames-fraction 0.1] [--slurm] [--write PAGE ...]

STORE is a raw Zarr store of several visits, read only (default: eight simulated visits of `--frames-fraction`). The queue is
the real driver (catalog, window, manifest) over a dataset of file names, with jobs that do nothing. `--slurm` sends the visits
through a Slurm of this machine too, with two nodes of one core (scripts/slurm/one-machine.sh: root, Debian's packages).
"""

from __future__ import annotations

import argparse
import gc
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from statistics import median
from types import SimpleNamespace
from typing import Any

from distributed import Client, get_task_stream

from benchmarks.report import machine, status_mb, worker_environment, write_between
from v50calib import calibrate
from v50calib.config import load
from v50calib.config.models import RunConfig
from v50calib.io.catalog import scan
from v50calib.io.keys import VisitKey
from v50calib.runtime import execute
from v50calib.runtime.bookkeeping import RunSummary
from v50calib.runtime.cluster import open_client
from v50calib.runtime.job import Done, Job, packed, run_job
from v50calib.schema import INSTRUMENT

Row = tuple[str, str, str]
_SLURM = Path(__file__).resolve().parents[1] / "scripts" / "slurm" / "one-machine.sh"
#: reads of a full visit
AIRS_FRAMES = 11250
#: a QC record of the usual size
_QC = {f"number_{i}": i / 7 for i in range(40)}


def trivial_job(job: Job) -> Done:
    """The shape of a job, without its work."""
    return Done(job.key, 0.0, dict(_QC), dict.fromkeys(("dark", "dead", "flat", "read", "linear_corr"), "0" * 64), {})


def trivial_prepare(job: Job) -> int:
    return 0


def trivial_chunks(job: Job, frame: int, ranges: list[tuple[int, int]]) -> list[int]:
    return [start for start, _ in ranges]


def trivial_finish(job: Job, frame: int, parts: list[list[int]], inputs: dict[str, str], started: float) -> Done:
    return trivial_job(job)


@contextmanager
def replaced(**functions: Callable[..., Any]) -> Iterator[None]:
    """The driver's task functions exchanged for these."""
    kept = {name: getattr(execute, name) for name in functions}
    try:
        for name, function in functions.items():
            setattr(execute, name, function)
        yield
    finally:
        for name, function in kept.items():
            setattr(execute, name, function)


def idle(client: Client, work: Callable[[], Any]) -> tuple[float, float, int]:
    """(wall, seconds of it in which no worker ran a task, tasks) of `work`, from the scheduler's record of task times."""
    with get_task_stream(client) as stream:
        begun = time.time()
        work()
        wall = time.time() - begun
    spans = sorted((s["start"], s["stop"]) for t in stream.data for s in t["startstops"] if s["action"] == "compute")
    busy, end = 0.0, 0.0
    for start, stop in spans:
        busy += max(0.0, stop - max(start, end))
        end = max(end, stop)
    return wall, wall - busy, len(stream.data)


def visit_overhead(store: Path, out: Path, repeats: int, scheduler: str = "local") -> list[Row]:
    """Idle time of one visit, as whole-visit tasks on one worker and fanned out over two."""
    planets = [min(k.planet_id for k in scan(store))]
    rows = []
    for label, workers, instrument in (("one task a visit and instrument", 1, "all"), ("fanned out over time chunks", 2, "AIRS-CH0")):
        places = [f"runtime.scheduler={scheduler}", f"runtime.num_workers={workers}"]
        config = load("calib/nominal", [*places, f"calib.photometry.instrument.name={instrument}"])
        with _ready(config) as client:

            def work(i: int, run: Path = out / instrument, config: RunConfig = config, client: Client = client) -> None:
                _checked(calibrate(store, run / str(i), config=config, client=client, planets=planets))

            work(0)
            measured = [idle(client, partial(work, i)) for i in range(1, repeats + 1)]
        wall, lost, tasks = (median(m[i] for m in measured) for i in range(3))
        share = median(m[1] / m[0] for m in measured)
        rows.append((f"nominal visit, {label}: tasks", f"{tasks:.0f}", ""))
        rows.append(
            (f"nominal visit, {label}: build, scheduling and manifest", f"{lost:.3f} of {wall:.2f} s = {100 * share:.0f} %", "<= 10 %")
        )
    return rows


def queue_overhead(folder: Path, visits: int, scheduler: str = "local") -> list[Row]:
    """Driver time and memory over a long queue of visits whose jobs do nothing; seconds per 1,000 tasks of both shapes."""
    root, marks = _file_names(folder / "names", visits), {}
    steps = sorted({max(1, visits // 10), max(1, visits // 2), visits})
    config = load("calib/nominal", [f"runtime.scheduler={scheduler}", "runtime.num_workers=2"])
    with _ready(config) as client, replaced(run_job=trivial_job):

        def note(entry: Any, done: int, total: int) -> None:
            if done % 2 == 0 and done // 2 in steps:
                gc.collect()
                marks[done // 2] = status_mb("VmRSS")

        begun = time.perf_counter()
        _checked(calibrate(root, folder / "run", config=config, client=client, progress=note))
        seconds = time.perf_counter() - begun
        chunked = _chunked(client, Job(str(root), str(folder), VisitKey("1", 0, "AIRS-CH0"), packed(config)))
    memory = ", ".join(f"{marks[n]:.0f} at {n}" for n in steps)
    return [
        (f"queue of {visits} empty visits: driver and scheduler", f"{1000 * seconds / visits:.1f} ms a visit", ""),
        (f"queue of {visits} empty visits: memory of driver and scheduler, MB after a number of visits", memory, "flat"),
        ("whole-visit tasks: s per 1,000", f"{1000 * seconds / (2 * visits):.2f}", ""),
        ("prepare, chunks, finish: s per 1,000 tasks", f"{chunked:.2f}", ""),
    ]


def _chunked(client: Client, job: Job, visits: int = 20) -> float:
    """Seconds per 1,000 empty tasks of the fanned-out shape of a full AIRS-CH0 visit."""

    empty = {"prepare_job": trivial_prepare, "chunks_job": trivial_chunks, "finish_job": trivial_finish}
    pairs, step = AIRS_FRAMES // 2, INSTRUMENT["AIRS-CH0"].chunk_frames // 2
    tasks = visits * (2 + -(-pairs // step))
    empty["extent_of_job"] = lambda _: (pairs, step)
    empty["open_root"] = lambda _: SimpleNamespace(identity=lambda _: {})
    with replaced(**empty):
        begun = time.perf_counter()
        for _ in range(visits):
            execute._submit_chunks(client, job, slots=tasks).result()
        return 1000 * (time.perf_counter() - begun) / tasks


def _file_names(root: Path, planets: int) -> Path:
    """A dataset of empty signal files: enough for the catalog."""
    for planet in range(1, planets + 1):
        folder = root / "train" / str(planet)
        folder.mkdir(parents=True)
        for instrument in ("AIRS-CH0", "FGS1"):
            (folder / f"{instrument}_signal_0.parquet").touch()
    return root


def first_visit(store: Path, out: Path) -> list[Row]:
    """First and second visit of a fresh process whose kernels are in numba's cache."""
    found = []
    for _ in range(2):  # the first process fills the cache
        command = [sys.executable, "-m", "benchmarks.overhead", "--first", str(store), str(out)]
        done = subprocess.run(command, env=worker_environment(), capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"the first visit failed:\n{done.stderr[-2000:]}")
        found = [float(v) for v in done.stdout.split()]
    first, second = found
    return [
        (
            "first visit of a process with cached kernels, both instruments: extra",
            f"{first - second:.2f} s ({first:.2f} - {second:.2f})",
            "<= 2 s",
        )
    ]


def _first(store: Path, out: Path) -> None:
    """Print the seconds of the same visit done twice in this process."""
    config = load("calib/nominal")
    planet = min(k.planet_id for k in scan(store))
    for _ in range(2):
        shutil.rmtree(out, ignore_errors=True)
        begun = time.perf_counter()
        for key in scan(store):
            if key.planet_id == planet and key.visit == 0:
                run_job(Job(str(store), str(out), key, packed(config)))
        print(time.perf_counter() - begun)


def seconds_through(store: Path, out: Path, repeats: int, *places: str) -> float:
    """Median of the seconds that every visit of the store takes on the workers that `places` configures, once they are warm."""
    config = load("calib/nominal", places)
    with _ready(config) as client:
        took = []
        for _ in range(repeats + 1):  # the first warms the workers up
            shutil.rmtree(out, ignore_errors=True)
            begun = time.perf_counter()
            _checked(calibrate(store, out, config=config, client=client))
            took.append(time.perf_counter() - begun)
    return median(took[1:])


def workers_scaling(store: Path, out: Path, repeats: int, slurm: bool) -> list[Row]:
    """Throughput of two local worker processes against one, and of two of Slurm's against two local, over every visit of the store."""
    jobs = f"{len(scan(store))} visits x instruments"
    one = seconds_through(store, out, repeats, "runtime.num_workers=1")
    two = seconds_through(store, out, repeats, "runtime.num_workers=2")
    rows = [("two worker processes against one: throughput", f"{one / two:.2f} x ({one:.1f} s, {two:.1f} s for {jobs})", ">= 1.8 x")]
    if slurm:
        with one_machine_slurm():
            queue = ("runtime.queue.memory=4GB", "runtime.queue.interface=lo", f"runtime.queue.log_directory={out.parent}")
            queued = seconds_through(store, out, repeats, "runtime.scheduler=slurm", "runtime.num_workers=2", *queue)
        text = f"{two / queued:.2f} x ({two:.1f} s, {queued:.1f} s for {jobs})"
        rows.append(("two jobs of Slurm against two local worker processes: throughput", text, ">= 0.9 x"))
    return rows


@contextmanager
def one_machine_slurm() -> Iterator[None]:
    """A Slurm with two nodes of one core on this machine, which this process's commands find."""
    # sockets have short names only, and munge wants a path that nobody else can write
    base = Path("/run") / f"v50calib-bench-{os.getpid()}"
    kept = dict(os.environ)
    os.environ["SLURM_CONF"] = str(base / "slurm.conf")
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    try:
        subprocess.run([_SLURM, "up", base, "2"], check=True)
        yield
    finally:
        subprocess.run([_SLURM, "down", base], check=False)
        os.environ.clear()
        os.environ.update(kept)
        shutil.rmtree(base, ignore_errors=True)


@contextmanager
def _ready(config: RunConfig) -> Iterator[Client]:
    """A client whose workers are all there: their start is no overhead of a task."""
    with open_client(config.runtime) as client:
        while sum(client.nthreads().values()) < (config.runtime.num_workers or 1):
            time.sleep(0.05)
        yield client


def _checked(summary: RunSummary) -> None:
    if summary.failed:
        raise RuntimeError(summary.failed[0].traceback)


def main(argv: list[str] | None = None) -> list[Row]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", type=Path, default=None, help="raw Zarr store of several visits (default: simulated)")
    parser.add_argument("--queue", type=int, default=2000, help="visits in the queue of empty jobs")
    parser.add_argument("--planets", type=int, default=8, help="planets to simulate where no store is given")
    parser.add_argument("--frames-fraction", type=float, default=0.1, help="length of the simulated visits")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--write", type=Path, nargs="+", default=[], help="put the table between the overhead marks of these files")
    parser.add_argument("--slurm", action="store_true", help="through a Slurm of this machine too (root)")
    parser.add_argument("--first", nargs=2, type=Path, metavar=("STORE", "OUT"), help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.first:
        _first(*args.first)
        return []
    with tempfile.TemporaryDirectory() as scratch:
        work = Path(scratch)
        store = args.store or _simulated(work, args.planets, args.frames_fraction)
        rows = visit_overhead(store, work / "run-a", args.repeats)
        rows += queue_overhead(work / "queue", args.queue)
        rows += first_visit(store, work / "run-c")
        rows += workers_scaling(store, work / "run-d", args.repeats, args.slurm)
    length = f"simulated visits of {args.frames_fraction:g} of the full length" if args.store is None else "full-length simulated visits"
    text = "\n".join(
        [
            f"{length.capitalize()}. {machine()}.",
            "",
            "| | measured | bar |",
            "| --- | ---: | ---: |",
            *(f"| {a} | {b} | {c} |" for a, b, c in rows),
        ]
    )
    print(text)
    for page in args.write:
        write_between(page, "overhead", text)
    return rows


def _simulated(work: Path, planets: int, fraction: float) -> Path:
    from v50calib.io import ingest
    from v50calib.simulate import simulate_dataset

    simulate_dataset(work / "data", planets=planets, frames_fraction=fraction, seed=3)
    ingest(work / "data", work / "raw.zarr")
    return work / "raw.zarr"


if __name__ == "__main__":
    main()
