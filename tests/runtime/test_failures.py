from __future__ import annotations

import errno
import pickle
from concurrent.futures import CancelledError

import pytest
from distributed import KilledWorker
from distributed.scheduler import NoWorkerError

from v50calib.errors import ConfigError, DataError, StoreError
from v50calib.runtime.failures import AttemptError, attempt, judge, verdict


def caused(error: Exception, cause: Exception) -> Exception:
    try:
        raise error from cause
    except type(error) as exc:
        return exc


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (DataError("flat.parquet is cut"), "give_up"),
        (ValueError("shapes differ"), "give_up"),
        (FileNotFoundError(errno.ENOENT, "gone"), "give_up"),
        (caused(DataError("cannot read"), OSError("Couldn't deserialize thrift")), "give_up"),
        (caused(DataError("cannot read"), OSError(errno.EIO, "I/O error")), "retry"),
        (OSError(errno.ESTALE, "stale handle"), "retry"),
        (caused(StoreError("cannot write"), OSError(errno.ENOSPC, "full")), "stop"),
        (caused(StoreError("cannot write"), OSError(errno.EROFS, "read-only")), "stop"),
        (CancelledError(), "retry"),
        (ConnectionResetError(errno.ECONNRESET, "reset"), "retry"),
        (MemoryError(), "retry"),
        (ConfigError("no such method"), "give_up"),
    ],
)
def test_verdicts(error: Exception, expected: str) -> None:
    assert verdict(error) == expected


def test_lost_workers_may_come_back_and_no_workers_stop() -> None:
    assert verdict(KilledWorker("task", None, 2)) == "retry"
    assert verdict(NoWorkerError("task", 1.0)) == "stop"


def fail() -> None:
    try:
        raise OSError(errno.EIO, "I/O error")
    except OSError as exc:
        raise DataError("cannot read s3://me:pw@host/a") from exc


def test_a_failure_travels_judged_and_without_secrets() -> None:
    with pytest.raises(AttemptError) as caught:
        attempt(fail)
    failure = judge(pickle.loads(pickle.dumps(caught.value)))
    assert (failure.verdict, failure.error_type) == ("retry", "DataError")
    assert failure.message == "cannot read s3://***@host/a"
    assert "I/O error" in failure.traceback
    assert "me:pw" not in failure.traceback
