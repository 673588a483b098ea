"""An hour of calibration as a user has it: full-length and tiny visits through `v50calib calibrate`, watched from outside.

    python -m benchmarks.hour --full 600 --tiny 10000 --work DIR [--workers 2] [--write [PAGE]]

The visits are parquet in the challenge's encoding: a few that `v50calib simulate` writes, under as many names as asked for (links: on one
disk, and in the page cache, they are read faster than as many files of their own). Each of the two runs is a command with worker
processes of this machine, nominal. Every second: resident memory of the command's process and of each of its workers, and how many
products the manifest has. Data and runs stay in DIR; data that are there are taken again, runs are made anew.
"""

from __future__ import annotations

import argparse
import math
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from benchmarks.report import machine, status_mb, write_between
from benchmarks.scaling import repeated
from v50calib.runs.manifest import NAME as MANIFEST
from v50calib.runs.status import status

PROJECT = Path(__file__).resolve().parents[1]
PAGE = PROJECT / "docs" / "explanation" / "scaling.md"
#: visits that are really simulated: of full length a minute each and 0.25 GB, of the others a second
TEMPLATES_FULL, TEMPLATES_TINY, TINY = 2, 4, 0.004
#: time between two looks, s
LOOK_S = 1.0
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Look:
    """One look: seconds since the start, MB of the driver and of its largest worker (0: none yet), products in the manifest, the driver's
    processor time in s."""

    at: float
    driver_mb: float
    worker_mb: float
    products: int
    driver_cpu_s: float


@dataclass
class Run:
    """A watched run: what was asked for, what it left, and the looks."""

    what: str
    visits: int
    seconds: float = 0.0
    done: int = 0
    failed: int = 0
    bytes: int = 0
    files: int = 0
    manifest_bytes: int = 0
    looks: list[Look] = field(default_factory=list)

    @property
    def per_hour(self) -> float:
        """Visits, both instruments, an hour from the command's start to its end."""
        return 3600.0 * self.done / 2 / self.seconds if self.seconds > 0 else 0.0

    @property
    def driver_ms(self) -> float:
        """The driver's processor time for a visit, ms, between the first and the last product that were seen; NaN: too few."""
        seen = [look for third in self.thirds() for look in third]
        made = (seen[-1].products - seen[0].products) / 2 if seen else 0.0
        return 1000 * (seen[-1].driver_cpu_s - seen[0].driver_cpu_s) / made if made else math.nan

    def thirds(self) -> list[list[Look]]:
        """The looks at the begin, in the middle and at the end of the time in which products came.

        >>> looks = [Look(float(t), 1.0, 1.0, min(max(0, t - 3), 6), 0.5 * t) for t in range(12)]
        >>> run = Run("", 3, looks=looks)
        >>> [[int(look.at) for look in third] for third in run.thirds()], [int(look.at) for look in run.after()], run.driver_ms
        ([[4, 5], [6, 7], [8, 9]], [10, 11], 1000.0)
        """
        seen = [look for look in self.looks[: self._last() + 1] if look.products]
        edges = [round(i * len(seen) / 3) for i in range(4)]
        return [seen[a:b] for a, b in pairwise(edges)]

    def after(self) -> list[Look]:
        """The looks after the last product: the planets' fits and the table of quality numbers."""
        return self.looks[self._last() + 1 :]

    def _last(self) -> int:
        most = max((look.products for look in self.looks), default=0)
        return next((i for i, look in enumerate(self.looks) if look.products == most), -1)


def children(pid: int) -> list[int]:
    """Processes that descend from a process; those that end meanwhile are left out."""
    above: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                # the name of a program may hold anything; what follows its last bracket does not
                above[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except (OSError, ValueError, IndexError):
                continue
    found, new = [], [pid]
    while new:
        new = [child for child, parent in above.items() if parent in new]
        found += new
    return found


def worker_mb(pid: int) -> list[float]:
    """Resident memory of each worker process of a command."""
    out = []
    for child in children(pid):
        try:
            # the tracker of shared resources is a child as well, and no worker
            if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes():
                out.append(status_mb("VmRSS", child))
        except (OSError, StopIteration):
            continue
    return out


class Products:
    """How many products a manifest has, read on from where the last look ended."""

    def __init__(self, path: Path) -> None:
        self._path, self._at, self.count = path, 0, 0

    def look(self) -> int:
        if self._path.is_file():
            with self._path.open("rb") as stream:
                stream.seek(self._at)
                # a line is appended in one write; what has no end yet is read at the next look
                text, newline, _ = stream.read().rpartition(b"\n")
            self._at += len(text) + len(newline)
            self.count += text.count(b'"state": "done"')
        return self.count


def cpu_s(pid: int) -> float:
    """Processor time of a process without its children."""
    parts = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(parts[11]) + int(parts[12])) / _TICKS


