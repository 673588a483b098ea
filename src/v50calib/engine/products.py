"""A calibrated visit as an xarray Dataset: names, dims, units and attributes from `schema.CALIBRATED`."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from v50calib import dq
from v50calib.config.models import RunConfig
from v50calib.engine.constants import FrameConstants
from v50calib.engine.noise_budget import COMPONENTS, ledger_arrays
from v50calib.engine.result import ChunkResult, assemble_bins
from v50calib.engine.series import SeriesResult, pair_times
from v50calib.kernels.arrays import Float
from v50calib.kernels.binned import cube_and_variance
from v50calib.kernels.noise import block_sizes
from v50calib.kernels.series import bin_mean
from v50calib.schema import CALIBRATED
from v50calib.stages.adc.stage import AdcConstants

Arrays = dict[str, np.ndarray]


def frame_arrays(frame: FrameConstants, results: list[ChunkResult], config: RunConfig) -> Arrays:
    """Cubes and static maps of the frame domain."""
    out: Arrays = {"pixel_dq": frame.state.pixel_dq}
    if frame.mean is not None:
        out["cds_var_rnoise"] = frame.mean.read_var
    if frame.mean is not None and config.output.diagnostics:
        out["cds_mean"] = np.where(frame.state.masked, np.nan, frame.mean.cds)
        out["dark_applied"], out["flat_applied"] = frame.state.dark_rate, 1.0 / frame.state.inverse_flat
        if frame.photometry is not None:
            out["extraction_weights"] = frame.photometry.weights[0]
    cubes = config.output.cubes
    if cubes in ("binned", "both") and frame.n_bins:
        out["cds_binned"], out["cds_binned_var_poisson"] = binned_cubes(frame, assemble_bins(results, frame.n_bins, frame.shape), config)
    if cubes in ("full", "both"):
        out["cds_corrected"] = np.concatenate([r.cube for r in sorted(results, key=lambda r: r.start) if r.cube is not None])
    return out


def binned_cubes(frame: FrameConstants, total: Float, config: RunConfig) -> tuple[np.ndarray, np.ndarray]:
    """Summed CDS frames and their photon variance, e-²: ``(S + dark) / flat``, S and dark flat-corrected electrons.

    S·flat electrons were counted, dark's included; division by flat² leaves one power of it. Masked pixels NaN.
    """
    assert frame.mean is not None
    kept = frame.pair_bins >= 0
    between: Float = np.bincount(frame.pair_bins[kept], weights=frame.between[kept], minlength=frame.n_bins).astype(np.float64)
    masked = np.where(frame.state.masked, np.nan, 1.0)
    cube, variance = np.empty(total.shape, config.output.dtype), np.empty(total.shape, config.output.dtype)
    cube_and_variance(total, frame.state.dark_rate, between, frame.mean.inverse_flat * masked, masked, cube, variance)
    return cube, variance


def series_arrays(frame: FrameConstants, result: SeriesResult, config: RunConfig) -> Arrays:
    """Light curves, normalized and folded products, depths."""
    curves = result.curves
    out: Arrays = {
        "photometry": curves.flux,
        "photometry_var": result.series.var,
        "photometry_var_rnoise": curves.var_rnoise,
        "photometry_dq": curves.dq,
        "x_position": curves.x,
        "y_position": curves.y,
    }
    if frame.n_bins:
        out["background"] = bin_mean(curves.background, frame.pair_bins, frame.n_bins)[0]
    out = in_flux_units(out, frame, config.calib.photometry.output.flux_units)
    if result.normalized is not None:
        out |= {
            "trace_norm": result.normalized.flux,
            "trace_norm_var": result.normalized.var,
            "out_of_transit": result.normalized.out_of_transit,
        }
        if config.output.diagnostics:
            out |= ledger_arrays(frame, result, config.calib.photometry)
    if result.folded is not None:
        folded = result.folded
        out |= {
            "phase": folded.phase, "in_transit": folded.in_transit, "phase_fold": folded.flux, "phase_fold_var": folded.var,
            "phase_fold_count": folded.count, "phase_fold_dq": folded.dq,
        }  # fmt: skip
    if result.ephemeris is not None:
        out |= ephemeris_arrays(result)
        if config.calib.phase.depths.enabled:
            out |= depth_arrays(result)
    return out


#: power of the flux that each variable in flux units is
_FLUX_POWER = {"photometry": 1, "photometry_var": 2, "photometry_var_rnoise": 2, "background": 1}
_FLUX_UNITS = {"e": "e-", "e_per_s": "e- s-1", "ADU": "ADU"}
#: variables that calib.photometry.output.save.* leaves out when false
_SAVED = {
    "flux": ("photometry",),
    "variance": ("photometry_var", "photometry_var_rnoise"),
    "background": ("background",),
    "centroids": ("x_position", "y_position"),
}


def in_flux_units(arrays: Arrays, frame: FrameConstants, units: str) -> Arrays:
    """Fluxes, their variances and the background in `units`: e (per pair), e_per_s (of the time between the reads), or ADU."""
    if units == "e":
        return arrays
    if units == "ADU":
        adc = next(c for c in frame.constants if isinstance(c, AdcConstants))
        scale, typical = np.full(len(frame.between), float(np.mean(adc.gain))), float(np.mean(adc.gain))
    else:
        scale, typical = 1.0 / frame.between, float(1.0 / np.median(frame.between))
    per_pair = {n: v * scale[:, None] ** _FLUX_POWER[n] for n, v in arrays.items() if n in ("photometry", "photometry_var")}
    others = {n: v * typical ** _FLUX_POWER[n] for n, v in arrays.items() if n in ("photometry_var_rnoise", "background")}
    return arrays | per_pair | others


def unsaved(config: RunConfig) -> list[str]:
    """Variables that calib.photometry.output.save leaves out of the product."""
    save = config.calib.photometry.output.save
    return [name for key, names in _SAVED.items() if not getattr(save, key) for name in names]


def ephemeris_arrays(result: SeriesResult) -> Arrays:
    """The transit found; NaN where there is none, so that every visit has the same variables."""
    ephemeris = result.ephemeris
    assert ephemeris is not None
    found = ephemeris.source != "none"
    values = {
        "mid_transit_time": ephemeris.t0_h if found else np.nan,
        "mid_transit_time_sigma": ephemeris.t0_sigma_h if found else np.nan,
        "transit_duration": ephemeris.duration_h,
        "white_depth": ephemeris.depth,
        "white_depth_sigma": ephemeris.depth_sigma,
        "transit_snr": ephemeris.snr,
    }
    return {name: np.array(value, dtype=np.float64) for name, value in values.items()}


def depth_arrays(result: SeriesResult) -> Arrays:
    """Depth per channel and its error; NaN where no transit was found."""
    depths, none = result.depths, np.full(result.series.wavelength_um.size, np.nan)
    return {
        "transit_depth": depths.depth if depths is not None else none,
        "transit_depth_sigma": depths.sigma if depths is not None else none,
    }


def coordinates(frame: FrameConstants, result: SeriesResult | None, *, diagnostics: bool = True) -> dict[str, Any]:
    """Coordinates of every dimension that the product has."""
    time = pair_times(frame)
    coords: dict[str, Any] = {
        "time": ("pair", time, {"units": "h", "long_name": "mid-time of the pair since the start of the visit"}),
        "exposure": ("pair", frame.between, {"units": "s", "long_name": "time between the reads of the pair"}),
    }
    if frame.n_bins:
        coords["bin_time"] = ("bin", bin_mean(time[:, None], frame.pair_bins, frame.n_bins)[0][:, 0], {"units": "h"})
    if result is not None:
        coords["wavelength"] = ("wavelength", result.series.wavelength_um, {"units": "um"})
        if result.normalized is not None and diagnostics:
            coords["averaging"] = averaging(len(time), time)
        if result.folded is not None:
            coords["bin_phase"] = ("phase_bin", result.folded.bin_phase, {"long_name": "phase at the bin's centre"})
    return coords


def averaging(pairs: int, time_h: Float) -> tuple[str, Float, dict[str, Any]]:
    """Coordinate of the noise ledger's blocks: their length in s, at the visit's usual cadence."""
    cadence = float(np.median(np.diff(time_h))) * 3600.0 if pairs > 1 else 0.0
    return (
        "averaging",
        np.asarray(block_sizes(pairs) * cadence, np.float64),
        {"units": "s", "long_name": "time that pairs are averaged over"},
    )


def storage_dtype(name: str, dtype: str) -> np.dtype[Any]:
    """Stored dtype of a variable: floats as asked for, times and depths always float64."""
    spec = CALIBRATED[name]
    if spec.kinds == "f":
        return np.dtype("float64" if spec.dims in ((), ("wavelength",)) else dtype)
    return np.dtype({"i": "int32", "u": "uint32", "b": "bool"}[spec.kinds])


def variable_attrs(name: str, flux_units: str = "e") -> dict[str, Any]:
    """Units, long name and, for flags, the CF attributes of a variable."""
    spec = CALIBRATED[name]
    units = spec.units
    if name in _FLUX_POWER and flux_units != "e":
        units = _FLUX_UNITS[flux_units] if _FLUX_POWER[name] == 1 else f"({_FLUX_UNITS[flux_units]})2"
    meta: dict[str, Any] = dq.cf_attrs() if name.endswith("_dq") else {}
    if "component" in spec.dims:
        meta = {"components": list(COMPONENTS)}
    return {**meta, "long_name": spec.doc} | ({"units": units} if units else {})


def with_frame_units(ds: xr.Dataset, units: str) -> xr.Dataset:
    """The Dataset with the CDS frames' units where they are not electrons; in place."""
    square = "1" if units == "1" else f"{units}2"
    for name, value in (("cds_corrected", units), ("cds_binned", units), ("cds_binned_var_poisson", square), ("cds_var_rnoise", square)):
        if name in ds:
            ds[name].attrs["units"] = value
    return ds


def build_dataset(arrays: Arrays, coords: dict[str, Any], attrs: dict[str, Any], dtype: str, flux_units: str = "e") -> xr.Dataset:
    """Dataset of the arrays, floats stored as `dtype`, with units, long names and CF flag attributes."""
    variables = {}
    for name, values in arrays.items():
        values = values.astype(storage_dtype(name, dtype), copy=False)
        variables[name] = (CALIBRATED[name].dims, values, variable_attrs(name, flux_units))
    return xr.Dataset(variables, coords=coords, attrs=attrs)
