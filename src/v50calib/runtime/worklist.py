"""What to do with each selected visit: nothing, calibrate it, or make no further attempt; with the reason, before anything runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from v50calib.config.provenance import config_hash, versions
from v50calib.errors import StoreError, V50CalibError
from v50calib.io.catalog import open_root
from v50calib.io.identity import unchanged
from v50calib.io.keys import VisitKey
from v50calib.io.raw_store.group import group_path
from v50calib.io.raw_store.root import RawStoreRoot
from v50calib.io.root import Root
from v50calib.io.storage.commit import COMMIT_NAME
from v50calib.io.storage.location import locate
from v50calib.io.storage.objects import ObjectPath
from v50calib.runs import manifest, quarantine
from v50calib.runs.calibrated import PRODUCTS
from v50calib.runs.product import product_record
from v50calib.runtime.failures import Failure, judge
from v50calib.runtime.job import Job

#: visits whose state is read at a time from an object store
AT_ONCE = 16
Action = Literal["do", "skip", "hold", "broken"]


@dataclass(frozen=True)
class Decision:
    """do: calibrate; skip: complete; hold: in quarantine; broken: its input cannot be opened (`failure`)."""

    job: Job
    action: Action
    reason: str
    failure: Failure | None = None

    @property
    def label(self) -> str:
        return self.job.key.label


def decide(jobs: Sequence[Job], *, overwrite: bool = False, retry_failed: bool = False, limit: int | None = None) -> list[Decision]:
    """One Decision per job, in order; with `retry_failed` only of jobs whose last attempt failed, with at most `limit` times `do`.

    A product is complete if its commit record has the hash of its instrument's config and the identity that the input has now.
    """
    if not jobs:
        return []
    run_dir = locate(jobs[0].out)
    fingerprints = {job.key.instrument: config_hash(job.config) for job in {job.key.instrument: job for job in jobs}.values()}
    held = quarantine.load(run_dir)
    if retry_failed:
        failed = {e.label for e in manifest.read(run_dir) if e.state == "failed"} | set(held)
        jobs, held = [j for j in jobs if j.key.label in failed], {}
    decisions, todo = [], 0
    for decision in _decisions(jobs, fingerprints, held, overwrite):
        if decision.action == "do" and limit is not None:
            if todo >= limit:
                continue
            todo += 1
        decisions.append(decision)
    return decisions


def _decisions(jobs: Sequence[Job], fingerprints: dict[str, str], held: dict[str, quarantine.Held], overwrite: bool) -> Iterator[Decision]:
    """`_decide` for each job in order; AT_ONCE at a time if each answer is a request over the network."""
    if not jobs:
        return
    root = open_root(jobs[0].root)
    if not isinstance(locate(jobs[0].out), ObjectPath) and not isinstance(root.location, ObjectPath):
        yield from (_decide(root, job, fingerprints[job.key.instrument], held, overwrite) for job in jobs)
        return
    with ThreadPoolExecutor(AT_ONCE) as pool:
        yield from pool.map(lambda job: _decide(root, job, fingerprints[job.key.instrument], held, overwrite), jobs)


def _decide(root: Root, job: Job, fingerprint: str, held: dict[str, quarantine.Held], overwrite: bool) -> Decision:
    if job.key.label in held:
        known = held[job.key.label]
        if known.recurs(fingerprint, versions()["v50calib"], identity_or_none(job), written(root, job.key)):
            reason = f"in quarantine after {known.attempts} attempt(s), until its files change or --retry-failed is given: {known.error}"
            return Decision(job, "hold", reason, Failure("give_up", reason, known.error_type, ""))
    if overwrite:
        return Decision(job, "do", "overwrite")
    try:
        record = product_record(locate(job.out) / PRODUCTS, job.key)
    except StoreError:
        return Decision(job, "do", "damaged commit record")
    if record is None:
        return Decision(job, "do", "no product")
    if record.get("config_hash") != fingerprint:
        return Decision(job, "do", "config changed")
    try:
        complete = unchanged(root, job.key, record.get("inputs"))
    except (V50CalibError, OSError) as exc:
        return Decision(job, "broken", "input cannot be opened", judge(exc))
    return Decision(job, "skip", "complete") if complete else Decision(job, "do", "input changed")


def identity_or_none(job: Job) -> dict[str, str] | None:
    """Identity of the input as it is now; None if it cannot be opened."""
    try:
        return open_root(job.root).identity(job.key)
    except (V50CalibError, OSError):
        return None


def written(root: Root, key: VisitKey) -> str:
    """When a visit's files were written, as far as that can be told: a raw store's visit that was damaged and is ingested again has the
    identity that it had, and a record of its own time. Empty where nothing tells it, as in a bucket.
    """
    try:
        if not isinstance(root, RawStoreRoot):
            return root.stamp(key)
        record = group_path(root.location, key) / COMMIT_NAME
        return str(record.stat().st_mtime_ns) if isinstance(record, Path) else ""
    except (V50CalibError, OSError):
        return ""