def watched(what: str, data: Path, out: Path, visits: int, workers: int) -> Run:
    """Calibrate a dataset by the command, and look at it every second. Raises RuntimeError where it ends before it has begun."""
    shutil.rmtree(out, ignore_errors=True)
    run, products = Run(what, visits), Products(out / MANIFEST)
    command = [sys.executable, "-m", "v50calib", "calibrate", "--config-name", "calib/nominal", "--data", str(data), "--out", str(out)]
    command += ["--scheduler", "local", f"runtime.num_workers={workers}"]
    log = out.with_suffix(".log")
    begun = time.monotonic()
    with log.open("w") as told, subprocess.Popen(command, stdout=told, stderr=told) as process:
        while process.poll() is None:
            try:
                mb, cpu = status_mb("VmRSS", process.pid), cpu_s(process.pid)
            except (OSError, StopIteration):
                # it has ended, and nobody has asked yet how
                mb = cpu = 0.0
            if mb:
                held = worker_mb(process.pid)
                run.looks.append(Look(time.monotonic() - begun, mb, max(held, default=0.0), products.look(), cpu))
            try:
                process.wait(LOOK_S)
            except subprocess.TimeoutExpired:
                continue
    run.seconds = time.monotonic() - begun
    if not (out / MANIFEST).is_file():
        raise RuntimeError(f"{' '.join(command)} calibrated nothing: {log.read_text()[-2000:]}")
    found = status(out)
    run.done, run.failed = found["done"], found["failed"]
    run.manifest_bytes = (out / MANIFEST).stat().st_size
    for folder, _, names in os.walk(out):
        run.files += len(names)
        run.bytes += sum(os.lstat(os.path.join(folder, name)).st_size for name in names)  # noqa: PTH118 - of a million files
    return run


def dataset(work: Path, name: str, visits: int, templates: int, fraction: float) -> Path:
    """`visits` visits in `work`, from a few that the command simulates."""
    out, made = work / f"{name}-{visits}", work / f"{name}-templates"
    if not made.exists():
        # of a killed call
        for left in work.glob(f".{made.name}.*"):
            shutil.rmtree(left)
        options = ["--planets", str(templates), "--frames-fraction", str(fraction), "--seed", "9"]
        subprocess.run([sys.executable, "-m", "v50calib", "simulate", str(made), *options], check=True)
    if not out.exists():
        part = work / f".{out.name}"
        shutil.rmtree(part, ignore_errors=True)
        repeated(made, part, visits).rename(out)
    return out


def report(runs: Sequence[Run], workers: int) -> str:
    """Markdown: a row a run, then memory and rate over its time."""
    lines = [
        f"`v50calib calibrate`, nominal, {workers} worker processes, visits of both instruments from parquet. {machine()}.",
        "",
        "| visits | s | visits an hour | driver CPU, ms a visit | written, GB | files | manifest, kB a visit | failed |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for run in runs:
        visits = max(run.done / 2, 0.5)
        lines.append(
            f"| {run.visits} {run.what} | {run.seconds:.0f} | {run.per_hour:.0f} | {_number(run.driver_ms)} | "
            f"{run.bytes / 1e9:.2f} | {run.files} | {run.manifest_bytes / 1e3 / visits:.1f} | {run.failed} |"
        )
    lines += [
        "",
        (
            "Peak resident memory, MB, in the first, second and last third of the time in which products came, and after it (the planets' "
            "fits); products an hour in each third:"
        ),
        "",
        "| visits | driver | the largest worker | products an hour |",
        "| --- | --- | --- | --- |",
    ]
    for run in runs:
        thirds = [third for third in run.thirds() if third]
        parts = [part for part in (*thirds, run.after()) if part]
        driver = " / ".join(f"{max(look.driver_mb for look in part):.0f}" for part in parts)
        worker = " / ".join(f"{max(look.worker_mb for look in part):.0f}" for part in parts if any(look.worker_mb for look in part))
        rate = " / ".join(_rate(third) for third in thirds)
        lines.append(f"| {run.visits} {run.what} | {driver} | {worker} | {rate} |")
    return "\n".join(lines)


def _number(value: float) -> str:
    return f"{value:.1f}" if math.isfinite(value) else "-"


def _rate(looks: Sequence[Look]) -> str:
    """Products an hour between the first and the last of some looks."""
    span = looks[-1].at - looks[0].at
    return f"{3600 * (looks[-1].products - looks[0].products) / span:.0f}" if span > 0 else "-"


def main(argv: list[str] | None = None) -> str:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", type=int, default=0, help="visits of full length (0: none)")
    parser.add_argument("--tiny", type=int, default=0, help=f"visits of {TINY:g} of the frames (0: none)")
    parser.add_argument("--work", type=Path, required=True, help="where data and runs are kept")
    parser.add_argument("--workers", type=int, default=2, help="worker processes")
    parser.add_argument("--write", type=Path, nargs="?", const=PAGE, help="put the tables between the hour marks of this page")
    args = parser.parse_args(argv)
    if args.full < 0 or args.tiny < 0 or args.full + args.tiny == 0:
        parser.error("nothing to do: give --full N or --tiny M, or both")
    args.work.mkdir(parents=True, exist_ok=True)
    runs = []
    for what, name, visits, templates, fraction in (
        ("of full length", "full", args.full, TEMPLATES_FULL, 1.0),
        ("tiny", "tiny", args.tiny, TEMPLATES_TINY, TINY),
    ):
        if visits:
            data = dataset(args.work, name, visits, min(templates, visits), fraction)
            runs.append(watched(what, data, args.work / f"run-{name}", visits, args.workers))
    text = report(runs, args.workers)
    print(text)
    if args.write is not None:
        write_between(args.write, "hour", text)
    return text


if __name__ == "__main__":
    main()
