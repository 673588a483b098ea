"""Runs jobs, in this process or on a Dask cluster: a limited number at a time, limited retries, a clean stop.

Yields one Outcome at the end of every attempt, those that are there at a moment together. After a failure that may pass, the job is
tried again; the wait before it doubles each time.
"""

from __future__ import annotations

import heapq
import itertools
import math
import queue
import time
from collections import deque
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from concurrent.futures import Future as CFuture
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from distributed import Client, Future

from v50calib.config.runtime import RuntimeConfig
from v50calib.errors import ClusterError, V50CalibError
from v50calib.io.catalog import open_root
from v50calib.runs.stop import STOP, VisitStoppedError
from v50calib.runtime.failures import Failure, attempt, judge
from v50calib.runtime.job import Done, Job, chunks_job, extent_of_job, finish_job, prepare_job, run_job
from v50calib.runtime.queues import all_refused, refusal

#: visits submitted at a time, per worker thread: enough to keep workers busy, few enough to keep the scheduler small
IN_FLIGHT = 2
#: tasks per worker thread into which the time chunks of a visit are divided: enough for an even load, each long compared with
#: the overhead of a task
RUNS = 4
#: time between two looks at signals and waiting retries, and between two questions to the scheduler for its workers, s
POLL_S, ASK_S = 0.2, 2.0
#: time without a sign of life of a worker after which that is said, s. Dask gives it up after `distributed.scheduler.worker-ttl` (300 s)
SILENT_S = 30.0
#: outcomes that are taken together: the driver's work for one is much the same as for several
TOGETHER = 64
#: how long the driver waits for more of them, s: workers have another visit each meanwhile
GATHER_S = 0.02
#: longest wait before another attempt, s
LONGEST_WAIT_S = 60.0

T = TypeVar("T")
Begin = Callable[[Job], None]
#: told what the user should know while a run goes on
Notice = Callable[[str], None]


@dataclass(frozen=True)
class Outcome:
    """The end of one attempt: `done` or `failure`; `last` if no other attempt follows."""

    job: Job
    attempt: int
    done: Done | None
    failure: Failure | None
    last: bool = True


class Backlog:
    """Jobs to start: those that are ready, and those that wait for another attempt."""

    def __init__(self, jobs: Sequence[Job], runtime: RuntimeConfig) -> None:
        self._ready = deque((job, 1) for job in jobs)
        self._later: list[tuple[float, int, Job, int]] = []
        self._order = itertools.count()
        self._runtime = runtime

    def __len__(self) -> int:
        return len(self._ready) + len(self._later)

    def take(self) -> tuple[Job, int] | None:
        """The next job with the number of its attempt; None if no job is due."""
        while self._later and self._later[0][0] <= time.monotonic():
            _, _, job, number = heapq.heappop(self._later)
            self._ready.append((job, number))
        return self._ready.popleft() if self._ready else None

    def outcome(self, job: Job, number: int, result: Done | BaseException) -> Outcome:
        """The Outcome of an attempt; puts the job back if it may be tried again."""
        if isinstance(result, Done):
            return Outcome(job, number, result, None)
        failure = judge(result)
        again = failure.verdict == "retry" and number <= self._runtime.retries
        if again:
            pause = min(LONGEST_WAIT_S, self._runtime.retry_wait_s * 2 ** (number - 1))
            heapq.heappush(self._later, (time.monotonic() + pause, next(self._order), job, number + 1))
        return Outcome(job, number, None, failure, last=not again)


