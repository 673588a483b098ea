"""The state of a run, from its run.json and manifest alone: no product is opened, nothing heavy is imported."""

from __future__ import annotations

import math
import socket
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

from v50calib.io.storage.location import Location
from v50calib.runs import books, lock, manifest, quarantine, state
from v50calib.runs.directory import refuse_other_directory
from v50calib.runs.lock_objects import NAME as LOCK

#: slowest visits, and visits of worst QC, that are listed
SHOWN = 5
#: QC number that ranks visits: scatter of the white light curve over what the noise model predicts
WORST = "noise_over_limit"
#: a run on another host renews its lock every BEAT_S; network file systems show that up to a minute late
SILENT_S = 120.0


def status(run_dir: Location) -> dict[str, Any]:
    """Counts, rate, time left, failures by reason, slowest visits and worst QC of a run; JSON-ready.

    Raises StoreError where `run_dir` is no run directory.
    """
    refuse_other_directory(run_dir)
    run, (lines, strange) = state.read(run_dir), manifest.read_lines(run_dir)
    latest = {e.label: e for e in lines if e.state != "skipped"}
    counts = Counter(e.state for e in latest.values())
    since = [e for e in lines if e.at >= run.get("started", math.inf)]
    phase = _phase(run_dir, run)
    ended = {e.label for e in since if e.state in ("done", "failed")}
    left = max(0, int(run.get("todo", 0)) - len(ended)) if run else None
    rate = _rate(run, len(ended), running=phase == "running")
    failed = [e for e in latest.values() if e.state == "failed"]
    done = [e for e in latest.values() if e.state == "done"]
    return {
        "run_dir": str(run_dir),
        "phase": phase,
        "holder": lock.holder(run_dir) if phase in ("running", "silent") else {},
        "silent_s": round(_silence(run_dir, run)) if phase in ("silent", "killed") else None,
        "total": run.get("total"),
        "done": counts["done"],
        "failed": counts["failed"],
        "interrupted": counts["interrupted"],
        "retried": sum(e.state == "retry" for e in lines),
        "left": left,
        "running": sorted(run.get("running", {})) if phase == "running" else [],
        "notices": run.get("notices", []) if phase == "running" else [],
        "per_hour": rate,
        "eta_s": left / rate * 3600 if left and rate and phase == "running" else None,
        "quarantined": sorted(quarantine.load(run_dir)),
        "reasons": _reasons(failed),
        "failures": [{"visit": e.label, "attempts": e.attempts, "error_type": e.error_type, "error": e.error} for e in failed],
        "slowest": [{"visit": e.label, "seconds": round(e.seconds, 2)} for e in sorted(done, key=lambda e: -e.seconds)[:SHOWN]],
        "worst_qc": _worst(done),
        "damaged": books.damaged(run_dir, (lines, strange)),
    }


def _phase(run_dir: Location, run: dict[str, Any]) -> str:
    """running, finished, interrupted, stopped, unknown (no run.json); where run.json says running: killed, if no process holds the lock,
    and silent, if its holder on another host, whose processes cannot be seen here, has not renewed it for SILENT_S."""
    phase = str(run.get("phase", "unknown"))
    if phase != "running":
        return phase
    if not lock.is_held(run_dir):
        return "killed"
    elsewhere = lock.holder(run_dir).get("host") != socket.gethostname()
    return "silent" if elsewhere and _silence(run_dir, run) > SILENT_S else phase


def _silence(run_dir: Location, run: dict[str, Any]) -> float:
    """Seconds since the run gave a sign of life: renewed its lock, or wrote run.json."""
    last = float(run.get("updated", 0.0))
    if isinstance(run_dir, Path):
        with suppress(OSError):
            last = max(last, (run_dir / LOCK).stat().st_mtime)
    return max(0.0, time.time() - last)


def _rate(run: dict[str, Any], ended: int, *, running: bool) -> float | None:
    """Visits x instruments per hour of the present (or last) call."""
    if not run or not ended:
        return None
    until = time.time() if running else float(run.get("updated", 0))
    seconds = until - float(run["started"])
    return 3600 * ended / seconds if seconds > 0 else None


def _reasons(failed: list[manifest.Entry]) -> dict[str, int]:
    """Number of failures of each type, most frequent first."""
    return dict(Counter(e.error_type or "unknown" for e in failed).most_common())


def _worst(done: list[manifest.Entry]) -> list[dict[str, Any]]:
    ranked = sorted(((float(e.qc[WORST]), e.label) for e in done if isinstance(e.qc.get(WORST), (int, float))), reverse=True)
    return [{"visit": label, WORST: round(value, 4)} for value, label in ranked[:SHOWN] if math.isfinite(value)]
