"""What a failure means for the run: try again, give the visit up, or stop because every other visit would fail alike."""

from __future__ import annotations

import errno
import traceback as tb
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from dataclasses import dataclass
from typing import Any, Literal

from distributed import KilledWorker
from distributed.comm import CommClosedError
from distributed.scheduler import NoValidWorkerError, NoWorkerError

from v50calib.errors import ConfigError
from v50calib.runs.redact import redact
from v50calib.runs.stop import VisitStoppedError

#: retry: may pass by itself; give_up: the visit's own fault, which every attempt meets; stop: every visit would fail alike
Verdict = Literal["retry", "give_up", "stop"]

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG}
_PASSING = {
    *(errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EAGAIN, errno.EINTR, errno.EBUSY, errno.ENFILE, errno.EMFILE, errno.ENOMEM),
    *(errno.ECONNRESET, errno.ECONNREFUSED, errno.ECONNABORTED, errno.EPIPE, errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENOBUFS),
    *(errno.EREMOTEIO, errno.ENODEV, errno.ENXIO),
}
_LOST = (KilledWorker, CommClosedError, CancelledError, MemoryError, ConnectionError, TimeoutError)


def verdict(error: BaseException) -> Verdict:
    """Judge an error by its type and by its causes: a DataError that was caused by an I/O error may pass.

    An OSError without a number, as pyarrow raises for damaged files, is a fault of the file: give_up.

    >>> verdict(TimeoutError()), verdict(OSError("damaged")), verdict(OSError(errno.ENOSPC, "disk full"))
    ('retry', 'give_up', 'stop')
    """
    if isinstance(error, ConfigError):
        return "stop"
    if isinstance(error, (NoWorkerError, NoValidWorkerError)):
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
