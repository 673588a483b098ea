"""Quality numbers of a visit: measured scatter over the noise model's, flags, pointing."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from v50calib import dq
from v50calib.dq import DQ
from v50calib.kernels.series import robust_sigma
from v50calib.kernels.white_noise import white_noise, white_over_model


def white_light(ds: xr.Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Normalized white light curve (pair,) and its predicted variance: channels weighted by their flux level.

    >>> dims, flux = ("pair", "wavelength"), np.array([[100.0, 300.0], [99.0, 297.0]])
    >>> ds = xr.Dataset({"photometry": (dims, flux), "trace_norm": (dims, flux / flux[0]), "photometry_var": (dims, flux)})
    >>> white_light(ds)[0]  # 396 of 400 electrons
    array([1.  , 0.99])
    """
    return white_over_model(*(np.asarray(ds[name]) for name in ("photometry", "trace_norm", "photometry_var")))


#: the numbers of `noise_ratio`
NOISE = ("scatter_ppm", "limit_ppm", "noise_over_limit", "point_to_point_over_limit")


def noise_ratio(ds: xr.Dataset) -> dict[str, float]:
    """Out-of-transit scatter of the white light curve over the limit set by photon and read noise, and the numbers that it is made of.

    scatter      standard deviation over the out-of-transit pairs, ppm
    limit        root of the mean predicted variance there, ppm (photon, dark, background and read noise)

    >>> dims, flux = ("pair", "wavelength"), np.tile([[9990.0], [10010.0]], (50, 1))
    >>> ds = xr.Dataset({"photometry": (dims, flux), "trace_norm": (dims, flux / 1e4), "photometry_var": (dims, 0 * flux + 400.0)})
    >>> numbers = noise_ratio(ds.assign(out_of_transit=("pair", np.ones(100, bool))))
    >>> round(numbers["scatter_ppm"]), round(numbers["limit_ppm"]), round(numbers["noise_over_limit"], 6)  # 10 e-, √400 e- of 10 000
    (1000, 2000, 0.5)
    """
    noise = white_noise(*white_light(ds), np.asarray(ds["out_of_transit"], dtype=bool))
    return {
        "scatter_ppm": 1e6 * noise.scatter,
        "limit_ppm": 1e6 * noise.limit,
        "noise_over_limit": noise.over_limit,
        "point_to_point_over_limit": noise.point_to_point / noise.limit,
    }


#: samples from which numbers of scatter need no allowance for chance: the bins of the white fit
ENOUGH = 400
#: what chance may add, in standard deviations
CHANCES = 3.0


def chance(samples: int) -> dict[str, float]:
    """By what share chance may raise reduced chi² and a ratio of scatters of a visit of so few samples, by three standard deviations,
    beyond what it does in one of ENOUGH. A share, for both scatter in proportion to what they would be without chance: the rules raise
    their limits by it.

    >>> {name: round(value, 2) for name, value in chance(100).items()}, chance(5000)
    ({'fit_chi2': 0.21, 'noise_over_limit': 0.11}, {'fit_chi2': 0.0, 'noise_over_limit': 0.0})
    """
    n = min(max(samples, 1), ENOUGH)
    return {
        "fit_chi2": CHANCES * ((2.0 / n) ** 0.5 - (2.0 / ENOUGH) ** 0.5),
        "noise_over_limit": CHANCES * ((0.5 / n) ** 0.5 - (0.5 / ENOUGH) ** 0.5),
    }


def kept_pairs(ds: xr.Dataset) -> NDArray[np.intp]:
    """Indices of the pairs that have their light; all where none has."""
    kept = np.flatnonzero((np.asarray(ds["photometry_dq"])[:, 0] & np.uint32(DQ.DROPOUT)) == 0)
    return kept if kept.size else np.arange(ds.sizes["pair"])


