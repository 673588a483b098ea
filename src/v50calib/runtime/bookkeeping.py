"""What a call of `calibrate` records: manifest, state and quarantine of the run directory, and the summary it returns."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field, replace

from v50calib.config.models import RunConfig
from v50calib.config.provenance import config_hash, versions
from v50calib.config.redact import redact
from v50calib.errors import ClusterError, ConfigError, DataError, LockLostError, RunInterruptedError, StoreError, V50CalibError
from v50calib.io.catalog import open_root
from v50calib.io.storage.location import Location
from v50calib.markup import table
from v50calib.runs import manifest, quarantine
from v50calib.runs.lock import Held
from v50calib.runs.qc_table import NAME as QC_TABLE
from v50calib.runs.qc_table import exported, write_table
from v50calib.runs.state import RunState
from v50calib.runtime.execute import Outcome
from v50calib.runtime.failures import Alike, Failure
from v50calib.runtime.job import Done, Job
from v50calib.runtime.worklist import Decision, identity_or_none, written

_LOG = logging.getLogger("v50calib")
#: visits in a notebook's table of a run, failed ones first
_SHOWN = 20

#: callback (entry, visits done, visits in all)
Progress = Callable[[manifest.Entry, int, int], None]


@dataclass(repr=False)
class RunSummary:
    """Outcome of a run: the last entry of each visit of this call, in order of completion.

    QC numbers, identities and hashes are in the manifest (`manifest.read`), not here: memory stays small however long the run.
    """

    run_dir: Location
    entries: list[manifest.Entry] = field(default_factory=list)
    #: messages of the recalibration of predictions (calib.top_level_calib)
    notes: list[str] = field(default_factory=list)

    def count(self, state: str) -> int:
        """Number of visits x instruments that ended in this state."""
        return sum(e.state == state for e in self.entries)

    @property
    def failed(self) -> list[manifest.Entry]:
        """Entries of the failed visits."""
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


class Bookkeeping:
    """Records of one call in its run directory; the caller holds the directory's lock, and nothing is written where it has lost it."""

    def __init__(self, out: Location, config: RunConfig, decisions: Sequence[Decision], progress: Progress | None, lock: Held) -> None:
        self.summary, self.lock = RunSummary(out), lock
        self._decisions, self._progress = decisions, progress
        self._fingerprints = {name: config_hash(config.of(name)) for name in {d.job.key.instrument for d in decisions}}
        self._exported = exported(config)
        self._held = quarantine.load(out)
        self._alike = Alike(config.runtime.failures_alike)
        #: lines for the manifest, and last entries of visits for the progress, that are not out yet
        self._lines: list[manifest.Entry] = []
        self._told: list[manifest.Entry] = []
        counts = Counter(d.action for d in decisions)
        self._state = RunState(out, total=len(decisions), skipped=counts["skip"], todo=counts["do"], scheduler=config.runtime.scheduler)

    def settle(self) -> None:
        """Enter the visits that are not calibrated: complete, in quarantine, or with an input that cannot be opened."""
        for decision in self._decisions:
            if decision.action == "skip":
                self._enter(self._entry(decision.job, "skipped"), record=False)
            elif decision.action in ("hold", "broken"):
                assert decision.failure is not None
                self._enter(self._failed(decision.job, decision.failure, 0), record=decision.action == "broken")
        self._flush()

    def begin(self, job: Job) -> None:
        """A visit was given to a worker."""
        with self._writing():
            self.lock.check()
        self._state.begin(job.key.label)

    def notice(self, text: str) -> None:
        """Say on stderr, and in the run's state, what the user should know while the run goes on."""
        _LOG.warning("%s", text)
        self._state.notice(text)

    def follow(self, outcomes: Generator[list[Outcome]]) -> None:
        """Record outcomes as they come, those that come together in one write.

        A product is committed before its line is written: where this process is killed between the two, the next run finds the product.
        Raises StoreError or ClusterError for a failure that every other visit would share.
        """
        with closing(outcomes):
            for together in outcomes:
                with self._writing():
                    self.lock.check()
                stopped: V50CalibError | None = None
                try:
                    for outcome in together:
                        try:
                            self._ended(outcome)
                        except V50CalibError as error:
                            # those that have ended beside it are recorded first
                            stopped = stopped or error
                finally:
                    self._flush()
                if stopped is not None:
                    raise stopped

    def _ended(self, outcome: Outcome) -> None:
        self._state.end(outcome.job.key.label)
        if outcome.done is not None:
            self._finished(outcome, outcome.done)
        elif outcome.failure is not None:
            self._not_finished(outcome, outcome.failure)

    @contextmanager
    def closing(self) -> Iterator[None]:
        """However the run ends, leave its state, the interrupted visits and the table of QC numbers in the run directory."""
        try:
            yield
        except LockLostError:
            # the records are another run's by now
            raise
        except RunInterruptedError as exc:
            self._interrupt(redact(str(exc)))
            self._state.close("interrupted", redact(str(exc)))
            raise RunInterruptedError(f"{self._counts_so_far()}{exc}", exc.exit_code - 128) from None
        except V50CalibError as exc:
            self._interrupt(redact(str(exc)))
            self._state.close("stopped", redact(str(exc)))
            raise
        with self._writing():
            self.lock.check()
        self._state.close("finished")
        with self._writing():
            write_table(self.summary.run_dir, self.summary.run_dir / QC_TABLE, self._exported)

    def _finished(self, outcome: Outcome, done: Done) -> None:
        self._alike.done()
        if self._held.pop(outcome.job.key.label, None) is not None:
            self._save_held()
        key = done.key
        self._enter(
            manifest.Entry(
                key.planet_id, key.visit, key.instrument, "done", done.seconds, self._fingerprints[key.instrument], done.reference_hashes,
                done.qc, attempts=outcome.attempt, at=time.time(), inputs=done.inputs,
            )
        )  # fmt: skip

    def _not_finished(self, outcome: Outcome, failure: Failure) -> None:
        if not outcome.last:
            self._lines.append(self._failed(outcome.job, failure, outcome.attempt, "retry"))
            return
        if _recurs(failure):
            self._hold(outcome.job, failure, outcome.attempt)
        self._enter(self._failed(outcome.job, failure, outcome.attempt))
        if failure.verdict == "stop":
            raise _stopped(failure)
        alike = self._alike.add(outcome.job.key, failure)
        if alike:
            # what is everyone's is no fault of these visits: once it is mended, the same command tries them again
            self._held = {label: held for label, held in self._held.items() if label not in alike}
            self._save_held()
            raise _everyones(failure, len(alike))

    def _hold(self, job: Job, failure: Failure, attempts: int) -> None:
        """Quarantine a visit."""
        held = quarantine.Held(
            failure.message, failure.error_type, attempts, self._fingerprints[job.key.instrument], versions()["v50calib"],
            identity_or_none(job) or {}, written(open_root(job.root), job.key),
        )  # fmt: skip
        self._held[job.key.label] = held
        self._save_held()

    def _interrupt(self, reason: str) -> None:
        """Record the visits that were being calibrated as interrupted."""
        labels = set(self._state.running)
        # the manifest may be what cannot be written: the reason of the stop matters more than these lines
        with suppress(StoreError):
            for decision in self._decisions:
                if decision.label in labels:
                    self._lines.append(self._entry(decision.job, "interrupted", error=reason))
            self._flush()

    def _counts_so_far(self) -> str:
        count = self.summary.count
        return f"{count('done')} calibrated, {count('skipped')} already complete, {len(self.summary.failed)} failed; "

    def _failed(self, job: Job, failure: Failure, attempts: int, state: manifest.State = "failed") -> manifest.Entry:
        return self._entry(
            job, state, attempts=attempts, error=failure.message, error_type=failure.error_type, traceback=failure.traceback
        )  # fmt: skip

    def _entry(self, job: Job, state: manifest.State, **more: object) -> manifest.Entry:
        key = job.key
        content: dict[str, object] = {"config_hash": self._fingerprints[key.instrument], "at": time.time(), **more}
        return manifest.Entry(key.planet_id, key.visit, key.instrument, state, **content)  # type: ignore[arg-type]

    def _enter(self, entry: manifest.Entry, *, record: bool = True) -> None:
        """The last entry of a visit: to the summary, and at the next `_flush` to the manifest (with `record`) and to the progress."""
        self.summary.entries.append(replace(entry, qc={}, inputs={}, reference_hashes={}))
        if record:
            self._lines.append(entry)
        if self._progress is not None:
            self._told.append(entry)

    def _flush(self) -> None:
        """Write the manifest's lines, in one write, then tell the progress."""
        lines, told, self._lines, self._told = self._lines, self._told, [], []
        with self._writing():
            manifest.append(self.summary.run_dir, *lines)
        done = len(self.summary.entries) - len(told)
        for number, entry in enumerate(told, start=done + 1):
            if self._progress is not None:
                self._progress(entry, number, len(self._decisions))

    def _save_held(self) -> None:
        with self._writing():
            quarantine.save(self.summary.run_dir, self._held)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """An OSError in this context is raised as StoreError, with a remedy."""
        try:
            yield
        except OSError as exc:
            raise StoreError(
                f"cannot write into '{self.summary.run_dir}' ({exc.strerror or exc}): free space or repair it, and run the same command "
                "again"
            ) from exc


def _recurs(failure: Failure) -> bool:
    """Whether a visit is bound to fail again: its own fault, or it has killed its workers in every attempt."""
    return failure.verdict == "give_up" or (failure.verdict == "retry" and failure.error_type == "KilledWorker")


def _stopped(failure: Failure) -> V50CalibError:
    """The error of a run that is stopped by a failure which every other visit would share."""
    if failure.error_type == "LockLostError":
        return LockLostError(failure.message)
    kind = ClusterError if failure.error_type in ("NoWorkerError", "NoValidWorkerError") else StoreError
    return kind(f"{failure.message}. The run was stopped, because every other visit would fail alike; finished visits are kept")


def _everyones(failure: Failure, count: int) -> V50CalibError:
    """The error of a run that is stopped because one reason has met `count` visits in a row."""
    kind = {"ConfigError": ConfigError, "DataError": DataError, "KilledWorker": ClusterError}.get(failure.error_type, StoreError)
    return kind(
        f"{count} visits in a row failed for one reason and none was calibrated between, so the run was stopped "
        f"(runtime.failures_alike={count}); the last one said: {failure.message or failure.error_type}. Finished visits are kept; mend the "
        "cause and run the same command again, which tries these visits too, or go on to the end with runtime.failures_alike=null"
    )
