"""One run at a time in a run directory: a lock that ends with its process.

`.lock` is locked with flock(2), which the kernel releases however its holder dies, and records who holds it. Where the
file system does not share flock between hosts, the holder's heartbeat decides: the record changes every BEAT_S seconds. If
the record of another host does not change for WATCH_S, its run is gone. Watching for a change needs no common clock.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from v50calib.errors import StoreError
from v50calib.io.storage.location import Location
from v50calib.io.storage.objects import ObjectPath
from v50calib.runs.lock_objects import BEAT_S, NAME, is_beating, object_lock, refusal

WATCH_S = 4 * BEAT_S
_HELD = (errno.EWOULDBLOCK, errno.EACCES)
#: the file system has no flock: the heartbeat alone decides
_UNSUPPORTED = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)


@contextmanager
def run_lock(run_dir: Location) -> Iterator[None]:
    """Hold the run directory. Raises StoreError, naming the holder, where another run has it."""
    if isinstance(run_dir, ObjectPath):
        with object_lock(run_dir):
            yield
        return
    try:
        descriptor = os.open(run_dir / NAME, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as exc:
        raise StoreError(f"cannot write into '{run_dir}' ({exc.strerror}): give another --out or change its permissions") from exc
    try:
        _acquire(descriptor, run_dir)
        mine: dict[str, Any] = {
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "started": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        ended = threading.Event()
        _write(descriptor, mine | {"beat": 0})
        pulse = threading.Thread(target=_beat, args=(descriptor, mine, ended), name="run-lock", daemon=True)
        pulse.start()
        try:
            yield
        finally:
            ended.set()
            pulse.join()
            # the file stays: if it were removed, two runs could lock two files of the same name
            os.ftruncate(descriptor, 0)
    finally:
        os.close(descriptor)


def holder(run_dir: Location) -> dict[str, Any]:
    """Host, pid and start of the run that holds, or crashed holding, the directory; empty where none."""
    try:
        content = json.loads((run_dir / NAME).read_text(encoding="utf-8") or "{}")
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def is_held(run_dir: Location) -> bool:
    """Whether a running process of this host holds the directory, or there is a record of another host."""
    if isinstance(run_dir, ObjectPath):
        return is_beating(run_dir / NAME)
    known = holder(run_dir)
    if not known or known.get("host") != socket.gethostname():
        return bool(known)
    try:
        descriptor = os.open(run_dir / NAME, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as exc:
        return exc.errno in _HELD
    finally:
        os.close(descriptor)
    return False


def _acquire(descriptor: int, run_dir: Path) -> None:
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
    if not known or (locked and known.get("host") == socket.gethostname()):
        return
    stop = time.monotonic() + WATCH_S
    while time.monotonic() < stop:
        time.sleep(min(0.2, WATCH_S))
        now = _read(descriptor)
        if not now:
            return
        if now != known:
            raise refusal(run_dir, now)


def _beat(descriptor: int, mine: dict[str, Any], ended: threading.Event) -> None:
    count = 0
    while not ended.wait(BEAT_S):
        count += 1
        _write(descriptor, mine | {"beat": count})


def _write(descriptor: int, content: dict[str, Any]) -> None:
    # always of the same length, so that a reader never sees the rest of a longer record
    try:
        os.pwrite(descriptor, json.dumps(content).ljust(255).encode(), 0)
    except OSError as exc:
        if exc.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EIO):
            raise


def _read(descriptor: int) -> dict[str, Any]:
    try:
        content = json.loads(os.pread(descriptor, 4096, 0).decode() or "{}")
    except ValueError:
        return {"unreadable": True}
    return content if isinstance(content, dict) else {}
