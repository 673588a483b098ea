"""Worker processes that end with the process that started them, and commands that a signal ends cleanly."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, suppress
from types import FrameType

from v50calib.errors import RunInterruptedError

#: s between two looks for the parent, and s that workers have to clean up in before they are killed
LOOK_S, GRACE_S = 1.0, 5.0
_PR_SET_PDEATHSIG = 1


@contextmanager
def worker_pool(workers: int) -> Iterator[ProcessPoolExecutor]:
    """A pool of processes that are started anew (spawn) and end with this one, however it ends.

    A fork of a process that runs threads (Dask, Arrow, Zarr) can deadlock. Where the body is left by an interrupt, workers are ended;
    where it is left by an error, they finish what they do.
    """
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_begin, initargs=(os.getpid(),)) as pool:
        try:
            yield pool
        except (KeyboardInterrupt, RunInterruptedError, GeneratorExit):
            _end(pool)
            raise


@contextmanager
def interruptible(detail: str) -> Iterator[None]:
    """Within this context SIGTERM and SIGINT raise RunInterruptedError once, so that what is half done is cleaned up.

    detail: what the message says after the signal's name. Only the main thread can catch signals: elsewhere this does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def on_signal(number: int, _frame: FrameType | None) -> None:
        for caught in before:
            signal.signal(caught, signal.SIG_DFL)
        raise RunInterruptedError(f"stopped by {signal.Signals(number).name}; {detail}", number)

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in before:
        signal.signal(number, on_signal)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def tie_to_parent(parent: int) -> None:
    """End this process as soon as the process `parent`, which started it, is gone.

    The kernel does it on Linux; a thread that looks for the parent does it elsewhere, and where the kernel's signal was lost.
    """
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    threading.Thread(target=_watch, args=(parent,), name="parent-watch", daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(LOOK_S)
    os.kill(os.getpid(), signal.SIGKILL)


def _begin(parent: int) -> None:
    """A worker's first act: Ctrl-C reaches the whole group, and its parent alone decides; SIGTERM lets it clean up."""
    tie_to_parent(parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _leave)


def _leave(_number: int, _frame: FrameType | None) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise SystemExit(128 + signal.SIGTERM)


def _end(pool: ProcessPoolExecutor) -> None:
    """Ask the workers of a pool to leave what they do, and kill those that do not within GRACE_S."""
    workers = list((getattr(pool, "_processes", None) or {}).values())
    pool.shutdown(wait=False, cancel_futures=True)
    for process in workers:
        with suppress(OSError, AttributeError):
            process.terminate()
    until = time.monotonic() + GRACE_S
    for process in workers:
        process.join(max(0.0, until - time.monotonic()))
        if process.is_alive():
            process.kill()
