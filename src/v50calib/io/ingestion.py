"""`ingest`: a challenge dataset into a raw Zarr store, visit by visit, each all or nothing."""

from __future__ import annotations

import errno
import multiprocessing
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field

from v50calib.errors import DataError, StoreError, V50CalibError
from v50calib.io.catalog import open_source, root_kind, scan
from v50calib.io.challenge.parquet import default_threads
from v50calib.io.keys import VisitKey
from v50calib.io.raw_store.group import create_parents, create_store, group_path, write_visit
from v50calib.io.storage.commit import commit, is_committed, staging
from v50calib.io.storage.location import Location, check_answers, locate
from v50calib.io.storage.objects import ObjectPath

#: called in the driver after each visit: what was done ("train/1/0/FGS1 written"), how many are done, of how many
Progress = Callable[[str, int, int], None]


@dataclass
class IngestReport:
    """What became of each visit; `failed` maps a key to the error's message."""

    written: list[VisitKey] = field(default_factory=list)
    skipped: list[VisitKey] = field(default_factory=list)
    failed: dict[VisitKey, str] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """True where every visit is in the store."""
        return not self.failed


def ingest(
    root: str | os.PathLike[str] | ObjectPath,
    store: str | os.PathLike[str] | ObjectPath,
    *,
    keys: Iterable[VisitKey] | None = None,
    workers: int = 1,
    progress: Progress | None = None,
) -> IngestReport:
    """Write the visits of dataset `root` into the raw Zarr store `store`; visits already there are skipped.

    keys: only these visits (default all); workers: processes, each about 0.6 GB; progress: called after each visit.
    A visit that cannot be read is recorded in the report and does not stop the others; killed runs leave nothing
    that a reader accepts. Raises StoreError, before reading, where `store` cannot be written, and when the disk is
    full; DataError where `root` is no dataset or `workers` is below 1.
    """
    source, target = locate(root), locate(store)
    if workers < 1:
        raise DataError(f"ingest with workers={workers}: use at least 1 process")
    check_answers(source, target)
    if root_kind(source) == "store":
        raise DataError(f"{source} is a raw Zarr store already: give the challenge's dataset folder to ingest")
    wanted = scan(source) if keys is None else sorted(set(keys))
    if not wanted:
        raise DataError(f"{source} holds no visit to ingest: check the path or download the dataset")
    create_store(target)
    report = IngestReport()
    for done, (key, message) in enumerate(_run(source, target, wanted, workers), start=1):
        if message is None:
            report.written.append(key)
            status = "written"
        elif message == "":
            report.skipped.append(key)
            status = "skipped"
        else:
            report.failed[key] = message
            status = "failed"
        if progress is not None:
            progress(f"{key} {status}", done, len(wanted))
    return report


def ingest_visit(root: Location, store: Location, key: VisitKey, threads: int | None = None) -> bool:
    """Ingest one visit; False where it is there already; leaves nothing half-written. Raises DataError, StoreError."""
    final = group_path(store, key)
    if is_committed(final):
        return False
    source = open_source(root, key, threads=threads)
    try:
        create_parents(store, key)
        with staging(final) as tmp:
            write_visit(tmp, source)
            record = {"key": str(key), "n_frames": source.frames.n_frames, "reference": source.reference.hashes}
            return commit(tmp, final, record)
    except OSError as error:
        raise StoreError(
            f"cannot write {key} ({error.strerror or error}): free some space or choose another folder and run again"
        ) from error


def _run(root: Location, store: Location, keys: list[VisitKey], workers: int) -> Iterator[tuple[VisitKey, str | None]]:
    """(key, None written | "" skipped | reason), in order of completion."""
    if workers == 1 or len(keys) == 1:
        for key in keys:
            yield key, _attempt(root, store, key, None)
        return
    threads = max(1, default_threads() // workers)
    # spawn: a forked child inherits arrow's and zarr's thread pools in an undefined state
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        pending = {pool.submit(_attempt, root, store, key, threads): key for key in keys}
        try:
            for done in as_completed(pending):
                yield pending[done], done.result()
        except BrokenProcessPool as error:
            raise StoreError(
                f"an ingest process died (killed, or out of memory with {workers} workers): finished visits are kept; "
                "run again with fewer workers"
            ) from error
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _attempt(root: Location, store: Location, key: VisitKey, threads: int | None) -> str | None:
    try:
        return None if ingest_visit(root, store, key, threads) else ""
    except StoreError as error:
        if isinstance(error.__cause__, OSError) and error.__cause__.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
            raise  # every other visit would fail alike
        return str(error)
    except V50CalibError as error:
        return str(error)
