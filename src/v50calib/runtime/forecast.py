"""How long a dataset will take, what it will write and how much memory a worker needs: measured on a sample, extrapolated.

A few whole visits, spread over the dataset, are calibrated with the config's own workers into a temporary folder, which is
removed. Visits of a dataset are alike, so the extrapolation goes by their number:

    hours = (start-up + sum over instruments of visits x mean seconds / at once) / 3600
    bytes = sum over instruments of visits x mean bytes of a product

On the first visit of each worker, modules are imported and kernels compiled. It is left out of the mean seconds if the sample
has another visit of its instrument, and counts as start-up.
"""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import mean
from typing import Any

from v50calib.config.models import RunConfig
from v50calib.config.runtime import RuntimeConfig
from v50calib.errors import DataError
from v50calib.io.catalog import open_root
from v50calib.io.folders import passed_over_note
from v50calib.io.keys import VisitKey
from v50calib.io.storage.location import Location, check_answers
from v50calib.io.storage.machine import cores
from v50calib.runs.calibrated import PRODUCTS
from v50calib.runs.manifest import Entry
from v50calib.runtime.batch import calibrate, make_jobs, plan
from v50calib.runtime.bookkeeping import Progress
from v50calib.runtime.cluster import n_workers, open_client
from v50calib.runtime.inputs import input_notes

#: files of a run from which on a plan names the other layout
MANY_FILES = 50_000
#: visits (of both instruments) in the sample by default
SAMPLE = 2


@dataclass(frozen=True)
class Part:
    """One instrument of the forecast: number of visits left, and of the visits in the sample mean seconds, bytes and files.

    slowest: of the visits whose seconds were averaged, s
    """

    instrument: str
    left: int
    sampled: int
    seconds: float
    slowest: float
    bytes: int
    files: int


@dataclass(frozen=True)
class Limits:
    """Limits that a run must not exceed: h, bytes, bytes; None: no limit."""

    hours: float | None = None
    out_bytes: int | None = None
    memory: int | None = None


@dataclass(frozen=True)
class Forecast:
    """The projected run.

    at_once     number of visits x instruments calibrated at a time
    processes   number of worker processes
    startup_s   time until all workers are busy: their start, imports, compilation, s
    peak_bytes  peak memory of the largest process in the sample
    sample_s    time that the sample took, s
    """

    at_once: int
    processes: int
    startup_s: float
    peak_bytes: int
    parts: list[Part]
    sample_s: float
    limits: Limits = Limits()
    notes: list[str] = field(default_factory=list)

    @property
    def hours(self) -> float:
        return (self.startup_s + sum(p.left * p.seconds for p in self.parts) / self.at_once) / 3600

    @property
    def out_bytes(self) -> int:
        return sum(p.left * p.bytes for p in self.parts)

    @property
    def files(self) -> int:
        return sum(p.left * p.files for p in self.parts)

    @property
    def total_memory(self) -> int:
        """Peak of all processes together."""
        return self.processes * self.peak_bytes

    @property
    def broken(self) -> list[str]:
        """Names of the limits that the run would exceed: hours, output, memory."""
        pairs = {
            "hours": (self.hours, self.limits.hours),
            "output": (self.out_bytes, self.limits.out_bytes),
            "memory": (self.total_memory, self.limits.memory),
        }
        return [name for name, (value, limit) in pairs.items() if limit is not None and value > limit]

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        derived = {name: getattr(self, name) for name in ("hours", "out_bytes", "files", "total_memory", "broken")}
        return asdict(self) | derived | {"fits": not self.broken}


def forecast(
    root: Location,
    config: RunConfig,
    *,
    out: Location | None = None,
    planets: Sequence[str] = (),
    visits: int = SAMPLE,
    scratch: Path | None = None,
    limits: Limits | None = None,
    progress: Progress | None = None,
) -> Forecast:
    """Calibrate a sample and extrapolate to what is left to do.

    out      a run directory whose complete visits are not counted
    planets  only these; none: all
    visits   size of the sample; at least the number of visits that are calibrated at once
    scratch  local folder for the temporary products (default: the system's)

    Raises ConfigError, DataError and StoreError as `calibrate` does, and DataError where every visit of an instrument in the
    sample fails.
    """
    check_answers(root)
    limits = limits if limits is not None else Limits()
    config = config.model_copy(update={"runtime": config.runtime.processes})
    left = _left(root, config, out, planets)
    wanted, here = slots(config.runtime), _here(config)
    at_once = slots(here.runtime)
    if not left:
        return Forecast(wanted, _processes(config.runtime), 0.0, 0, [], 0.0, limits, ["every visit is complete: nothing is left to do"])
    with tempfile.TemporaryDirectory(prefix="v50calib-plan-", dir=scratch) as folder:
        run = Path(folder) / "run"
        entries, seconds, peak = _measure(root, run, here, sample(left, max(visits, at_once)), progress)
        parts = _parts(left, entries, run, at_once)
    notes = input_notes(open_root(root), left)
    notes += [f"{e.label} failed: {e.error or e.error_type}" for e in entries if e.state == "failed"]
    if at_once != wanted or here.runtime.scheduler != config.runtime.scheduler:
        notes.append(
            f"measured with {at_once} at once on this machine; {wanted} of '{config.runtime.scheduler}' are assumed to be as fast each"
        )
    files = sum(p.left * p.files for p in parts)
    if files > MANY_FILES and config.output.layout == "zarr":
        notes.append(
            f"{files:,} files: quotas of clusters count them, and copying them takes long; output.layout=packed writes three a product"
        )
    startup = max(0.0, seconds - sum(p.sampled * p.seconds for p in parts) / at_once)
    notes += passed_over_note(root)
    return Forecast(wanted, _processes(config.runtime), startup, peak, parts, seconds, limits, notes)


