"""One row of numbers for each stage of a visit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from v50calib.kernels.series import drift
from v50calib.kernels.series import median as column_median
from v50calib.qc.metrics import NOISE, positions, record

Rows = dict[str, dict[str, Any]]


def stage_rows(
    ds: xr.Dataset, found: Mapping[str, Mapping[str, Any]], asked: Mapping[str, bool], notes: list[str], record: Mapping[str, Any]
) -> Rows:
    """Numbers of each stage that `asked` is true for: those recorded while it ran (`found`), those of the product `ds` and its QC record.

    Every row starts with `notes`, the number of the visit's notes that name the stage.

    >>> stage_rows(xr.Dataset(), {"dark": {"hot_pixels": 12}}, {"dark": True, "flat": False}, ["dark quality: many hot pixels"], {})
    {'dark': {'notes': 1, 'hot_pixels': 12}}
    """
    own = {"photometry": _photometry, "trace": _trace, "phase": _phase}
    rows: Rows = {}
    for stage, wanted in asked.items():
        if wanted:
            numbers: dict[str, Any] = {"notes": sum(note.startswith((f"{stage} ", f"{stage}:", f"{stage}.")) for note in notes)}
            numbers |= {key: value for key, value in found.get(stage, {}).items() if isinstance(value, (int, float, str))}
            rows[stage] = numbers | (own[stage](ds, record) if stage in own else {})
    return rows


def full_record(
    ds: xr.Dataset, notes: list[str], checks: Mapping[str, Any], found: Mapping[str, Mapping[str, Any]], asked: Mapping[str, bool]
) -> dict[str, Any]:
    """The QC record of a visit with a row for each stage: `metrics.record` and `stage_rows` together.

    checks: numbers of the checks of its maps; others as of `stage_rows`.
    """
    qc = record(ds, notes) | dict(checks)
    return qc | {"stages": stage_rows(ds, found, asked, notes, qc)}


def _photometry(ds: xr.Dataset, record: Mapping[str, Any]) -> dict[str, Any]:
    if "photometry" not in ds:
        return {}
    flux, var = (np.asarray(ds[n][:: max(1, ds.sizes["pair"] // 500)], np.float64) for n in ("photometry", "photometry_var"))
    lit = np.isfinite(flux[0]) & (var[0] > 0)
    snr = column_median(flux[:, lit] / np.sqrt(var[:, lit])) if lit.any() else np.full(1, np.nan)
    x, y = positions(ds)
    return {
        "snr_median": float(np.median(snr)),
        "snr_lowest": float(snr.min()),
        "jitter_x_px": record["jitter_px"]["x"],
        "jitter_y_px": record["jitter_px"]["y"],
        "drift_x_px": drift(x),
        "drift_y_px": drift(y),
    }


def _trace(ds: xr.Dataset, record: Mapping[str, Any]) -> dict[str, Any]:
    if "trace_norm" not in ds:
        return {}
    out: dict[str, Any] = {"out_of_transit_fraction": float(np.mean(ds["out_of_transit"])), **{name: record[name] for name in NOISE}}
    if "rms_measured" in ds:
        # scatter at the longest time that still has enough blocks, over what white noise leaves there
        ratio = np.asarray(ds["rms_measured"]) / np.asarray(ds["rms_expected"])
        known = np.flatnonzero(np.isfinite(ratio))
        out["red_noise"] = float(ratio[known[-1]]) if known.size else float("nan")
    return out


def _phase(ds: xr.Dataset, record: Mapping[str, Any]) -> dict[str, Any]:
    if "phase_fold" not in ds:
        return {}
    depth, sigma = float(ds["white_depth"]), float(ds["white_depth_sigma"])
    return {
        "white_depth_ppm": 1e6 * depth,
        "white_depth_sigma_ppm": 1e6 * sigma,
        "transit_snr": float(ds["transit_snr"]),
        "mid_transit_h": float(ds["mid_transit_time"]),
        "duration_h": float(ds["transit_duration"]),
        "empty_fraction": float((np.asarray(ds["phase_fold_count"]) == 0).mean()),
    }
