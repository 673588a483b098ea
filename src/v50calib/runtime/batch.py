"""A whole dataset: catalog, what is left to do, execution, products, manifest."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field, replace

from distributed import Client

from v50calib.config import load
from v50calib.config.models import RunConfig
from v50calib.config.provenance import config_hash, versions
from v50calib.engine.engine import Engine
from v50calib.errors import ClusterError, RunInterruptedError, StoreError, V50CalibError
from v50calib.io.catalog import open_root
from v50calib.io.storage.location import Location, check_answers, locate
from v50calib.io.storage.objects import ObjectPath
from v50calib.markup import table
from v50calib.runs import manifest as journal
from v50calib.runs import quarantine
from v50calib.runs.directory import check_run_dir, mark_run_dir
from v50calib.runs.lock import run_lock
from v50calib.runs.qc_table import NAME as QC_TABLE
from v50calib.runs.qc_table import exported, write_table
from v50calib.runs.state import RunState
from v50calib.runs.stop import stoppable
from v50calib.runtime.cluster import open_client, refuse_in_a_starting_worker
from v50calib.runtime.execute import Outcome, run_here, run_on
from v50calib.runtime.failures import Failure
from v50calib.runtime.job import Job, packed
from v50calib.runtime.memory import check_memory
from v50calib.runtime.recalibrate import prepare
from v50calib.runtime.select import select
from v50calib.runtime.worklist import Decision, decide, identity_or_none

#: visits in a notebook's table of a run, failed ones first
_SHOWN = 20

Progress = Callable[[journal.Entry, int, int], None]


@dataclass(repr=False)
class RunSummary:
    """Outcome of a run: the last entry of each visit of this call, in order of completion.

    QC numbers, identities and hashes are in the manifest (`journal.read`), not here: a run of any length keeps little.
    """

    run_dir: Location
    entries: list[journal.Entry] = field(default_factory=list)
    #: what the recalibration of predictions has to say (calib.top_level_calib)
    notes: list[str] = field(default_factory=list)

    def count(self, state: str) -> int:
        return sum(e.state == state for e in self.entries)

    @property
    def failed(self) -> list[journal.Entry]:
        return [e for e in self.entries if e.state == "failed"]

    def _counts(self) -> str:
        return ", ".join(f"{n} {state}" for state, n in Counter(e.state for e in self.entries).items()) or "nothing to do"

    def __repr__(self) -> str:
        return f"RunSummary({self.run_dir}: {self._counts()})"

    def _repr_html_(self) -> str:
        shown = [*self.failed, *(e for e in self.entries if e.state != "failed")][:_SHOWN]
        more = f"; {len(self.entries) - _SHOWN} more are not shown" if len(self.entries) > _SHOWN else ""
        rows = [(e.label, e.state, f"{e.seconds:.1f}", e.error) for e in shown]
        return table(("visit", "state", "s", "error"), rows, f"{self._counts()}{more}")


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

    Products go to out/calibrated.zarr/<planet_id>/<visit>/<instrument>; a visit is written whole or not at all, and
    one that is there under the same config and input is skipped. A visit's failure is recorded in the manifest and
    does not stop the others; one that may pass is tried again (runtime.retries). At the end, qc.csv in `out` has a row for each
    visit, instrument and stage.

    planets, only  restrict the run; only: PLANET[/VISIT[/INSTRUMENT]]
    limit          at most so many visits are calibrated
    retry_failed   those visits only whose last attempt failed, quarantined ones too
    overwrite      redo complete products; update: accept another config in `out` and redo what it changes

    Raises ConfigError, DataError or StoreError before any frame is read if the config, the root or `out` cannot be used;
    later StoreError (disk full), ClusterError (workers or scheduler lost) and RunInterruptedError (SIGINT, SIGTERM): what is finished
    stays, and the same call goes on from there.
    """
    refuse_in_a_starting_worker()
    config = config if config is not None else load(profile, overrides)
    root, out = locate(root), locate(out)
    check_answers(root, out)
    recalibration = prepare(config, out)
    jobs = make_jobs(root, out, config, planets, only, own_workers=client is None)
    check_run_dir(out, config, change=overwrite or update)
    with run_lock(out), stoppable():
        mark_run_dir(out, config)
        decisions = decide(jobs, overwrite=overwrite, retry_failed=retry_failed, limit=limit)
        run = _Run(out, config, decisions, progress)
        run.settle()
        todo = [d.job for d in decisions if d.action == "do"]
        with run.closing():
            if todo and config.runtime.scheduler == "sync" and client is None:
                run.follow(run_here(todo, config.runtime, run.begin))
            elif todo:
                with ExitStack() as stack:
                    active = client if client is not None else stack.enter_context(open_client(config.runtime))
                    if config.runtime.is_address or client is not None:
                        check_memory(config, jobs, active)
                    run.follow(run_on(active, todo, config.runtime, run.begin))
        if recalibration is not None:
            run.summary.notes += recalibration.finish()[1]
    return run.summary


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
    """The selected visits as jobs; config and instruments are checked against them, and the memory of workers that we start.

    Raises ConfigError, DataError.
    """
    engine = Engine(config)
    source = open_root(root)
    keys = select(source.visits(), config, planets, source, only)
    for key in {key.instrument: key for key in keys}.values():
        engine.check_instrument(source.instrument(key))
    settings = packed(config)
    jobs = [Job(str(root), str(out), key, settings) for key in keys]
    if own_workers and not config.runtime.is_address:
        check_memory(config, jobs)
    return jobs


