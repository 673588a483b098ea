"""What a run of any size would take: measured costs of a visit, a task and a byte, put through a simulation of the queue.

    python -m benchmarks.scaling [--visits 2000] [--write docs/explanation/scaling.md]

First `--visits` tiny visits are really calibrated, by two worker processes: time and memory of driver and scheduler, and how fast
`status` answers. Then a discrete-event simulation with the costs below predicts full-length datasets on clusters that are
not here; it is first run on cases that were measured.
"""

from __future__ import annotations

import argparse
import csv
import gc
import heapq
import os
import random
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.overhead import _ready
from benchmarks.report import machine, status_mb, write_between
from v50calib import calibrate
from v50calib.config import load
from v50calib.runs.status import status
from v50calib.simulate import simulate_dataset

#: visits that are really simulated; the dataset repeats them under other names
TEMPLATES = 4


@dataclass(frozen=True)
class Costs:
    """What the simulation takes as given.

    visit_s     worker seconds of one visit (both instruments) at nominal from a store, data in the page cache
    spread      standard deviation of its logarithm
    task_s      driver and scheduler seconds of one visit x instrument: submit, follow, manifest
    start_s     from the call to the first worker's first task; first_s: what each worker's first visit takes longer
    read_gb, write_gb   of a visit: the raw store's and the product's
    """

    visit_s: float = 1.76
    spread: float = 0.15
    task_s: float = 0.009
    start_s: float = 4.0
    first_s: float = 1.5
    read_gb: float = 0.34
    write_gb: float = 0.055


@dataclass(frozen=True)
class Predicted:
    """Wall time [s] and the shares of it that workers, the driver and the storage are busy."""

    wall_s: float
    workers: float
    driver: float
    storage: float

    @property
    def first_to_break(self) -> str:
        return max((("workers", self.workers), ("driver", self.driver), ("storage", self.storage)), key=lambda item: item[1])[0]


def simulate_run(visits: int, workers: int, storage_gb_s: float, costs: Costs, seed: int = 0, in_flight: int = 2) -> Predicted:
    """A run of `visits` on `workers` processes: one driver that serves one task at a time, workers that wait for it, storage whose
    bandwidth all share (a visit's bytes take their turn), `in_flight` tasks a worker queued ahead."""
    rng = random.Random(seed)
    jobs = 2 * visits
    driver_free, driver_busy = costs.start_s, 0.0
    storage_free, storage_busy, worker_busy = costs.start_s, 0.0, 0.0
    transfer = (costs.read_gb + costs.write_gb) / 2 / storage_gb_s
    # (time at which a slot of a worker's queue is free, worker)
    slots = [(costs.start_s, w) for _ in range(in_flight) for w in range(workers)]
    heapq.heapify(slots)
    worker_free, fresh = [costs.start_s] * workers, [True] * workers
    end = costs.start_s
    for _ in range(jobs):
        asked, worker = heapq.heappop(slots)
        driver_free = max(driver_free, asked) + costs.task_s
        driver_busy += costs.task_s
        begin = max(driver_free, worker_free[worker])
        storage_free = max(storage_free, begin) + transfer
        storage_busy += transfer
        work = costs.visit_s / 2 * rng.lognormvariate(-0.5 * costs.spread**2, costs.spread) + (costs.first_s if fresh[worker] else 0.0)
        fresh[worker] = False
        done = max(begin + work, storage_free)
        worker_busy += work
        worker_free[worker] = done
        end = max(end, done)
        heapq.heappush(slots, (done, worker))
    span = end - costs.start_s
    return Predicted(end, worker_busy / span / workers, driver_busy / span, storage_busy / span)


def tiny_dataset(root: Path, visits: int) -> Path:
    """`visits` planets of one tiny visit each: a few simulated ones under as many names, files linked."""
    return repeated(simulate_dataset(root / "templates", planets=TEMPLATES, frames_fraction=0.004, seed=9), root / "data", visits)


