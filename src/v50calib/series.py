"""The series domain of one visit: from the chunks' sums to light curves, baseline, phase and depths."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from v50calib.config.models import CalibConfig
from v50calib.kernels.depths import Depths, fit_depths
from v50calib.kernels.limb import quadratic_limb_darkening
from v50calib.kernels.transit import Shape
from v50calib.stages.base import Float
from v50calib.stages.ephemeris import STAR_TEMPERATURE, TimeBins, resolve_ephemeris, transit_prior, white_wavelength
from v50calib.stages.phase import Phase
from v50calib.stages.photometry import LightCurves, Photometry, PhotometryConstants, joined
from v50calib.stages.series_base import Ephemeris, Folded, Normalized, Series
from v50calib.stages.trace import Trace
from v50calib.tiles import ChunkResult, FrameConstants

#: time bins of the spectral fit: about 2 min in a full visit, a small part of ingress
DEPTH_BINS = 200


@dataclass(frozen=True)
class SeriesResult:
    """Everything the series domain makes of a visit; stages that are off leave None."""

    curves: LightCurves
    series: Series
    ephemeris: Ephemeris | None
    normalized: Normalized | None
    folded: Folded | None
    depths: Depths | None


def pair_times(frame: FrameConstants) -> Float:
    """Mid-time [h] of each pair: the mean of its two time stamps."""
    stamps = frame.state.time_h
    return 0.5 * (stamps[0::2] + stamps[1::2])


def channel_wavelengths(frame: FrameConstants, photometry: Photometry) -> Float:
    """Wavelength [µm] of each output channel, ascending; a summed spectrum gets its mean."""
    constants = frame.photometry
    band = frame.state.instrument.band_um
    if constants is None or constants.columns is None:
        return np.array([band if band is not None else float(np.mean(frame.state.wavelength_um))])
    wavelength = frame.state.wavelength_um[constants.columns]
    return wavelength.mean(keepdims=True) if photometry.config.instrument.per_channel is False else wavelength


def run_series(frame: FrameConstants, results: list[ChunkResult], calib: CalibConfig, star: dict[str, float]) -> SeriesResult:
    """Light curves of all chunks (ordered by time here), then trace, phase and the depths."""
    photometry = Photometry(calib.photometry)
    assert frame.photometry is not None
    ordered = sorted(results, key=lambda r: r.start)
    sums = joined([r.sums for r in ordered if r.sums is not None])
    curves = photometry.finish(sums, assemble_flags(ordered, frame.photometry), frame.photometry)
    series = Series(
        time_h=pair_times(frame), flux=curves.flux, var=curves.variance, dq=curves.dq, x=curves.x, y=curves.y,
        wavelength_um=channel_wavelengths(frame, photometry), star=star, slow_var=curves.slow_var,
    )  # fmt: skip
    if not calib.trace.enabled:
        return SeriesResult(curves, series, None, None, None, None)
    ephemeris = resolve_ephemeris(series, calib.phase.ephemeris, degree=calib.trace.degree, vectors=calib.trace.vectors)
    normalized = Trace(calib.trace).apply(series, ephemeris)
    folded = Phase(calib.phase).apply(series, normalized, ephemeris) if calib.phase.enabled else None
    depths = transit_depths(series, normalized, ephemeris, calib) if calib.phase.depths.enabled else None
    return SeriesResult(curves, series, ephemeris, normalized, folded, depths)


def assemble_flags(results: list[ChunkResult], constants: PhotometryConstants) -> NDArray[np.uint32]:
    """Flags (pair, column) or (pair, 1) of all chunks in order; chunks without any are zero."""
    lengths = [len(r.sums.totals) for r in results if r.sums is not None]
    dq = np.zeros((sum(lengths), constants.area.size), np.uint32)
    for result, stop, n in zip(results, np.cumsum(lengths), lengths, strict=True):
        if result.dq is not None:
            dq[stop - n : stop] = result.dq
    return dq


def transit_depths(series: Series, normalized: Normalized, ephemeris: Ephemeris, calib: CalibConfig) -> Depths | None:
    """Depth per channel with the orbit and limb darkening shared; None where no transit was fitted."""
    if ephemeris.source == "none" or not math.isfinite(ephemeris.depth):
        return None
    good = np.isfinite(normalized.flux.sum(axis=0, dtype=np.float64))
    if not good.any():
        return None
    bins = TimeBins(series.time_h, DEPTH_BINS)
    curves = (normalized.flux, normalized.var, normalized.baseline)
    flux, var, baseline = (bins.mean(v if good.all() else v[:, good]) for v in curves)
    var = var + series.slow_var[good] / np.square(baseline)
    design = bins.design(series, calib.trace.degree, calib.trace.vectors)
    star, wavelength = series.star, series.wavelength_um[good]
    darkening = np.stack(quadratic_limb_darkening(wavelength, star.get("Ts", STAR_TEMPERATURE))).reshape(2, -1)
    prior = transit_prior(star, ephemeris.a, ephemeris.b, white_wavelength(series))
    shape = Shape(
        ephemeris.t0_h,
        ephemeris.period_h if math.isfinite(ephemeris.period_h) else 96.0,
        ephemeris.a,
        ephemeris.b,
        math.sqrt(ephemeris.depth),
        ephemeris.u1,
        ephemeris.u2,
    )
    span = float(np.ptp(wavelength))
    position = (2.0 * (wavelength - wavelength.min()) / span - 1.0) if span > 0 else np.zeros(wavelength.size)
    fitted = fit_depths(bins.time_h, flux, np.sqrt(var / bins.count[:, None]), bins.width, design, shape, prior, position, darkening)
    if good.all():
        return fitted

    def spread(values: Float) -> Float:
        out = np.full(good.shape, np.nan)
        out[good] = values
        return out

    return Depths(spread(fitted.depth), spread(fitted.sigma), spread(fitted.sigma_photon), spread(fitted.chi2), fitted.shape)
