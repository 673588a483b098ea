"""One run at a time in a run directory: a lock that ends with its process.

`.lock` is locked with flock(2), which the kernel releases however its holder dies, and records who holds it. Where the
file system does not share flock between hosts, the holder's heartbeat decides: the record changes every BEAT_S seconds. If
the record of another host does not change for WATCH_S, its run is gone. Watching for a change needs no common clock.

A holder that stood still itself (a suspended machine, a stopped process) may have been taken over meanwhile. So the record has a token
of its run, and every write into the run directory is preceded by a look at it: `Held.check` in the driver, `check_token` in workers.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from v50calib.errors import LockLostError, StoreError
from v50calib.io.storage.location import Location
from v50calib.io.storage.machine import machine_id
from v50calib.io.storage.objects import ObjectPath
from v50calib.runs.lock_objects import BEAT_S, NAME, is_beating, object_lock, read_record, refusal, taken_over
from v50calib.runs.stop import STOP
from v50calib.safety.files import open_own
from v50calib.untrusted.json_text import load_json

WATCH_S = 4 * BEAT_S
_HELD = (errno.EWOULDBLOCK, errno.EACCES)
#: the file system has no flock: the heartbeat alone decides
_UNSUPPORTED = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
#: bytes of a record; s in which a run that took over without flock looks whether another did so, too
_LENGTH, _SETTLE_S = 511, 0.5


class Held(Protocol):
    """A run directory that is held by this process."""

    @property
    def token(self) -> str:
        """What the lock's record calls this run; workers are given it."""
        ...

    def check(self) -> None:
        """Raises LockLostError where another run has taken the directory over."""
        ...


@contextmanager
def run_lock(run_dir: Location) -> Iterator[Held]:
    """Hold the run directory. Raises StoreError, naming the holder, where another run has it; LockLostError where one took it over."""
    if isinstance(run_dir, ObjectPath):
        with object_lock(run_dir) as held:
            yield held
        return
    descriptor = _open(run_dir, os.O_RDWR | os.O_CREAT)
    try:
        locked = _acquire(descriptor, run_dir)
        lock = _FileLock(run_dir, descriptor)
        lock.write()
        if not locked:
            time.sleep(_SETTLE_S)
            if _read(descriptor).get("token") != lock.token:
                raise refusal(run_dir, _read(descriptor))
        pulse = threading.Thread(target=lock.beat, name="run-lock", daemon=True)
        pulse.start()
        try:
            yield lock
        finally:
            lock.ended.set()
            pulse.join()
            if lock.is_ours():
                # the file stays: if it were removed, two runs could lock two files of the same name
                os.ftruncate(descriptor, 0)
        if lock.lost:
            raise taken_over(run_dir)
    finally:
        os.close(descriptor)


class _FileLock:
    """The holder's record in an open lock file, and whether another run has replaced it."""

    def __init__(self, run_dir: Path, descriptor: int) -> None:
        self._run_dir, self._descriptor, self._count = run_dir, descriptor, 0
        self._record: dict[str, Any] = {
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "started": datetime.now(UTC).isoformat(timespec="seconds"),
            "token": uuid.uuid4().hex,
            "machine": machine_id(),
        }
        self.ended, self.lost = threading.Event(), False

    @property
    def token(self) -> str:
        return str(self._record["token"])

    def check(self) -> None:
        if self.lost:
            raise taken_over(self._run_dir)
        check_token(self._run_dir, self.token)

    def is_ours(self) -> bool:
        return not self.lost and _read(self._descriptor).get("token") == self.token

    def beat(self) -> None:
        """Renew the record until the run ends or another run has replaced it."""
        while not self.ended.wait(BEAT_S):
            try:
                check_token(self._run_dir, self.token)
            except LockLostError as lost:
                self.lost, STOP.lost = True, lost
                return
            except OSError:
                # the file system may answer again; the work itself reports what it cannot write
                continue
            self._count += 1
            self.write()

    def write(self) -> None:
        # always of the same length, so that a reader never sees the rest of a longer record
        content = json.dumps(self._record | {"beat": self._count}).ljust(_LENGTH).encode()
        try:
            os.pwrite(self._descriptor, content, 0)
        except OSError as exc:
            if exc.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.ESTALE):
                raise


def check_token(run_dir: Location, token: str) -> None:
    """Raises LockLostError where the lock of a run directory is not of the run `token`, OSError where it cannot be read.

    Without a token, of what is no run's part, nothing is checked.
    """
    if not token:
        return
    try:
        found = read_record(run_dir / NAME).get("token") if isinstance(run_dir, ObjectPath) else _token_in(run_dir)
    except FileNotFoundError:
        found = None
    if found != token:
        raise taken_over(run_dir)


def holder(run_dir: Location) -> dict[str, Any]:
    """Host, pid and start of the run that holds, or crashed holding, the directory; empty where none."""
    try:
        content = load_json((run_dir / NAME).read_text(encoding="utf-8") or "{}")
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def is_held(run_dir: Location) -> bool:
    """Whether a running process of this machine holds the directory, or there is a record of another machine."""
    if isinstance(run_dir, ObjectPath):
        return is_beating(run_dir / NAME)
    known = holder(run_dir)
    if not known or known.get("machine") != machine_id():
        return bool(known)
    try:
        descriptor = _open(run_dir, os.O_RDONLY)
    except StoreError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as exc:
        if exc.errno in _UNSUPPORTED:
            return time.time() - os.fstat(descriptor).st_mtime < WATCH_S
        return exc.errno in _HELD
    finally:
        os.close(descriptor)
    return False


def _open(run_dir: Path, flags: int) -> int:
    """The lock file, which must be a file of its own: a link would lead elsewhere, and its target would be overwritten."""
    path = run_dir / NAME
    try:
        return open_own(path, flags)
    except OSError as exc:
        if exc.errno == errno.ELOOP:
            raise StoreError(f"'{path}' is a symbolic link, and a lock is a file of its own: remove the link") from exc
        if exc.errno == errno.EINVAL:
            raise StoreError(f"'{path}' is {exc.strerror}") from exc
        raise StoreError(f"cannot write into '{run_dir}' ({exc.strerror}): give another --out or change its permissions") from exc


def _acquire(descriptor: int, run_dir: Path) -> bool:
    """Take the lock; whether the kernel holds it, too. Raises StoreError where another run has it."""
    locked = True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as exc:
        if exc.errno in _HELD:
            raise refusal(run_dir, _read(descriptor)) from exc
        if exc.errno not in _UNSUPPORTED:
            raise StoreError(f"cannot lock '{run_dir / NAME}' ({exc.strerror}): give another --out") from exc
        locked = False
    known = _read(descriptor)
    if not known or (locked and known.get("machine") == machine_id()):
        return locked
    stop = time.monotonic() + WATCH_S
    while time.monotonic() < stop:
        time.sleep(min(0.2, WATCH_S))
        now = _read(descriptor)
        if not now:
            return locked
        if now != known:
            raise refusal(run_dir, now)
    return locked


def _token_in(run_dir: Path) -> str | None:
    """The token in the file that has the lock's name now; None where there is none. Raises OSError."""
    for _ in range(3):
        descriptor = os.open(run_dir / NAME, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            content = _read(descriptor)
        finally:
            os.close(descriptor)
        if "unreadable" not in content:
            return content.get("token")
        # read while it was written
        time.sleep(0.05)
    return None


def _read(descriptor: int) -> dict[str, Any]:
    try:
        content = load_json(os.pread(descriptor, 4096, 0).decode() or "{}")
    except ValueError:
        return {"unreadable": True}
    return content if isinstance(content, dict) else {}
