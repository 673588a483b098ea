from __future__ import annotations

import errno
import pickle
from concurrent.futures import CancelledError

import pytest
from distributed import KilledWorker
from distributed.scheduler import NoWorkerError

from v50calib.errors import ConfigError, DataError, StoreError
from v50calib.runs.redact import redact, redact_config
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
        (ConfigError("no such method"), "stop"),
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


def test_redaction(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI")
    pem = "-----BEGIN EC PRIVATE KEY-----\nMHc=\n-----END EC PRIVATE KEY-----"
    text = f"wJalrXUtnFEMI aws_secret_access_key='abc' x-amz-signature=ff {pem} kept"
    said = redact(text)
    for secret in ("wJalr", "abc", "=ff", "MHc"):
        assert secret not in said
    assert said.endswith("kept")
    masked = redact_config({"runtime": {"tls": {"ca": None, "key": "/home/me/key.pem"}, "retries": 2}})
    assert masked == {"runtime": {"tls": {"ca": None, "key": "***"}, "retries": 2}}