def light_of_channels(ds: xr.Dataset) -> NDArray[np.float64]:
    """Mean photometry (channel,) of a thousand of the pairs that have their light."""
    kept = kept_pairs(ds)
    return np.asarray(ds["photometry"][kept[:: max(1, kept.size // 1000)]].mean("pair", skipna=False), np.float64)


def positions(ds: xr.Dataset) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """x and y (pair,) of the pairs that have their light."""
    kept = kept_pairs(ds)
    return np.asarray(ds["x_position"], np.float64)[kept], np.asarray(ds["y_position"], np.float64)[kept]


def record(ds: xr.Dataset, notes: list[str]) -> dict[str, Any]:
    """One visit's QC record, JSON-ready.

    >>> attrs = {"planet_id": "7", "visit": 0, "instrument": "FGS1"}
    >>> ds = xr.Dataset({"pixel_dq": (("y", "x"), np.array([[0, 1]], np.uint32))}, attrs=attrs)
    >>> record(ds, ["dark quality: too many hot pixels"])["pixels_flagged"]
    {'DO_NOT_USE': 0.5}
    """
    pixel_dq = np.asarray(ds["pixel_dq"])
    out: dict[str, Any] = {
        "planet_id": ds.attrs["planet_id"],
        "visit": int(ds.attrs["visit"]),
        "instrument": ds.attrs["instrument"],
        "pixels_flagged": {k: v / pixel_dq.size for k, v in dq.counts(pixel_dq).items()},
        "notes": notes,
    }
    if "photometry" in ds:
        flags = np.asarray(ds["photometry_dq"])
        out["samples_flagged"] = {k: v / flags.size for k, v in dq.counts(flags).items()}
        out["channels"] = int(flags.shape[1])
        out["channels_lost"] = int(((flags & np.uint32(DQ.DO_NOT_USE)) != 0).all(axis=0).sum())
        x, y = positions(ds)
        out["jitter_px"] = {"x": float(robust_sigma(x[:, None])[0]), "y": float(robust_sigma(y[:, None])[0])}
        if ds["photometry"].attrs.get("units", "e-") == "e-":
            out["flux_e"] = float(np.nansum(light_of_channels(ds)))
    if "trace_norm" in ds:
        out |= noise_ratio(ds)
        out["chance"] = chance(kept_pairs(ds).size)
        out["lost_pairs"] = float(np.mean((np.asarray(ds["photometry_dq"])[:, :1] & np.uint32(DQ.DROPOUT)) != 0))
    return out | transit_fit(ds)


def transit_fit(ds: xr.Dataset) -> dict[str, float]:
    """What tells a transit fit that is not to be trusted; empty where none was made.

    fit_chi2         reduced chi² of the white light curve's fit, over what photons, read noise and the noise of a measured shift make
    fit_red_noise    factor on its errors for noise that does not average down (in the errors already)
    transit_inside   share of T14 that lies between the first and the last pair
    depth_chi2       median of the channels' reduced chi²

    >>> ds = xr.Dataset({"mid_transit_time": 1.0, "transit_duration": 4.0}, coords={"time": ("pair", [0.0, 8.0])})
    >>> transit_fit(ds.assign_attrs(ephemeris_source="fit", ephemeris_chi2_reduced=1.1, ephemeris_red_noise=1.0))
    {'fit_chi2': 1.1, 'fit_red_noise': 1.0, 'transit_inside': 0.75}
    """
    if "mid_transit_time" not in ds or ds.attrs.get("ephemeris_source", "none") == "none":
        return {}
    out = {name: float(ds.attrs[f"ephemeris_{key}"]) for name, key in (("fit_chi2", "chi2_reduced"), ("fit_red_noise", "red_noise"))}
    out["fit_chi2"] /= 1.0 + shift_variance(ds)
    time, middle, half = np.asarray(ds["time"]), float(ds["mid_transit_time"]), 0.5 * float(ds["transit_duration"])
    seen = min(time[-1], middle + half) - max(time[0], middle - half)
    # phase-folded orbits of one visit: the transit is seen whole in one of them
    whole = float(ds.attrs.get("ephemeris_period_h", np.inf)) < float(np.ptp(time))
    out["transit_inside"] = 1.0 if whole or half <= 0 else float(np.clip(seen / (2.0 * half), 0.0, 1.0))
    if "transit_depth_chi2" in ds and np.isfinite(ds["transit_depth_chi2"]).any():
        out["depth_chi2"] = float(np.nanmedian(ds["transit_depth_chi2"]))
    return {name: value for name, value in out.items() if np.isfinite(value)}


def shift_variance(ds: xr.Dataset) -> float:
    """Variance that the noise of a measured shift leaves in white light, over that of the channels' own noise; 0 without a measured one.

    AIRS' x is read from the noisy spectrum; regressed on it, every channel takes the same errors, by its gradient: in white light they add
    up, while the channels' own noise averages down.

    >>> dims, noise = ("fit_bin", "wavelength"), [[0.1, 0.1], [0.0, 0.0]]
    >>> ds = xr.Dataset({"fit_sigma": (dims, np.ones((5, 2))), "fit_shift_noise": (("shift_noise", "wavelength"), noise)})
    >>> pairs = {"photometry": np.ones((5, 2)), "photometry_dq": np.zeros((5, 2), np.uint32)}
    >>> ds = ds.assign({name: (("pair", "wavelength"), values) for name, values in pairs.items()})
    >>> round(shift_variance(ds), 6)  # (0.1 + 0.1)² / (1 + 1)
    0.02
    """
    if not {"photometry", "fit_sigma", "fit_shift_noise"} <= set(ds.variables):
        return 0.0
    sigma = np.asarray(ds["fit_sigma"], np.float64)
    known = np.isfinite(sigma)
    own = np.nan_to_num(light_of_channels(ds)) * np.where(known, sigma, 0.0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    common = own * np.nan_to_num(np.asarray(ds["fit_shift_noise"], np.float64)[0])
    total = float(np.square(own).sum())
    return float(common.sum()) ** 2 / total if total > 0 else 0.0