def run_here(jobs: Sequence[Job], runtime: RuntimeConfig, begin: Begin) -> Generator[list[Outcome]]:
    """Visits in this process, without Dask. Raises RunInterruptedError, after the outcomes of the visits that have ended.

    runtime.threads_per_worker visits run at a time; if there are fewer visits than threads, they run one after the other, and
    each uses all threads for its time chunks.
    """
    threads = runtime.threads_per_worker
    at_once = threads if len(jobs) >= threads else 1
    backlog = Backlog([replace(job, threads=threads // at_once) for job in jobs], runtime)
    # even a single visit runs in a thread of its own: the driver's thread is free for signals and bookkeeping
    with ThreadPoolExecutor(at_once) as pool:
        running: dict[CFuture[Done], tuple[Job, int]] = {}
        while backlog or running:
            while not STOP and len(running) < at_once and (item := backlog.take()) is not None:
                begin(item[0])
                running[pool.submit(attempt, run_job, item[0])] = item
            finished, _ = wait(running, timeout=POLL_S, return_when=FIRST_COMPLETED)
            if STOP and not finished:
                # each chunk checks for the stop itself; the pool waits for them when it is left
                raise STOP.error()
            ended = {future: running.pop(future) for future in finished}
            found = [backlog.outcome(*item, result) for future, item in ended.items() if (result := _result_here(future)) is not None]
            if found:
                yield found
            if len(found) < len(ended):
                raise STOP.error()
            if not running and not finished:
                time.sleep(POLL_S)


def _result_here(future: CFuture[Done]) -> Done | BaseException | None:
    """Result of a finished future, or why it failed; None where the visit was stopped."""
    error = future.exception()
    if isinstance(error, VisitStoppedError):
        return None
    return future.result() if error is None else error


def run_on(
    client: Client, jobs: Sequence[Job], runtime: RuntimeConfig, begin: Begin, notice: Notice = lambda _: None
) -> Generator[list[Outcome]]:  # fmt: skip
    """Visits on a cluster, a limited number at a time; a visit is one task, or several over its time chunks if visits are few.

    notice is told of workers that are silent: they hold their visits until they wake up or Dask gives them up.
    Raises RunInterruptedError on a signal, ClusterError where scheduler or workers are lost. Unfinished tasks are cancelled.
    """
    watch = Watch(client, runtime)
    # the time chunks of a file that decodes as a whole cannot be decoded separately
    fan_out = len(jobs) < watch.slots and not open_root(jobs[0].root).whole_files
    own = 1 if fan_out else watch.threads(len(jobs))
    backlog = Backlog([replace(job, threads=own) for job in jobs], runtime)
    running: dict[Any, tuple[Future[Done], Job, int]] = {}
    finished: queue.SimpleQueue[Any] = queue.SimpleQueue()
    try:
        while backlog or running:
            if STOP:
                raise STOP.error()
            due: list[tuple[Job, int]] = []
            while len(running) + len(due) < watch.window and (item := backlog.take()) is not None:
                begin(item[0])
                due.append(item)
            for future, item in zip(_submit(client, [job for job, _ in due], watch.slots if fan_out else 0), due, strict=True):
                running[future.key] = (future, *item)
                future.add_done_callback(lambda f: finished.put(f.key))
            watch.look()
            for text in watch.silent({key: job.key.label for key, (_, job, _) in running.items()}):
                notice(text)
            ended = [running.pop(key) for key in _ended(finished, min(TOGETHER, len(running)))]
            if ended:
                results = watch.results([future for future, _, _ in ended])
                yield [backlog.outcome(job, number, result) for (_, job, number), result in zip(ended, results, strict=True)]
    finally:
        if running and client.status == "running":
            client.cancel([future for future, _, _ in running.values()], force=True)


def _ended(finished: queue.SimpleQueue[Any], most: int) -> list[Any]:
    """Tasks that have ended, at most `most`: the first, and those of the next GATHER_S; none where there is none within POLL_S."""
    keys = []
    with suppress(queue.Empty):
        keys.append(finished.get(timeout=POLL_S))
        until = time.monotonic() + GATHER_S
        while len(keys) < most:
            keys.append(finished.get(timeout=max(0.0, until - time.monotonic())))
    return keys


def _submit(client: Client, jobs: Sequence[Job], slots: int) -> list[Future[Done]]:
    """A future for each visit; with `slots`, its chunks are spread over so many threads."""
    if slots:
        return [_submit_chunks(client, job, slots) for job in jobs]
    # one message for all
    return client.map(attempt, [run_job] * len(jobs), jobs, pure=False) if jobs else []


class Watch:
    """What the driver knows of its cluster: connection, number of worker threads, time without any."""

    def __init__(self, client: Client, runtime: RuntimeConfig) -> None:
        self._client, self._runtime = client, runtime
        #: the one that this process started, if it did
        self._cluster = getattr(client, "cluster", None)
        self._seen = self._asked = time.monotonic()
        #: by worker: its last sign of life by the scheduler's clock, since when that is the same by ours, whether this was said
        self._heard: dict[str, tuple[float, float, bool]] = {}
        self._quiet: list[str] = []
        self._refused = False
        #: threads of each worker, and of all
        self._held: list[int] = []
        self.slots = 0
        self._ask()

    @property
    def window(self) -> int:
        """Visits to submit at a time: some even before the first worker, so that an adaptive cluster has a reason to grow."""
        return max(IN_FLIGHT * self.slots, self._runtime.num_workers or IN_FLIGHT)

    def threads(self, visits: int) -> int:
        """Threads of its own for each of so many visits, where they are no more than the threads there are: idle ones decode and calibrate.

        Of several visits that share this machine one ends first: each gets a thread more than its part.
        """
        if self.slots == 0 or visits > self.slots or self._runtime.adaptive.enabled:
            return 1
        if self._runtime.scheduler in ("local", "threads") and self._cluster is not None:
            return min(self.slots, self.slots // visits + (visits > 1))
        # a worker of elsewhere has its own threads alone
        return max(1, min(self._held) // -(-visits // len(self._held)))

    def look(self) -> None:
        """Check the connection and count the workers. Raises ClusterError where they are lost."""
        if self._client.status in ("closed", "closing"):
            raise self._lost()
        now = time.monotonic()
        if self._client.status == "running" and now - self._asked >= ASK_S:
            self._ask()
        if self.slots == 0 and all_refused(self._cluster):
            raise ClusterError(
                f"{refusal(self._cluster, self._runtime)}. No job, no worker: correct runtime.queue (name, account, walltime, "
                "memory, directives), finished visits are kept, run the same command again"
            )
        if self.slots == 0 and now - self._seen > self._runtime.worker_timeout_s:
            raise ClusterError(
                f"no worker for {self._runtime.worker_timeout_s:g} s (runtime.worker_timeout_s): look at the workers' logs or the "
                "queue; finished visits are kept, run the same command again to resume"
            )

    def silent(self, labels: Mapping[Any, str]) -> list[str]:
        """A sentence for each worker that has become silent, with its visits; each is said once. labels: task -> visit."""
        quiet, self._quiet = self._quiet, []
        if not quiet:
            return self._refused_now()
        try:
            held = self._client.processing()
        except (OSError, TimeoutError):
            held = {}
        return [
            f"worker {worker} has given no sign of life for {SILENT_S:g} s (stopped, swapping, or its network is cut) and holds "
            f"{', '.join(labels[key] for key in held.get(worker, ()) if key in labels) or 'its tasks'}: wake or end it (kill -CONT, "
            "kill -9); otherwise Dask gives it up and its visits go to another worker. On a first run it may be "
            "compiling kernels, for one to several minutes: wait"
            for worker in quiet
        ]

    def _refused_now(self) -> list[str]:
        """What the queue has said of jobs that it refused, while others run; said once."""
        text = "" if self._refused else refusal(self._cluster, self._runtime)
        self._refused = self._refused or bool(text)
        return [f"{text}; the run goes on with the others"] if text else []

    def results(self, futures: Sequence[Future[T]]) -> list[T | BaseException]:
        """Results of finished futures, or why they failed, fetched together; the futures are released. Raises ClusterError where the
        scheduler was lost."""
        whole = [future for future in futures if future.status == "finished"]
        known: dict[Any, T] = {}
        if len(whole) > 1:
            # where one is lost on the way, each is asked for by itself
            with suppress(Exception):
                known = {future.key: done for future, done in zip(whole, self._client.gather(whole), strict=True)}
        results: list[Any] = [known[one.key] if one.key in known else self.result(one) for one in futures]
        for future in futures:
            future.release()
        return results

    def result(self, future: Future[T]) -> T | BaseException:
        """Result of a finished future, or why it failed. Raises ClusterError where the scheduler was lost."""
        if future.status == "finished":
            try:
                done: T = future.result()
            except (OSError, TimeoutError) as exc:
                # errors of a task are AttemptErrors: this one is of the connection that should fetch the result
                raise self._lost() from exc
            return done
        if future.status in ("cancelled", "lost"):
            if self._client.status != "running":
                raise self._lost()
            return ConnectionError(f"the task was {future.status} by the scheduler")
        error = future.exception()
        return error if isinstance(error, BaseException) else ConnectionError(f"the task ended as '{future.status}'")

    def _ask(self) -> None:
        self._asked = time.monotonic()
        try:
            self._held = [*self._client.nthreads().values()]
            self.slots = sum(self._held)
        except (OSError, TimeoutError) as exc:
            raise self._lost() from exc
        if self.slots:
            self._seen = self._asked
        self._listen()

    def _listen(self) -> None:
        """Note the workers' last signs of life, and which of them have become silent."""
        try:
            workers: dict[str, Any] = self._client.scheduler_info(n_workers=-1)["workers"]
        except (OSError, TimeoutError) as exc:
            raise self._lost() from exc
        heard: dict[str, tuple[float, float, bool]] = {}
        for worker, facts in workers.items():
            last, since, said = self._heard.get(worker, (math.nan, self._asked, False))
            if facts.get("last_seen") != last:
                last, since, said = float(facts.get("last_seen") or 0.0), self._asked, False
            elif not said and self._asked - since > SILENT_S:
                self._quiet.append(worker)
                said = True
            heard[worker] = (last, since, said)
        self._heard = heard

    def _lost(self) -> ClusterError:
        return ClusterError(
            f"the Dask scheduler ({self._runtime.scheduler}) does not answer any more: it was stopped or the network is down; finished "
            "visits are kept, run the same command again to resume"
        )


def _submit_chunks(client: Client, job: Job, slots: int) -> Future[Done]:
    """One visit as prepare → runs of time chunks → finish."""
    try:
        (n_pairs, step), inputs = extent_of_job(job), open_root(job.root).identity(job.key)
    except (V50CalibError, OSError):
        # a worker meets the same error, which is then recorded as this visit's failure
        return client.submit(attempt, run_job, job, pure=False)
    visit = client.submit(attempt, prepare_job, job, pure=False)
    ranges = [(i, min(i + step, n_pairs)) for i in range(0, n_pairs, step)]
    # there may be no worker for the moment
    each = -(-len(ranges) // (RUNS * max(1, slots)))
    runs = [ranges[i : i + each] for i in range(0, len(ranges), each)]
    parts = [client.submit(attempt, chunks_job, job, visit, run, pure=False) for run in runs]
    return client.submit(attempt, finish_job, job, visit, parts, inputs, time.time(), pure=False)