class _Run:
    """Bookkeeping of one call: manifest, state, quarantine, progress."""

    def __init__(self, out: Location, config: RunConfig, decisions: Sequence[Decision], progress: Progress | None) -> None:
        self.summary = RunSummary(out)
        self._decisions, self._progress = decisions, progress
        self._fingerprint, self._exported = config_hash(config), exported(config)
        self._held = quarantine.load(out)
        counts = Counter(d.action for d in decisions)
        self._state = RunState(out, total=len(decisions), skipped=counts["skip"], todo=counts["do"], scheduler=config.runtime.scheduler)

    def settle(self) -> None:
        """Entries of what needs no work."""
        for decision in self._decisions:
            if decision.action == "skip":
                self._note(self._entry(decision.job, "skipped"), record=False)
            elif decision.action in ("hold", "broken"):
                assert decision.failure is not None
                self._note(self._failed(decision.job, decision.failure, 0), record=decision.action == "broken")

    def begin(self, job: Job) -> None:
        self._state.begin(job.key.label)

    def follow(self, outcomes: Generator[Outcome]) -> None:
        """Record outcomes as they come. Raises StoreError where a failure would befall every other visit alike."""
        with closing(outcomes):
            for outcome in outcomes:
                self._state.end(outcome.job.key.label)
                if outcome.done is not None:
                    self._finished(outcome)
                elif outcome.failure is not None:
                    self._not_finished(outcome, outcome.failure)

    def _not_finished(self, outcome: Outcome, failure: Failure) -> None:
        if not outcome.last:
            self._record(self._failed(outcome.job, failure, outcome.attempt, "retry"))
            return
        self._hold(outcome.job, failure, outcome.attempt)
        self._note(self._failed(outcome.job, failure, outcome.attempt))
        if failure.verdict == "stop":
            raise self._stopped(failure)

    @contextmanager
    def closing(self) -> Iterator[None]:
        """Leave the run's state, and the visits in flight, told in the run directory however it ends."""
        try:
            yield
        except RunInterruptedError as exc:
            self._interrupt(str(exc))
            self._state.close("interrupted", str(exc))
            raise RunInterruptedError(f"{self._told()}{exc}", exc.exit_code - 128) from None
        except V50CalibError as exc:
            self._interrupt(str(exc))
            self._state.close("stopped", str(exc))
            raise
        self._state.close("finished")
        try:
            write_table(self.summary.run_dir, self.summary.run_dir / QC_TABLE, self._exported)
        except OSError as exc:
            raise self._unwritable(exc) from exc

    def _finished(self, outcome: Outcome) -> None:
        done = outcome.done
        assert done is not None
        if self._held.pop(outcome.job.key.label, None) is not None:
            self._save_held()
        key = done.key
        self._note(
            journal.Entry(
                key.planet_id, key.visit, key.instrument, "done", done.seconds, self._fingerprint, done.reference_hashes, done.qc,
                attempts=outcome.attempt, at=time.time(), inputs=done.inputs,
            )
        )  # fmt: skip

    def _hold(self, job: Job, failure: Failure, attempts: int) -> None:
        """Quarantine a visit whose fault recurs, or that has cost its workers every attempt."""
        if failure.verdict == "stop" or (failure.verdict == "retry" and failure.error_type != "KilledWorker"):
            return
        held = quarantine.Held(
            failure.message, failure.error_type, attempts, self._fingerprint, versions()["v50calib"], identity_or_none(job) or {}
        )
        self._held[job.key.label] = held
        self._save_held()

    def _interrupt(self, reason: str) -> None:
        labels = set(self._state.running)
        # the manifest may be what cannot be written: the reason of the stop matters more than these lines, and where one cannot be
        # written the others, each after a wait, cannot either
        with suppress(StoreError):
            for decision in self._decisions:
                if decision.label in labels:
                    self._record(self._entry(decision.job, "interrupted", error=reason))

    def _told(self) -> str:
        count = self.summary.count
        return f"{count('done')} calibrated, {count('skipped')} already complete, {len(self.summary.failed)} failed; "

    def _stopped(self, failure: Failure) -> V50CalibError:
        kind = ClusterError if failure.error_type in ("NoWorkerError", "NoValidWorkerError") else StoreError
        return kind(f"{failure.message}. The run was stopped, because every other visit would fail alike; finished visits are kept")

    def _failed(self, job: Job, failure: Failure, attempts: int, state: journal.State = "failed") -> journal.Entry:
        return self._entry(
            job, state, attempts=attempts, error=failure.message, error_type=failure.error_type, traceback=failure.traceback
        )  # fmt: skip

    def _entry(self, job: Job, state: journal.State, **more: object) -> journal.Entry:
        key = job.key
        content: dict[str, object] = {"config_hash": self._fingerprint, "at": time.time(), **more}
        return journal.Entry(key.planet_id, key.visit, key.instrument, state, **content)  # type: ignore[arg-type]

    def _record(self, entry: journal.Entry) -> None:
        try:
            journal.append(self.summary.run_dir, entry)
        except OSError as exc:
            raise self._unwritable(exc) from exc

    def _save_held(self) -> None:
        try:
            quarantine.save(self.summary.run_dir, self._held)
        except OSError as exc:
            raise self._unwritable(exc) from exc

    def _unwritable(self, exc: OSError) -> StoreError:
        return StoreError(
            f"cannot write into '{self.summary.run_dir}' ({exc.strerror or exc}): free space or mend it, and run the same command again"
        )

    def _note(self, entry: journal.Entry, *, record: bool = True) -> None:
        self.summary.entries.append(replace(entry, qc={}, inputs={}, reference_hashes={}))
        if record:
            self._record(entry)
        if self._progress is not None:
            self._progress(entry, len(self.summary.entries), len(self._decisions))
