"""What a failure means for the run: try again, give the visit up, or stop because every other visit would fail alike.

A run is stopped at once for what is certainly everyone's (a full disk, no worker); for any other reason once it has met
`runtime.failures_alike` visits in a row and no visit was calibrated in between (`Alike`).
"""

from __future__ import annotations

import errno
import logging
import re
import traceback as tb
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from dataclasses import dataclass
from typing import Any, Literal

from distributed import KilledWorker
from distributed.comm import CommClosedError
from distributed.scheduler import NoValidWorkerError, NoWorkerError

from v50calib.config.redact import redact
from v50calib.errors import LockLostError
from v50calib.io.keys import VisitKey
from v50calib.runs.stop import VisitStoppedError

#: retry: may pass by itself; give_up: the visit's own fault, which every attempt meets; stop: every visit would fail alike
Verdict = Literal["retry", "give_up", "stop"]

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG}
_PASSING = {
    *(errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EAGAIN, errno.EINTR, errno.EBUSY, errno.ENFILE, errno.EMFILE, errno.ENOMEM),
    *(errno.ECONNRESET, errno.ECONNREFUSED, errno.ECONNABORTED, errno.EPIPE, errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENOBUFS),
    *(errno.EREMOTEIO, errno.ENODEV, errno.ENXIO),
}
_NUMBERS = re.compile(r"[-+]?\d+(?:\.\d+)?(?:e[-+]?\d+)?|\bnan\b")
_LOST = (KilledWorker, CommClosedError, CancelledError, MemoryError, ConnectionError, TimeoutError)


def _our_own(record: logging.LogRecord) -> bool:
    """Not what a worker logs of a visit that failed, six lines with a traceback: the driver tells the failure in one."""
    return not (str(record.msg).startswith("Compute Failed") and any("AttemptError" in str(arg) for arg in record.args or ()))


logging.getLogger("distributed.worker").addFilter(_our_own)


def verdict(error: BaseException) -> Verdict:
    """Judge an error by its type and by its causes: a DataError that was caused by an I/O error may pass.

    An OSError without a number, as pyarrow raises for damaged files, is a fault of the file: give_up.

    >>> verdict(TimeoutError()), verdict(OSError("damaged")), verdict(OSError(errno.ENOSPC, "disk full"))
    ('retry', 'give_up', 'stop')
    """
    if isinstance(error, (LockLostError, NoWorkerError, NoValidWorkerError)):
        return "stop"
    for cause in _chain(error):
        if isinstance(cause, OSError) and cause.errno in _FULL:
            return "stop"
        if isinstance(cause, _LOST) or (isinstance(cause, OSError) and cause.errno in _PASSING):
            return "retry"
    return "give_up"


@dataclass(frozen=True)
class Failure:
    """A failed attempt, judged; secrets in its texts are masked."""

    verdict: Verdict
    message: str
    error_type: str
    traceback: str


class Alike:
    """Counts visits in a row that failed for one reason; a visit that is calibrated begins the count anew.

    Two reasons are one if they differ in numbers and in the names of their visits only.

    >>> alike = Alike(limit=2)
    >>> [alike.add(VisitKey(p, 0, "FGS1"), Failure("give_up", f"planet {p}: no row", "DataError", "")) for p in ("11", "12")]
    [[], ['11/0/FGS1', '12/0/FGS1']]
    """

    def __init__(self, limit: int | None) -> None:
        self._limit = limit
        self._labels: dict[tuple[str, str], list[str]] = {}

    def add(self, key: VisitKey, failure: Failure) -> list[str]:
        """Note the last failure of a visit; the labels of all visits of this reason once they are `limit`, else nothing."""
        words = failure.message.replace(key.planet_id, "#").replace(key.instrument, "#")
        labels = self._labels.setdefault((failure.error_type, _NUMBERS.sub("#", words)), [])
        labels.append(key.label)
        return labels if self._limit is not None and len(labels) >= self._limit else []

    def done(self) -> None:
        """A visit was calibrated: no reason so far was everyone's."""
        self._labels.clear()


class AttemptError(Exception):
    """Carries a Failure from a worker: it is judged there, because an exception is pickled without its causes."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure)
        self.failure = failure


def attempt(task: Callable[..., Any], *args: Any) -> Any:
    """Task: run another task; its exceptions arrive at the driver as AttemptError."""
    try:
        return task(*args)
    except (AttemptError, VisitStoppedError):
        raise
    except Exception as exc:  # noqa: BLE001 - one visit's failure must not stop the others; it is judged and recorded
        raise AttemptError(judge(exc)) from None


def judge(error: BaseException) -> Failure:
    """The Failure that describes an exception."""
    if isinstance(error, AttemptError):
        return error.failure
    text = "".join(tb.format_exception(error))
    return Failure(verdict(error), redact(str(error) or type(error).__name__), type(error).__name__, redact(text))


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An exception, its cause, the cause of that, and so on."""
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        yield cause
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)
