"""What each stage made of a visit, as one row of numbers a stage."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from v50calib.kernels.series import robust_sigma
from v50calib.qc.metrics import noise_ratio

Rows = dict[str, dict[str, Any]]
#: share of a visit at either end whose median position tells the drift
_ENDS = 0.1


def stage_rows(ds: xr.Dataset, found: Mapping[str, Mapping[str, Any]], asked: Mapping[str, bool], notes: list[str]) -> Rows:
    """Numbers of each stage that `asked` names: those found on the way (`found`) and those of the product `ds`.

    Every row starts with `notes`, the number of the visit's notes that name the stage.
    """
    own = {"photometry": _photometry, "trace": _trace, "phase": _phase}
    rows: Rows = {}
    for stage, wanted in asked.items():
        if wanted:
            numbers: dict[str, Any] = {"notes": sum(note.startswith((f"{stage} ", f"{stage}:", f"{stage}.")) for note in notes)}
            numbers |= {key: value for key, value in found.get(stage, {}).items() if isinstance(value, (int, float, str))}
            rows[stage] = numbers | (own[stage](ds) if stage in own else {})
    return rows


def _photometry(ds: xr.Dataset) -> dict[str, Any]:
    if "photometry" not in ds:
        return {}
    flux, var = (np.asarray(ds[n][:: max(1, ds.sizes["pair"] // 500)], np.float64) for n in ("photometry", "photometry_var"))
    with np.errstate(invalid="ignore", divide="ignore"):
        snr = np.nanmedian(flux / np.sqrt(var), axis=0)
    x, y = np.asarray(ds["x_position"], np.float64), np.asarray(ds["y_position"], np.float64)
    ends = max(1, round(_ENDS * x.size))
    drift = (float(np.median(p[-ends:]) - np.median(p[:ends])) for p in (x, y))
    return {
        "snr_median": float(np.nanmedian(snr)),
        "snr_lowest": float(np.nanmin(snr)),
        "jitter_x_px": float(robust_sigma(x[:, None])[0]),
        "jitter_y_px": float(robust_sigma(y[:, None])[0]),
        **dict(zip(("drift_x_px", "drift_y_px"), drift, strict=True)),
    }


def _trace(ds: xr.Dataset) -> dict[str, Any]:
    if "trace_norm" not in ds:
        return {}
    out: dict[str, Any] = {"out_of_transit_fraction": float(np.mean(ds["out_of_transit"])), **noise_ratio(ds)}
    if "rms_measured" in ds:
        # scatter at the longest time that still has enough blocks, over what white noise leaves there
        ratio = np.asarray(ds["rms_measured"]) / np.asarray(ds["rms_expected"])
        known = np.flatnonzero(np.isfinite(ratio))
        out["red_noise"] = float(ratio[known[-1]]) if known.size else float("nan")
    return out


def _phase(ds: xr.Dataset) -> dict[str, Any]:
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
