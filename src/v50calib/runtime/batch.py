"""A whole dataset: catalog, fan-out over visits, instruments and time chunks, products, manifest."""

from __future__ import annotations

import time
import traceback as tb
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

from distributed import Client, Future, as_completed

from v50calib.config import load
from v50calib.config.models import RunConfig
from v50calib.errors import ConfigError, DataError, StoreError, V50CalibError
from v50calib.io.catalog import VisitKey, find, normalise_planet_id, root_kind, scan
from v50calib.io.product import product_record
from v50calib.io.source import instrument_at, open_source
from v50calib.pipeline import Pipeline
from v50calib.provenance import config_hash
from v50calib.runtime import journal
from v50calib.runtime.cluster import open_client
from v50calib.runtime.rundir import open_run_dir
from v50calib.runtime.visit import Done, Job, chunk_job, finish_job, pairs_of_job, prepare_job, run_job

#: visits kept in flight per worker thread: enough to keep workers busy, few enough to keep the scheduler small
IN_FLIGHT = 2

Progress = Callable[[journal.Entry, int, int], None]


@dataclass
class RunSummary:
    """Outcome of a run: entries of this call, in order of completion."""

    run_dir: Path
    entries: list[journal.Entry] = field(default_factory=list)

    def count(self, state: str) -> int:
        return sum(e.state == state for e in self.entries)

    @property
    def failed(self) -> list[journal.Entry]:
        return [e for e in self.entries if e.state == "failed"]


def calibrate(
    root: str | Path,
    out: str | Path,
    profile: str = "calib/nominal",
    overrides: Sequence[str] = (),
    client: Client | None = None,
    *,
    config: RunConfig | None = None,
    planets: Sequence[str] = (),
    overwrite: bool = False,
    progress: Progress | None = None,
) -> RunSummary:
    """Calibrate every visit of a dataset (challenge folder or raw Zarr store) into `out`.

    Products go to out/calibrated.zarr/<planet_id>/<visit>/<instrument>; a visit is written whole or not at all, and
    one that is there under the same config and references is skipped. A visit's failure is recorded in the
    manifest and does not stop the others.

    Raises ConfigError, DataError or StoreError before any frame is read if the config, the root or `out` cannot be used.
    """
    config = config if config is not None else load(profile, overrides)
    pipeline = Pipeline(config)
    root, out = Path(root), Path(out)
    keys = select(scan(root), config, planets, root)
    for key in {key.instrument: key for key in keys}.values():
        pipeline.check_instrument(instrument_at(root, key))
    open_run_dir(out, config, overwrite=overwrite)
    summary = RunSummary(out)
    jobs, total = [], len(keys)
    fingerprint = config_hash(config)
    for key in keys:
        job = Job(str(root), str(out), key, config)
        entry = _settled(job, fingerprint, overwrite)
        if entry is None:
            jobs.append(job)
        else:
            _note(summary, entry, total, progress)
    if config.runtime.scheduler == "sync":
        outcomes: Iterator[tuple[Job, Done | BaseException]] = _run_here(jobs)
        for job, outcome in outcomes:
            _note(summary, _entry(job, outcome, fingerprint), total, progress)
        return summary
    with ExitStack() as stack:
        active = client if client is not None else stack.enter_context(open_client(config.runtime)) if jobs else None
        for job, outcome in _run_on(active, jobs) if active is not None and jobs else ():
            _note(summary, _entry(job, outcome, fingerprint), total, progress)
    if len(summary.entries) != total:
        raise StoreError(
            f"{total - len(summary.entries)} of {total} visits have no outcome: this is a fault of v50calib, "
            "please report it; run again to do them"
        )
    return summary


def select(keys: Sequence[VisitKey], config: RunConfig, planets: Sequence[str], root: Path) -> list[VisitKey]:
    """The visits a run works on. Raises DataError where nothing is left or a planet is not there."""
    known = {k.planet_id for k in keys}
    planets = [normalise_planet_id(p) for p in planets]
    for planet in planets:
        if planet not in known:
            find(root, planet)  # raises, naming the nearest ids
    covered = [k for k in keys if config.calib.covers(k.instrument)]
    if keys and not covered:
        names = sorted({k.instrument for k in keys})
        raise ConfigError(
            f"calib.photometry.instrument.name={config.calib.instrument_name}, but '{root.name}' has {', '.join(names)} only: "
            "use one of these, or all"
        )
    chosen = [k for k in covered if not planets or k.planet_id in planets]
    if not chosen:
        raise DataError(
            f"no visit to work on under '{root.name}': expected train/ or test/ with a folder per planet holding "
            "AIRS-CH0_signal_0.parquet and FGS1_signal_0.parquet, a raw Zarr store made by 'v50calib ingest', or a detector.yaml"
        )
    return sorted(chosen)


