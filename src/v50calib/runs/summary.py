"""Rows of the run summary: numbers of the products, seconds from the manifest, truth of a simulated dataset."""

from __future__ import annotations

from typing import Any

from v50calib.io.storage.location import Location
from v50calib.qc.summary import load_truth, row
from v50calib.runs import manifest
from v50calib.runs.calibrated import calibrated_visits
from v50calib.runs.directory import refuse_other_directory


def rows(run_dir: Location, truth_root: Location | None = None) -> list[dict[str, Any]]:
    """One row per product of a run, in order of planet. Raises StoreError where `run_dir` is no run directory."""
    refuse_other_directory(run_dir)
    truth = load_truth(truth_root) if truth_root is not None else {}
    seconds = {e.label: e.seconds for e in manifest.read(run_dir)}
    found = []
    for ds in calibrated_visits(run_dir):
        key = (str(ds.attrs["planet_id"]), int(ds.attrs["visit"]), str(ds.attrs["instrument"]))
        found.append(row(ds, seconds.get("{}/{}/{}".format(*key), float("nan")), truth.get(key)))
    return sorted(found, key=lambda r: (r["planet_id"], r["visit"], r["instrument"]))
