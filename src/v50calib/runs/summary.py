"""Rows of the run summary: products, the manifest's seconds, and a simulated dataset's truth."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from v50calib.errors import StoreError
from v50calib.io.storage.location import Location
from v50calib.qc.summary import load_truth, row
from v50calib.runs import manifest as journal
from v50calib.runs.calibrated import open_calibrated


def rows(run_dir: Location, truth_root: Path | None = None) -> list[dict[str, Any]]:
    """One row per product of a run, in order of planet. Raises StoreError where `run_dir` is no run directory."""
    if not (run_dir / "config.yaml").is_file():
        raise StoreError(f"'{run_dir}' is no run directory (it has no config.yaml); give the --out of a 'v50calib calibrate'")
    truth = load_truth(truth_root) if truth_root is not None else {}
    seconds = {e.label: e.seconds for e in journal.read(run_dir)}
    found = []
    for group in open_calibrated(run_dir).leaves:
        if not group.has_data:
            continue
        ds = group.to_dataset()
        key = (str(ds.attrs["planet_id"]), int(ds.attrs["visit"]), str(ds.attrs["instrument"]))
        found.append(row(ds, seconds.get("{}/{}/{}".format(*key), float("nan")), truth.get(key)))
    return sorted(found, key=lambda r: (r["planet_id"], r["visit"], r["instrument"]))