def repeated(made: Path, out: Path, visits: int) -> Path:
    """A dataset of `visits` planets, those of the dataset `made` under other names, in turn; their files are linked. No truth."""
    (out / "train").mkdir(parents=True)
    for path in made.iterdir():
        if path.is_file() and path.name not in ("train_star_info.csv", "train.csv", "truth.json"):
            shutil.copy(path, out / path.name)
    names = sorted(p.name for p in (made / "train").iterdir())
    with (made / "train_star_info.csv").open(newline="") as stream:
        rows = {row["planet_id"]: row for row in csv.DictReader(stream)}
    with (out / "train_star_info.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[names[0]]))
        writer.writeheader()
        for i in range(visits):
            template = names[i % len(names)]
            writer.writerow(rows[template] | {"planet_id": str(10_000 + i)})
            _linked(made / "train" / template, out / "train" / str(10_000 + i))
    return out


def _linked(source: Path, target: Path) -> None:
    shutil.copytree(source, target, copy_function=os.link)


def real_run(folder: Path, visits: int) -> dict[str, Any]:
    """Calibrate `visits` tiny visits (FGS1, fast) with two workers; costs of driver and scheduler."""
    data = tiny_dataset(folder, visits)
    steps = sorted({max(1, visits // 10), max(1, visits // 2), visits})
    marks: dict[int, float] = {}
    asked: list[float] = []
    config = load("calib/fast", ["runtime.num_workers=2", "calib.photometry.instrument.name=FGS1"])
    out = folder / "run"

    def note(entry: Any, done: int, total: int) -> None:
        if done in steps:
            gc.collect()
            marks[done] = status_mb("VmRSS")
            begun = time.perf_counter()
            status(out)
            asked.append(time.perf_counter() - begun)

    with _ready(config) as client:
        calibrate(data, folder / "warm", config=config, client=client, limit=4)
        begun = time.perf_counter()
        cpu = time.process_time()
        summary = calibrate(data, out, config=config, client=client, progress=note)
        wall, cpu = time.perf_counter() - begun, time.process_time() - cpu
    if summary.failed:
        raise RuntimeError(summary.failed[0].traceback)
    work = sum(e.seconds for e in summary.entries)
    return {"wall_s": wall, "cpu_ms": 1000 * cpu / visits, "work_s": work, "marks": marks, "status_s": max(asked)}


#: (what, visits, workers) of full-length runs that were measured: seconds, see docs/explanation/performance.md
MEASURED = (("8 planets, 1 worker", 8, 1, 11.6), ("8 planets, 2 workers", 8, 2, 7.5))


def report(found: dict[str, Any], visits: int, costs: Costs) -> str:
    """Markdown tables: the tiny run, the simulation beside measured runs, predictions."""
    memory = ", ".join(f"{mb:.0f} MB at {n}" for n, mb in found["marks"].items())
    lines = [
        f"{machine()}.",
        "",
        (
            f"{visits} tiny visits, two worker processes: {found['wall_s']:.0f} s, of which {found['work_s'] / 2:.0f} s a worker worked; "
            f"driver and scheduler {found['cpu_ms']:.1f} ms of processor a visit, memory {memory}; `status` answered within "
            f"{found['status_s']:.2f} s."
        ),
        "",
        "| measured before | measured s | simulated s |",
        "| --- | ---: | ---: |",
    ]
    still = Costs(visit_s=11.6 / 8, spread=costs.spread, task_s=costs.task_s, start_s=0.0, first_s=0.0)
    for what, n, workers, seconds in MEASURED:
        lines.append(f"| {what}, warm | {seconds:.1f} | {simulate_run(n, workers, 4.0, still).wall_s:.1f} |")
    lines += [
        "",
        "| visits | workers | storage GB/s | wall time | workers busy | driver busy | storage busy | what breaks first |",
        "| ---: | ---: | ---: | ---: | ---: | ---: | ---: | --- |",
    ]
    for n in (1_100, 100_000):
        for workers in (4, 64, 1_024):
            for speed in (1.0, 20.0):
                p = simulate_run(n, workers, speed, costs)
                shares = " | ".join(f"{100 * s:.0f} %" for s in (p.workers, p.driver, p.storage))
                lines.append(f"| {n} | {workers} | {speed:g} | {_span(p.wall_s)} | {shares} | {p.first_to_break} |")
    return "\n".join(lines)


def _span(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 3600:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def main(argv: list[str] | None = None) -> str:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--visits", type=int, default=2000, help="tiny visits that are really calibrated")
    parser.add_argument("--write", type=Path, default=None, help="put the tables between the scaling marks of this page")
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as scratch:
        found = real_run(Path(scratch), args.visits)
    text = report(found, args.visits, Costs())
    print(text)
    if args.write is not None:
        write_between(args.write, "scaling", text)
    return text


if __name__ == "__main__":
    main()
