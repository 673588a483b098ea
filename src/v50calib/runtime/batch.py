"""A whole dataset: which visits, what is left to do, execution. What is recorded of it: `bookkeeping`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace

from distributed import Client

from v50calib.config import load
from v50calib.config.models import RunConfig
from v50calib.config.runtime import HERE
from v50calib.engine.engines import Engines
from v50calib.io.catalog import open_root
from v50calib.io.folders import passed_over_note
from v50calib.io.storage.location import Location, check_answers, locate
from v50calib.io.storage.object_commit import clean
from v50calib.io.storage.objects import ObjectPath
from v50calib.runs.calibrated import PRODUCTS
from v50calib.runs.directory import check_run_dir, mark_run_dir
from v50calib.runs.lock import run_lock
from v50calib.runs.spectra import STORE as SPECTRA
from v50calib.runs.stop import stoppable
from v50calib.runs.stores import complete_stores
from v50calib.runtime.bookkeeping import Bookkeeping, Progress, RunSummary
from v50calib.runtime.carried import packed_methods
from v50calib.runtime.chosen import chosen
from v50calib.runtime.cluster import open_client, refuse_in_a_starting_worker
from v50calib.runtime.environment import first_compilation
from v50calib.runtime.execute import run_here, run_on
from v50calib.runtime.inputs import check_inputs, facts_of, input_notes
from v50calib.runtime.job import Job, packed
from v50calib.runtime.memory import check_memory
from v50calib.runtime.notebook import notebook_progress
from v50calib.runtime.planets import fit_planets, notes_of
from v50calib.runtime.queues import refuse_absent_queue
from v50calib.runtime.recalibrate import prepare
from v50calib.runtime.select import select
from v50calib.runtime.worklist import Decision, decide


def calibrate(
    root: str | os.PathLike[str] | ObjectPath,
    out: str | os.PathLike[str] | ObjectPath,
    profile: str = "calib/nominal",
    overrides: Sequence[str] = (),
    client: Client | None = None,
    *,
    config: RunConfig | None = None,
    planets: Sequence[str] = (),
    only: Sequence[str] = (),
    limit: int | None = None,
    retry_failed: bool = False,
    overwrite: bool = False,
    update: bool = False,
    progress: Progress | None = None,
) -> RunSummary:
    """Calibrate every visit of a dataset (challenge folder or raw Zarr store) into `out`.

    Products go to out/calibrated.zarr/<planet_id>/<visit>/<instrument>; a product is written as a whole or not at all, and one
    that is there under the same config and input is skipped. A visit's failure is recorded in the manifest and does not stop
    the others; a failure that may pass is tried again (runtime.retries). At the end, qc.csv in `out` has a row for each visit,
    instrument and stage, and spectra.zarr/<planet_id> one transit fit of all visits and instruments of each planet.

    root, out      local paths, or URLs of object stores as text
    config         used in place of `profile` and `overrides`
    client         a Dask client to run on (default: one for runtime.scheduler, closed at the end)
    planets, only  restrict the run; only: [SPLIT/]PLANET[/VISIT[/INSTRUMENT]], or SPLIT
    limit          at most this number of visits x instruments is calibrated
    retry_failed   only visits whose last attempt failed, including quarantined ones
    overwrite      redo complete products
    progress       called for each visit that ends: (entry, visits done, visits in all); default: a bar in a notebook, else nothing
    update         accept another config in `out` and redo what it changes

    Raises ConfigError, DataError or StoreError before any frame is read if the config, the root or `out` cannot be used;
    later StoreError (disk full), ClusterError (workers or scheduler lost) and RunInterruptedError (SIGINT, SIGTERM): finished
    visits are kept, and the same call resumes the run.

    >>> import tempfile
    >>> from v50calib.simulate import simulate_dataset
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     data = simulate_dataset(folder + "/data", planets=1, frames_fraction=0.002, seed=1)
    ...     calibrate(data, folder + "/run", "calib/official", ["runtime.scheduler=sync"])
    RunSummary(.../run: 2 done)
    """
    refuse_in_a_starting_worker()
    config = config if config is not None else load(profile, overrides)
    if client is None:
        refuse_absent_queue(config.runtime)
    root, out = locate(root), locate(out)
    check_answers(root, out)
    recalibration = prepare(config, out)
    jobs = make_jobs(root, out, config, planets, only, own_workers=client is None)
    check_run_dir(out, config, change=overwrite or update)
    with run_lock(out) as lock, stoppable():
        mark_run_dir(out, config)
        if isinstance(out, ObjectPath):
            clean(out / PRODUCTS, out / SPECTRA)
        jobs = [replace(job, lock=lock.token) for job in jobs]
        decisions = decide(jobs, overwrite=overwrite, retry_failed=retry_failed, limit=limit)
        todo = [d.job for d in decisions if d.action == "do"]
        config, choice = chosen(config, todo) if client is None else (config, "")
        books = Bookkeeping(out, config, decisions, progress if progress is not None else notebook_progress(), lock)
        books.summary.notes += [*passed_over_note(root), *([choice] if choice else [])]
        books.settle()
        with books.closing():
            _execute(jobs, todo, config, client, books)
            books.summary.notes += complete_stores(out)
        # said once here, because in the products nobody looks for it
        books.summary.notes += input_notes(open_root(root), [job.key for job in todo]) if todo else []
        if recalibration is not None:
            books.summary.notes += recalibration.finish()[1]
    return books.summary


def _execute(jobs: Sequence[Job], todo: Sequence[Job], config: RunConfig, client: Client | None, books: Bookkeeping) -> None:
    """Calibrate the visits of `todo`, in this process or on a cluster. jobs: all selected ones, for the check of memory."""
    planets = sorted({job.key.planet_id for job in jobs})
    if not todo:
        # a run that was stopped before its last step
        _fit(planets, config, None, books)
        return
    if client is None and config.runtime.scheduler in HERE and (text := first_compilation()):
        books.notice(text)
    if config.runtime.scheduler == "sync" and client is None:
        books.follow(run_here(todo, config.runtime, books.begin))
        _fit(planets, config, None, books)
        return
    with ExitStack() as stack:
        active = client if client is not None else stack.enter_context(open_client(config.runtime))
        if config.runtime.is_address or client is not None:
            check_memory(config, jobs, active)
        books.follow(run_on(active, todo, config.runtime, books.begin, books.notice))
        _fit(planets, config, active, books)


def _fit(planets: Sequence[str], config: RunConfig, client: Client | None, books: Bookkeeping) -> None:
    """One fit a planet of what has been calibrated, where the config asks for it."""
    out = books.summary.run_dir
    if config.fits_planets and (out / PRODUCTS).is_dir():
        books.summary.notes += notes_of(fit_planets(out, config.runtime, planets, client, lock=books.lock.token))


def plan(
    root: str | os.PathLike[str] | ObjectPath, out: str | os.PathLike[str] | ObjectPath, config: RunConfig, *,
    planets: Sequence[str] = (), only: Sequence[str] = (), limit: int | None = None,
    retry_failed: bool = False, overwrite: bool = False, update: bool = False,
) -> list[Decision]:  # fmt: skip
    """What `calibrate` would do with the same arguments; nothing is written. Raises as it does."""
    root, out = locate(root), locate(out)
    check_answers(root, out)
    jobs = make_jobs(root, out, config, planets, only)
    if out.exists():
        check_run_dir(out, config, change=overwrite or update)
    return decide(jobs, overwrite=overwrite, retry_failed=retry_failed, limit=limit)


def make_jobs(
    root: Location, out: Location, config: RunConfig, planets: Sequence[str] = (), only: Sequence[str] = (), *, own_workers: bool = True
) -> list[Job]:
    """The selected visits as jobs.

    The config is checked against their instruments, channels, lengths and stars, and their need of memory against the workers that
    this run starts (`own_workers`). Raises ConfigError, DataError.
    """
    engines = Engines(config)
    source = open_root(root)
    keys = select(source.visits(), config, planets, source, only)
    for name in dict.fromkeys(key.instrument for key in keys):
        instrument = facts_of(source, [key for key in keys if key.instrument == name])
        if instrument is not None:
            engines.check_instrument(instrument)
    check_inputs(engines, source, keys)
    settings, methods = packed(config), packed_methods(config)
    jobs = [Job(str(root), str(out), key, settings, methods=methods) for key in keys]
    if own_workers and not config.runtime.is_address:
        check_memory(config, jobs)
    return jobs
