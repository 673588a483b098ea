"""The state of a run, from its run.json and manifest alone: no product is opened, nothing heavy is imported."""

from __future__ import annotations

import math
import time
from collections import Counter
from typing import Any

from v50calib.io.storage.location import Location
from v50calib.runs import lock, manifest, quarantine, state
from v50calib.runs.directory import refuse_other_directory

#: slowest visits, and visits of worst QC, that are listed
SHOWN = 5
#: QC number that ranks visits: scatter of the white light curve over what the noise model predicts
WORST = "noise_over_limit"


def status(run_dir: Location) -> dict[str, Any]:
    """Counts, rate, time left, failures by reason, slowest visits and worst QC of a run; JSON-ready.

    Raises StoreError where `run_dir` is no run directory.
    """
    refuse_other_directory(run_dir)
    run, lines = state.read(run_dir), manifest.read_all(run_dir)
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
        "holder": lock.holder(run_dir) if phase == "running" else {},
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
    }


def _phase(run_dir: Location, run: dict[str, Any]) -> str:
    """running, finished, interrupted, stopped, killed (run.json says running, but no process holds the lock) or unknown (no run.json)."""
    phase = str(run.get("phase", "unknown"))
    return "killed" if phase == "running" and not lock.is_held(run_dir) else phase


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