def slots(runtime: RuntimeConfig) -> int:
    """Number of visits x instruments that are calibrated at once.

    >>> slots(RuntimeConfig(scheduler="local", num_workers=4, threads_per_worker=2))
    8
    """
    return runtime.threads_per_worker if runtime.scheduler == "sync" else n_workers(runtime) * runtime.threads_per_worker


def _processes(runtime: RuntimeConfig) -> int:
    return 1 if runtime.scheduler in ("sync", "threads") else n_workers(runtime)


def _here(config: RunConfig) -> RunConfig:
    """The config with workers of this machine: its own, or one process per core in place of jobs, pods and remote workers."""
    runtime = config.runtime
    if runtime.scheduler in ("sync", "threads"):
        return config
    fit = min(n_workers(runtime), max(1, cores() // runtime.threads_per_worker))
    return config.model_copy(update={"runtime": runtime.model_copy(update={"scheduler": "local", "num_workers": fit})})


def _left(root: Location, config: RunConfig, out: Location | None, planets: Sequence[str] = ()) -> list[VisitKey]:
    """The visits that are to be calibrated: all, or those that are not complete in `out`."""
    if out is None or not out.exists():
        # nothing is written: any location serves as the jobs' output
        return [job.key for job in make_jobs(root, root, config, planets)]
    return [d.job.key for d in plan(root, out, config, planets=planets) if d.action == "do"]


def sample(keys: Sequence[VisitKey], count: int) -> list[VisitKey]:
    """`count` visits, spread evenly, with all their instruments; and one more for an instrument that none of them has.

    >>> keys = [VisitKey(planet, 0, "FGS1") for planet in "abcdef"]
    >>> [key.planet_id for key in sample(keys, 2)]
    ['b', 'e']
    """
    visits = sorted({(key.planet_id, key.visit) for key in keys})
    count = min(count, len(visits))
    chosen = {visits[(2 * i + 1) * len(visits) // (2 * count)] for i in range(count)}
    for instrument in sorted({key.instrument for key in keys}):
        having = [(key.planet_id, key.visit) for key in keys if key.instrument == instrument]
        if not chosen.intersection(having):
            chosen.add(having[len(having) // 2])
    return [key for key in keys if (key.planet_id, key.visit) in chosen]


def _measure(
    root: Location, run: Path, config: RunConfig, chosen: Sequence[VisitKey], progress: Progress | None
) -> tuple[list[Entry], float, int]:
    """(entries in order of completion, seconds of the whole call, peak bytes of a process)."""
    only = [key.label for key in chosen]
    begun = time.monotonic()
    if config.runtime.scheduler == "sync":
        entries = calibrate(root, run, config=config, only=only, progress=progress).entries
        return entries, time.monotonic() - begun, peak_rss()
    with open_client(config.runtime) as client:
        entries = calibrate(root, run, config=config, client=client, only=only, progress=progress).entries
        seconds = time.monotonic() - begun
        return entries, seconds, max(client.run(peak_rss).values())


def _parts(left: Sequence[VisitKey], entries: Sequence[Entry], run: Path, at_once: int) -> list[Part]:
    """The sample by instrument. Raises DataError where an instrument has no finished visit."""
    finished = [e for e in entries if e.state == "done"]
    # the first visits on each worker, on which modules are imported and kernels compiled
    cold = {e.label for e in sorted(finished, key=lambda e: e.at - e.seconds)[:at_once]}
    parts = []
    for instrument, count in sorted(Counter(key.instrument for key in left).items()):
        mine = [e for e in finished if e.instrument == instrument]
        if not mine:
            failed = next(e for e in entries if e.instrument == instrument)
            raise DataError(
                f"no visit of {instrument} in the sample could be calibrated, e.g. {failed.label}: {failed.error or failed.error_type}; "
                "repair that, or plan again with a larger --visits"
            )
        parts.append(_part(instrument, count, mine, cold, run))
    return parts


def _part(instrument: str, left: int, mine: Sequence[Entry], cold: set[str], run: Path) -> Part:
    """Means over the finished visits of an instrument; of the seconds without the visits of `cold` if there are others."""
    seconds = [e.seconds for e in mine if e.label not in cold] or [e.seconds for e in mine]
    sizes = [_size(run / PRODUCTS / e.label) for e in mine]
    size, files = round(mean(s[0] for s in sizes)), round(mean(s[1] for s in sizes))
    return Part(instrument, left, len(mine), mean(seconds), max(seconds), size, files)


def _size(folder: Path) -> tuple[int, int]:
    """(bytes, number) of the files below a folder."""
    sizes = [path.stat().st_size for path in folder.rglob("*") if path.is_file()]
    return sum(sizes), len(sizes)


def peak_rss() -> int:
    """Peak resident memory of this process, bytes. On Linux VmHWM, because ru_maxrss starts from the parent's peak."""
    status = Path("/proc/self/status")
    if status.is_file():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # bytes on macOS, kB elsewhere
    return peak if sys.platform == "darwin" else peak * 1024