def _settled(job: Job, fingerprint: str, overwrite: bool) -> journal.Entry | None:
    """An entry for a job that need not run: it is complete (skipped) or cannot be opened (failed)."""
    known = product_record(Path(job.out) / "calibrated.zarr", job.key)
    if overwrite or known is None or known.get("config_hash") != fingerprint:
        return None
    try:
        hashes = open_source(job.root, job.key).reference.hashes
    except V50CalibError as exc:
        return _entry(job, exc, fingerprint)
    if known.get("reference_hashes") == hashes:
        return journal.Entry(job.key.planet_id, job.key.visit, job.key.instrument, "skipped", config_hash=fingerprint)
    return None


def _entry(job: Job, outcome: Done | BaseException, fingerprint: str) -> journal.Entry:
    key = job.key
    if isinstance(outcome, Done):
        return journal.Entry(
            key.planet_id, key.visit, key.instrument, "done", outcome.seconds, fingerprint, outcome.reference_hashes, outcome.qc
        )
    trace = "".join(tb.format_exception(outcome))
    return journal.Entry(
        key.planet_id, key.visit, key.instrument, "failed", config_hash=fingerprint,
        error=str(outcome), error_type=type(outcome).__name__, traceback=trace,
    )  # fmt: skip


def _note(summary: RunSummary, entry: journal.Entry, total: int, progress: Progress | None) -> None:
    summary.entries.append(entry)
    if entry.state != "skipped":
        journal.append(summary.run_dir, entry)
    if progress is not None:
        progress(entry, len(summary.entries), total)


def _run_here(jobs: Sequence[Job]) -> Iterator[tuple[Job, Done | BaseException]]:
    """The jobs in this process, without Dask. With runtime.threads_per_worker above 1 as many visits run at a time; a
    visit that is left alone uses the threads for its time chunks."""
    threads = jobs[0].config.runtime.threads_per_worker if jobs else 1
    if threads == 1 or len(jobs) < threads:
        for job in jobs:
            yield job, _attempt(replace(job, threads=threads))
        return
    with ThreadPoolExecutor(threads) as pool:
        waiting = iter(jobs)
        running = {pool.submit(_attempt, job): job for job in islice(waiting, threads)}
        while running:
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                yield running.pop(future), future.result()
                running |= {pool.submit(_attempt, job): job for job in islice(waiting, 1)}


def _attempt(job: Job) -> Done | BaseException:
    try:
        return run_job(job)
    except Exception as exc:  # noqa: BLE001 - one visit's failure must not stop the others; it is recorded
        return exc


def _run_on(client: Client, jobs: Sequence[Job]) -> Iterator[tuple[Job, Done | BaseException]]:
    """Keep a bounded window of visits in flight; a visit is one task, or fans out over time chunks when visits are few."""
    slots = max(sum(client.nthreads().values()), 1)
    # a parquet file is one row group: its chunks cannot be decoded apart, so it does not fan out over time
    fan_out = len(jobs) < slots and root_kind(jobs[0].root) != "dataset"
    window = IN_FLIGHT * slots
    waiting = iter(jobs)
    running: dict[Any, Job] = {}
    pool = as_completed()

    def submit(job: Job) -> None:
        future = _submit_chunks(client, job) if fan_out else client.submit(run_job, job, pure=False, retries=1)
        running[future.key] = job
        pool.add(future)

    for job in islice(waiting, window):
        submit(job)
    for future in pool:
        job = running.pop(future.key)
        yield job, _outcome(future)
        future.release()
        for following in islice(waiting, 1):
            submit(following)


def _submit_chunks(client: Client, job: Job) -> Future[Done]:
    """One visit as prepare → chunks → finish."""
    n_pairs = pairs_of_job(job)
    frame = client.submit(prepare_job, job, pure=False)
    step = job.chunk_pairs
    parts = [client.submit(chunk_job, job, frame, i, min(i + step, n_pairs), pure=False, retries=1) for i in range(0, n_pairs, step)]
    return client.submit(finish_job, job, frame, parts, time.time(), pure=False)


def _outcome(future: Future[Done]) -> Done | BaseException:
    """Result of a finished future, or why it failed."""
    if future.status == "finished":
        done = future.result()
        assert isinstance(done, Done)
        return done
    error: Any = future.exception()
    return error if isinstance(error, BaseException) else StoreError(f"task ended as '{future.status}'")
