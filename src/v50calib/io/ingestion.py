"""`ingest`: the visits of a root into a raw Zarr store, one by one, each all or nothing."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from v50calib.errors import DataError, StoreError, V50CalibError, refuse_in_a_daemon
from v50calib.io.catalog import open_root
from v50calib.io.challenge.parquet import default_threads
from v50calib.io.identity import unchanged
from v50calib.io.keys import VisitKey
from v50calib.io.raw_store.group import create_parents, create_store, group_path, open_group, write_visit
from v50calib.io.raw_store.root import RawStoreRoot
from v50calib.io.root import Root
from v50calib.io.source import VisitSource
from v50calib.io.storage.commit import clean_leftovers, commit, is_committed, read_record, staging, write_record
from v50calib.io.storage.location import Location, check_answers, locate
from v50calib.io.storage.objects import ObjectPath
from v50calib.processes import worker_pool
from v50calib.safety.files import refuse_links
from v50calib.untrusted.boundary import foreign

#: called after each visit: what became of it ("train/1/0/FGS1 written"), number of visits done, number of all
Progress = Callable[[str, int, int], None]
#: key of a visit's record: the identity of the files that it was made of
SOURCE = "source"
#: frames that are compared at a time
BLOCK_FRAMES = 1000


@dataclass(frozen=True)
class VisitOutcome:
    """What became of one visit: written, skipped because it is in the store already, or failed with `error`."""

    key: VisitKey
    status: Literal["written", "skipped", "failed"]
    error: str = ""


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

    def add(self, outcome: VisitOutcome) -> None:
        """Record one visit."""
        if outcome.status == "failed":
            self.failed[outcome.key] = outcome.error
        else:
            (self.written if outcome.status == "written" else self.skipped).append(outcome.key)


def ingest(
    root: str | os.PathLike[str] | ObjectPath,
    store: str | os.PathLike[str] | ObjectPath,
    *,
    keys: Iterable[VisitKey] | None = None,
    workers: int = 1,
    update: bool = False,
    progress: Progress | None = None,
) -> IngestReport:
    """Write the visits of `root` into the raw Zarr store `store`; visits already there, made of the same files, are skipped.

    keys: only these visits (default all); workers: processes, each about 0.6 GB; progress: called after each visit.
    update: replace visits whose files have other content than the store's; without it each of them fails, by name, and the store keeps
    what it has.
    A visit that cannot be read is recorded in the report and does not stop the others; killed runs leave nothing
    that a reader accepts. Raises StoreError, before reading, where `store` cannot be written, and when the disk is
    full; DataError where `root` is no dataset or `workers` is below 1.
    """
    location, target = locate(root), locate(store)
    if workers < 1:
        raise DataError(f"ingest with workers={workers}: use at least 1 process")
    check_answers(location, target)
    source = open_root(location)
    if isinstance(source, RawStoreRoot):
        raise DataError(f"{location} is a raw Zarr store already: give the challenge's dataset folder to ingest")
    wanted = source.visits() if keys is None else sorted(set(keys))
    if not wanted:
        raise DataError(f"{location} holds no visit to ingest: check the path or download the dataset")
    create_store(target)
    report = IngestReport()
    for done, outcome in enumerate(_outcomes(source, target, wanted, workers, update), start=1):
        report.add(outcome)
        if progress is not None:
            progress(f"{outcome.key} {outcome.status}", done, len(wanted))
    return report


def ingest_visit(root: Root, store: Location, key: VisitKey, threads: int | None = None, *, update: bool = False) -> bool:
    """Ingest one visit; False where it is there already; leaves nothing half-written.

    Raises DataError, StoreError; StoreError also where the store's visit is of other content, without `update`.
    """
    final = group_path(store, key)
    if isinstance(final, Path):
        # a process that was killed in a replacement has left the visit moved aside, or the one before it beside the new one
        clean_leftovers(final)
    there = is_committed(final)
    if there and unchanged(root, key, read_record(final).get(SOURCE)):
        return False
    # before the files are read: what changes meanwhile must not pass for what was read
    made_of = root.identity(key)
    source = root.open(key, threads)
    if there and not update:
        _refuse_other_content(store, key, source)
        # the same content in files of another time
        write_record(final, read_record(final) | {SOURCE: made_of})
        return False
    if isinstance(store, Path) and isinstance(final, Path):
        refuse_links(store, final)
    try:
        create_parents(store, key)
        with staging(final, store) as tmp:
            write_visit(tmp, source)
            record = {"key": str(key), "n_frames": source.frames.n_frames, "reference": source.reference.hashes, SOURCE: made_of}
            return commit(tmp, final, record, replace=there)
    except OSError as error:
        raise StoreError(
            f"cannot write {key} ({error.strerror or error}): free some space or choose another folder and run again"
        ) from error


def _refuse_other_content(store: Location, key: VisitKey, source: VisitSource) -> None:
    """Raises StoreError where a visit of the store differs from its files: maps, axes, attributes or a frame."""
    held = open_group(store, key)
    parts = {
        "its attributes (ADC constants, star)": json.dumps(held.attrs, sort_keys=True) == json.dumps(source.attrs, sort_keys=True),
        "its calibration maps": held.reference.hashes == source.reference.hashes,
        "its number of frames": held.frames.n_frames == source.frames.n_frames,
        "its axes": all(
            np.array_equal(np.asarray(getattr(held, name)), np.asarray(getattr(source, name)), equal_nan=True)
            for name in ("time_h", "exposure_s", "wavelength")
        ),
    }
    other = next((what for what, same in parts.items() if not same), None)
    if other is None:
        blocks = source.frames.blocks(BLOCK_FRAMES)
        if not all(np.array_equal(block, held.frames.read(start, start + len(block))) for start, block in blocks):
            other = "its raw frames"
    if other is not None:
        raise StoreError(
            f"{store} has {key} of other content than its files now: {other} differ; nothing was replaced: --update ingests it again, or "
            "give another store"
        )


def _outcomes(root: Root, store: Location, keys: list[VisitKey], workers: int, update: bool) -> Iterator[VisitOutcome]:
    """Outcome of each visit, in order of completion."""
    if workers == 1 or len(keys) == 1:
        for key in keys:
            yield _attempt(root, store, key, None, update)
        return
    threads = max(1, default_threads() // workers)
    refuse_in_a_daemon(f"ingest with workers={workers}", "workers=1")
    with worker_pool(workers) as pool:
        pending = [pool.submit(_attempt, root, store, key, threads, update) for key in keys]
        try:
            for done in as_completed(pending):
                yield done.result()
        except BrokenProcessPool as error:
            raise StoreError(
                f"an ingest process died (killed, or out of memory with {workers} workers): finished visits are kept; "
                "run again with fewer workers"
            ) from error
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _attempt(root: Root, store: Location, key: VisitKey, threads: int | None, update: bool) -> VisitOutcome:
    try:
        with foreign(f"{root.location}, visit {key}", "cannot be ingested"):
            return VisitOutcome(key, "written" if ingest_visit(root, store, key, threads, update=update) else "skipped")
    except StoreError as error:
        if isinstance(error.__cause__, OSError) and error.__cause__.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
            raise  # every other visit would fail alike
        return VisitOutcome(key, "failed", str(error))
    except V50CalibError as error:
        return VisitOutcome(key, "failed", str(error))
