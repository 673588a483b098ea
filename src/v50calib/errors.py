"""Errors that a user can act on: each message says the cause, the value seen and the remedy."""

from __future__ import annotations

import multiprocessing
import os
from pathlib import Path


class V50CalibError(Exception):
    """Root of all errors raised on purpose; the CLI prints the message and exits non-zero."""

    exit_code = 1


class ConfigError(V50CalibError):
    """The configuration cannot be composed, validated or met by the data at hand."""

    exit_code = 2


class DataError(V50CalibError):
    """An input file is missing, damaged, or not of the shape the layout says."""

    exit_code = 3


class StoreError(V50CalibError):
    """A Zarr store or run directory cannot be written, or is damaged or of another kind."""

    exit_code = 4


class LockLostError(StoreError):
    """Another run has taken over the run directory: this one may not write into it any more."""


class ClusterError(V50CalibError):
    """Workers or the scheduler are lost or cannot be started; finished work is kept."""

    exit_code = 5


class RunInterruptedError(V50CalibError):
    """A run was stopped by a signal, cleanly; the exit code is 128 + the signal's number, as a shell has it.

    >>> RunInterruptedError("stopped by SIGINT", 2).exit_code
    130
    """

    def __init__(self, message: str, number: int) -> None:
        super().__init__(message)
        self.exit_code = 128 + number


def no_cache(error: RuntimeError) -> ConfigError | None:
    """The ConfigError for numba's error where it finds no folder to keep compiled functions in; None for another error.

    >>> "export NUMBA_CACHE_DIR=FOLDER" in str(no_cache(RuntimeError("cannot cache function 'f': no locator available for file 'a.py'")))
    True
    >>> no_cache(RuntimeError("another")) is None
    True
    """
    if "no locator available" not in str(error):
        return None
    given = os.environ.get("NUMBA_CACHE_DIR")
    tried = ([f"NUMBA_CACHE_DIR={given}"] if given else []) + [f"the package's folder {Path(__file__).parent}"]
    home = os.environ.get("HOME", "(not set)")
    return ConfigError(
        f"compiled kernels cannot be kept: neither {', '.join(tried)} nor the cache folder below HOME={home} can be "
        "written; export NUMBA_CACHE_DIR=FOLDER with a folder that can be written, workers of this machine and of queues inherit it"
    )


def refuse_in_a_daemon(asked: str, instead: str) -> None:
    """Raises ConfigError where this process may have no processes of its own: a worker of multiprocessing.Pool or of Dask.

    asked: what would start some; instead: what needs none.
    """
    process = multiprocessing.current_process()
    if process.daemon:
        raise ConfigError(
            f"{asked} starts processes, and this one ({process.name}) is a daemonic process, as the workers of multiprocessing.Pool and of "
            f"Dask are: it may have none; use {instead} here, or call it from the main process"
        )
