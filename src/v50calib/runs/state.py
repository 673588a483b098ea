"""The present state of a run: `run.json`, replaced as a whole by the driver at most once a second."""

from __future__ import annotations

import json
import os
import time
from contextlib import suppress
from typing import Any, Literal

from v50calib.io.storage.location import Location, replace_text
from v50calib.io.storage.objects import ObjectPath
from v50calib.untrusted.json_text import load_json

NAME = "run.json"
EVERY_S = 1.0
#: notices that are kept
NOTICES = 10

Phase = Literal["running", "finished", "interrupted", "stopped"]


class RunState:
    """Numbers of visits x instruments of the present call, and those being calibrated now.

    total: selected; skipped: complete already; todo: to be calibrated.
    """

    def __init__(self, run_dir: Location, *, total: int, skipped: int, todo: int, scheduler: str) -> None:
        self._path = run_dir / NAME
        self._written = float("-inf")
        self._every = EVERY_S * (5 if isinstance(run_dir, ObjectPath) else 1)
        self._running: dict[str, float] = {}
        self._notices: list[str] = []
        self._content: dict[str, Any] = {
            "total": total, "skipped": skipped, "todo": todo, "scheduler": scheduler, "started": time.time(), "pid": os.getpid(),
        }  # fmt: skip
        self._write("running", force=True)

    def begin(self, label: str) -> None:
        """A visit was given to a worker."""
        self._running[label] = time.time()
        self._write("running")

    def end(self, label: str) -> None:
        """The attempt at a visit has ended."""
        self._running.pop(label, None)
        self._write("running")

    def notice(self, text: str) -> None:
        """What the user should know while the run goes on; the last NOTICES are kept."""
        self._notices = [*self._notices, text][-NOTICES:]
        self._write("running", force=True)

    def close(self, phase: Phase, reason: str = "") -> None:
        """The call has ended."""
        self._content["reason"] = reason
        self._write(phase, force=True)

    @property
    def running(self) -> list[str]:
        return list(self._running)

    def _write(self, phase: Phase, *, force: bool = False) -> None:
        now = time.monotonic()
        if not force and now - self._written < self._every:
            return
        self._written = now
        content = self._content | {"phase": phase, "updated": time.time(), "running": self._running, "notices": self._notices}
        # a full disk stops the run where products are written, with a message of its own; this file is for information only
        with suppress(OSError):
            replace_text(self._path, json.dumps(content))


def read(run_dir: Location) -> dict[str, Any]:
    """The content of run.json; empty if there is none, or one that no run wrote."""
    try:
        content = load_json((run_dir / NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    if not isinstance(content, dict) or not all(isinstance(content.get(name), (int, float)) for name in ("started", "updated", "todo")):
        return {}
    return content
