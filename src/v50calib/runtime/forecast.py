"""How long a dataset will take, what it will write and how much memory a worker needs: measured on a sample, extrapolated.

A few whole visits, spread over the dataset, are really calibrated with the config's own workers into a scratch folder that
is removed afterwards. Visits of a dataset are alike, so counts are what the extrapolation goes by:

    hours = (start-up + sum over instruments of visits x mean seconds / at once) / 3600
    bytes = sum over instruments of visits x mean bytes of a product

The first visit of each worker loads and compiles; it is left out of the mean seconds where another of its instrument is in the
sample, and stays in the start-up.
"""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import mean
from typing import Any

from v50calib.config.models import RunConfig
from v50calib.config.runtime import RuntimeConfig
from v50calib.errors import DataError
from v50calib.io.keys import VisitKey
from v50calib.io.storage.machine import cores
from v50calib.runs.calibrated import PRODUCTS
from v50calib.runs.manifest import Entry
from v50calib.runtime.batch import Progress, calibrate, make_jobs, plan
from v50calib.runtime.cluster import n_workers, open_client

#: visits (of both instruments) that are calibrated where the caller does not say
SAMPLE = 2


@dataclass(frozen=True)
class Part:
    """One instrument of the forecast: visits left to do, and what the sample says of one."""

    instrument: str
    left: int
    sampled: int
    seconds: float
    slowest: float
    bytes: int
    files: int


@dataclass(frozen=True)
class Limits:
    """What a run must stay below; None: no limit."""

    hours: float | None = None
    out_bytes: int | None = None
    memory: int | None = None


@dataclass(frozen=True)
class Forecast:
    """The projected run.

    at_once     visits x instruments worked on at a time, by so many `processes`
    startup_s   workers, imports, compiling, until all are busy
    peak_bytes  peak memory of the largest process in the sample
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
        """Names of the limits that the run would break: hours, output, memory."""
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
    root: Path,
    config: RunConfig,
    *,
    out: Path | None = None,
    visits: int = SAMPLE,
    scratch: Path | None = None,
    limits: Limits | None = None,
    progress: Progress | None = None,
) -> Forecast:
    """Calibrate a sample and extrapolate to what is left to do.

    out      a run directory whose complete visits are not counted
    visits   sample size, raised to the number of visits that are worked on at once
    scratch  folder for the temporary products (default: the system's)

    Raises ConfigError and DataError as `calibrate` does, and DataError where every visit of an instrument in the sample fails.
    """
    limits = limits if limits is not None else Limits()
    left = _left(root, config, out)
    wanted, here = slots(config.runtime), _here(config)
    at_once = slots(here.runtime)
    if not left:
        return Forecast(wanted, _processes(config.runtime), 0.0, 0, [], 0.0, limits, ["every visit is complete: nothing is left to do"])
    with tempfile.TemporaryDirectory(prefix="v50calib-plan-", dir=scratch) as folder:
        run = Path(folder) / "run"
        entries, seconds, peak = _measure(root, run, here, sample(left, max(visits, at_once)), progress)
        parts = _parts(left, entries, run, at_once)
    notes = [f"{e.label} failed: {e.error or e.error_type}" for e in entries if e.state == "failed"]
    if at_once != wanted or here.runtime.scheduler != config.runtime.scheduler:
        notes.append(
            f"measured with {at_once} at once on this machine; {wanted} of '{config.runtime.scheduler}' are taken to be as fast each"
        )
    startup = max(0.0, seconds - sum(p.sampled * p.seconds for p in parts) / at_once)
    return Forecast(wanted, _processes(config.runtime), startup, peak, parts, seconds, limits, notes)


def slots(runtime: RuntimeConfig) -> int:
    """Visits that are worked on at once."""
    return runtime.threads_per_worker if runtime.scheduler == "sync" else n_workers(runtime) * runtime.threads_per_worker


def _processes(runtime: RuntimeConfig) -> int:
    return 1 if runtime.scheduler in ("sync", "threads") else n_workers(runtime)


def _here(config: RunConfig) -> RunConfig:
    """The config with workers that this machine has: its own, or a process a core in place of jobs, pods and remote workers."""
    runtime = config.runtime
    if runtime.scheduler in ("sync", "threads"):
        return config
    fit = min(n_workers(runtime), max(1, cores() // runtime.threads_per_worker))
    return config.model_copy(update={"runtime": runtime.model_copy(update={"scheduler": "local", "num_workers": fit})})


def _left(root: Path, config: RunConfig, out: Path | None) -> list[VisitKey]:
    if out is None or not out.exists():
        # a place that nothing is written to
        return [job.key for job in make_jobs(root, root, config)]
    return [d.job.key for d in plan(root, out, config) if d.action == "do"]


def sample(keys: Sequence[VisitKey], count: int) -> list[VisitKey]:
    """`count` visits spread evenly, with all their instruments, and one more for an instrument that none of them has."""
    visits = sorted({(key.planet_id, key.visit) for key in keys})
    count = min(count, len(visits))
    chosen = {visits[(2 * i + 1) * len(visits) // (2 * count)] for i in range(count)}
    for instrument in sorted({key.instrument for key in keys}):
        having = [(key.planet_id, key.visit) for key in keys if key.instrument == instrument]
        if not chosen.intersection(having):
            chosen.add(having[len(having) // 2])
    return [key for key in keys if (key.planet_id, key.visit) in chosen]


def _measure(
    root: Path, run: Path, config: RunConfig, chosen: Sequence[VisitKey], progress: Progress | None
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
    parts = []
    finished = [e for e in entries if e.state == "done"]
    # the first to start on each worker: it loads and compiles
    warm = {e.label for e in sorted(finished, key=lambda e: e.at - e.seconds)[:at_once]}
    for instrument in sorted({key.instrument for key in left}):
        mine = [e for e in finished if e.instrument == instrument]
        if not mine:
            failed = next(e for e in entries if e.instrument == instrument)
            raise DataError(
                f"no visit of {instrument} in the sample could be calibrated, e.g. {failed.label}: {failed.error or failed.error_type}; "
                "mend that, or plan again with a larger --visits"
            )
        seconds = [e.seconds for e in mine if e.label not in warm] or [e.seconds for e in mine]
        sizes = [_size(run / PRODUCTS / e.label) for e in mine]
        count = sum(key.instrument == instrument for key in left)
        total, files = round(mean(s[0] for s in sizes)), round(mean(s[1] for s in sizes))
        parts.append(Part(instrument, count, len(mine), mean(seconds), max(seconds), total, files))
    return parts


def _size(folder: Path) -> tuple[int, int]:
    """(bytes, number) of the files below a folder."""
    sizes = [path.stat().st_size for path in folder.rglob("*") if path.is_file()]
    return sum(sizes), len(sizes)


def peak_rss() -> int:
    """Peak resident memory of this process, bytes. Linux: VmHWM, because ru_maxrss begins with the parent's."""
    status = Path("/proc/self/status")
    if status.is_file():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # bytes on macOS, kB elsewhere
    return peak if sys.platform == "darwin" else peak * 1024
