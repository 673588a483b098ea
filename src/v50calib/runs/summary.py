"""Rows of the run summary: numbers of the products, seconds from the manifest, the truth where it is known."""

from __future__ import annotations

import math
from typing import Any

from v50calib.io.storage.location import Location
from v50calib.qc.summary import row, said_depth
from v50calib.runs import manifest
from v50calib.runs.calibrated import PRODUCTS, calibrated_visits
from v50calib.runs.directory import refuse_other_directory
from v50calib.runs.truth import read_depths

__all__ = ["rows", "said_depth"]


def rows(run_dir: Location, truth_root: Location | None = None) -> list[dict[str, Any]]:
    """One row per product of a run, in order of planet. truth_root: as for `runs.truth.read_depths`.

    Raises StoreError where `run_dir` is no run directory, DataError for a truth that cannot be read or is of other planets.
    """
    refuse_other_directory(run_dir)
    truth = read_depths(truth_root)
    seconds = {e.label: e.seconds for e in manifest.read(run_dir)}
    found = []
    for ds in calibrated_visits(run_dir):
        key = (str(ds.attrs["planet_id"]), int(ds.attrs["visit"]), str(ds.attrs["instrument"]))
        label = "{}/{}/{}".format(*key)
        depth = truth.white_depth(*key, run_dir / PRODUCTS / label) if truth_root is not None else float("nan")
        found.append(row(ds, seconds.get(label, float("nan")), depth if math.isfinite(depth) else None))
    if truth_root is not None:
        truth.refuse_strangers(str(one["planet_id"]) for one in found)
    return sorted(found, key=lambda r: (r["planet_id"], r["visit"], r["instrument"]))
