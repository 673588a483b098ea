"""SIGINT, SIGTERM and a lost lock as a request: work stops between two chunks, and the run reports what was finished."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from v50calib.errors import LockLostError, RunInterruptedError, V50CalibError


class StopRequest:
    """Set by a signal, or by a lock that was lost; checked by the driver and, in its own process, between the chunks of a visit."""

    def __init__(self) -> None:
        self.number = 0
        #: set by the run's lock where another run has taken over the directory
        self.lost: LockLostError | None = None

    def __bool__(self) -> bool:
        return self.number != 0 or self.lost is not None

    def error(self, detail: str = "") -> V50CalibError:
        """The exception of a stopped run."""
        if self.lost is not None:
            return self.lost
        name = signal.Signals(self.number).name
        return RunInterruptedError(f"stopped by {name}{detail}; run the same command again to resume", self.number)


#: the request of this process; worker processes of a cluster have one that no signal sets
STOP = StopRequest()


class VisitStoppedError(Exception):
    """A visit was abandoned between two chunks because the run was asked to stop."""


def check() -> None:
    """Raises VisitStoppedError if the run was asked to stop."""
    if STOP:
        raise VisitStoppedError


@contextmanager
def stoppable() -> Iterator[StopRequest]:
    """Within this context SIGINT and SIGTERM set STOP; a second signal acts as if it were not caught.

    Only the main thread can catch signals: elsewhere this does nothing.
    """
    STOP.number, STOP.lost = 0, None
    if threading.current_thread() is not threading.main_thread():
        yield STOP
        return
    before: dict[int, object] = {}

    def on_signal(number: int, _frame: FrameType | None) -> None:
        STOP.number = number
        signal.signal(number, signal.SIG_DFL)

    for caught in (signal.SIGINT, signal.SIGTERM):
        before[caught] = signal.signal(caught, on_signal)
    try:
        yield STOP
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
        STOP.number, STOP.lost = 0, None
