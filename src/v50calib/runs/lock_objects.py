"""The lock of a run directory in an object store: a record that its holder renews, taken by compare-and-swap.

No kernel releases it. If a record does not change for `WATCH_S`, its run is gone; it is replaced only while it is still the
record that was watched (a conditional put), so of two runs that try to take it over one wins. A holder whose record was
replaced, because it could not renew it in time, ends its run.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import Any

from v50calib.errors import LockLostError, StoreError
from v50calib.io.storage.objects import ObjectPath
from v50calib.runs.stop import STOP
from v50calib.untrusted.json_text import load_json

NAME = ".lock"
BEAT_S = 5.0
WATCH_S = 6 * BEAT_S


@contextmanager
def object_lock(run_dir: ObjectPath) -> Iterator[_Held]:
    """Hold the run directory. Raises StoreError, naming the holder, where another run has it, or took it over meanwhile."""
    record: dict[str, Any] = {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "token": uuid.uuid4().hex,
    }
    held = _Held(run_dir / NAME, record)
    held.acquire()
    pulse = threading.Thread(target=held.beat, name="run-lock", daemon=True)
    pulse.start()
    try:
        yield held
    finally:
        held.ended.set()
        pulse.join()
        held.release()
    if held.lost:
        raise taken_over(run_dir)


class _Held:
    """One holder's record: its tag at the last put, and whether another has replaced it."""

    def __init__(self, path: ObjectPath, record: dict[str, Any]) -> None:
        self._path, self._record = path, record
        self._count = 0
        self._tag = ""
        self._renewed = time.monotonic()
        self.ended, self.lost = threading.Event(), False

    @property
    def token(self) -> str:
        return str(self._record["token"])

    def check(self) -> None:
        """Raises LockLostError where another run has replaced the record; asks the store where ours is not fresh. Raises OSError."""
        if not self.lost and time.monotonic() - self._renewed > 2 * BEAT_S:
            self.lost = read_record(self._path).get("token") != self.token
        if self.lost:
            raise taken_over(self._path.parent)

    def acquire(self) -> None:
        """Put the record where there is none, or where the present one does not change."""
        if self._path.create(self._content()):
            self._tag = self._tag_now()
            return
        try:
            known, tag = read_record(self._path), self._tag_now()
            if known.get("token") == self._record["token"]:
                # the answer to our put was lost, and obstore's second attempt found the object of the first
                self._tag = tag
                return
            stop = time.monotonic() + (WATCH_S if known else 0.0)
            while time.monotonic() < stop:
                time.sleep(min(1.0, WATCH_S / 10))
                if self._tag_now() != tag:
                    raise refusal(self._path.parent, read_record(self._path))
            taken = self._path.exchange(self._content(), tag)
        except FileNotFoundError:
            taken = self._path.create(self._content())
        if not taken:
            raise refusal(self._path.parent, read_record(self._path))
        self._tag = self._tag_now()

    def beat(self) -> None:
        """Renew the record until the run ends or another run has replaced it."""
        while not self.ended.wait(BEAT_S):
            self._count += 1
            try:
                self._renew()
            except OSError:
                # the store may answer again; a run that watches the record meanwhile may take it over
                continue
            if self.lost:
                STOP.lost = taken_over(self._path.parent)
                return

    def _renew(self) -> None:
        """Put the record again. Raises OSError where the store does not answer; which record it holds is then unknown."""
        if not self._path.exchange(self._content(), self._tag) and read_record(self._path).get("token") != self._record["token"]:
            self.lost = True
        else:
            # not exchanged but ours: the put succeeded and its answer was lost
            self._tag = self._tag_now()
            self._renewed = time.monotonic()

    def release(self) -> None:
        """Replace our record by an empty one. If the store does not answer, the record stays, like that of a killed run: the error
        to report is how the run ended, not this."""
        if not self.lost:
            with suppress(OSError):
                self._path.exchange(b"{}", self._tag)

    def _content(self) -> bytes:
        return json.dumps(self._record | {"beat": self._count}).encode()

    def _tag_now(self) -> str:
        return str(self._path.head()["e_tag"])


def read_record(path: ObjectPath) -> dict[str, Any]:
    """Host, pid, start and token of the holder; empty if there is none."""
    try:
        content = load_json(path.read_bytes() or b"{}")
    except (FileNotFoundError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def is_beating(path: ObjectPath) -> bool:
    """Whether the record was renewed within WATCH_S, by the store's own clock."""
    if not read_record(path):
        return False
    probe = path.with_name(".clock")
    probe.write_bytes(b"")
    now = probe.head()["last_modified"]
    probe.unlink(missing_ok=True)
    return bool((now - path.head()["last_modified"]).total_seconds() < WATCH_S)


def refusal(run_dir: object, known: dict[str, Any]) -> StoreError:
    """The error for a directory that another run holds."""
    who = f"process {known['pid']} on {known.get('host')}, since {known.get('started')}" if "pid" in known else "another process"
    return StoreError(
        f"'{run_dir}' is in use by {who}: two runs in one directory would redo each other's work; "
        "wait for it, stop it, or give another --out"
    )


def taken_over(run_dir: object) -> LockLostError:
    """The error of a run whose lock another run has replaced, or somebody has removed."""
    return LockLostError(
        f"'{run_dir}' was taken over by another run (or its file {NAME} was removed), because this one could not renew its lock in time "
        "(a stopped process, a suspended machine, a file system that did not answer): this run has stopped and writes nothing more there. "
        "Wait for the other run, then run the same command again"
    )
