"""The series domain of one visit: from the chunks' sums to light curves, baseline, phase and depths."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from v50calib.config.models import CalibConfig
from v50calib.kernels.depths import Depths, fit_depths
from v50calib.kernels.limb import quadratic_limb_darkening
from v50calib.kernels.transit import Prior, Shape
from v50calib.stages.base import Float
from v50calib.stages.ephemeris import (
    FIT_BINS,
    PRIOR_A,
    PRIOR_B,
    PRIOR_U,
    baseline_design,
    binned,
    regressors,
    resolve_ephemeris,
    white_wavelength,
)  # fmt: skip
from v50calib.stages.phase import Phase
from v50calib.stages.photometry import LightCurves, Photometry
from v50calib.stages.series_base import Ephemeris, Folded, Normalized, Series
from v50calib.stages.trace import Trace
from v50calib.tiles import ChunkResult, FrameConstants


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
    sums = np.concatenate([r.sums for r in ordered if r.sums is not None])
    dq = np.concatenate([r.dq for r in ordered])
    curves = photometry.finish(sums, dq, frame.photometry)
    series = Series(
        time_h=pair_times(frame), flux=curves.flux, var=curves.variance, dq=curves.dq, x=curves.x, y=curves.y,
        wavelength_um=channel_wavelengths(frame, photometry), star=star, slow_var=curves.slow_var,
    )  # fmt: skip
    if not calib.trace.enabled:
        return SeriesResult(curves, series, None, None, None, None)
    ephemeris = resolve_ephemeris(series, calib.phase.ephemeris, degree=calib.trace.degree, vectors=calib.trace.vectors)
    normalized = Trace(calib.trace).apply(series, ephemeris)
    folded = Phase(calib.phase).apply(series, normalized, ephemeris) if calib.phase.enabled else None
    return SeriesResult(curves, series, ephemeris, normalized, folded, transit_depths(series, normalized, ephemeris, calib))


def transit_depths(series: Series, normalized: Normalized, ephemeris: Ephemeris, calib: CalibConfig) -> Depths | None:
    """Depth per channel with the orbit and limb darkening shared; None where no transit was fitted."""
    if ephemeris.source == "none" or not math.isfinite(ephemeris.depth):
        return None
    good = np.isfinite(normalized.flux).all(axis=0)
    if not good.any():
        return None
    vectors = calib.trace.vectors
    whole = bool(good.all())
    times, count, width = binned(series.time_h, series.time_h[:, None], FIT_BINS)
    flux, var, baseline = (
        binned(series.time_h, v if whole else v[:, good], FIT_BINS)[0] for v in (normalized.flux, normalized.var, normalized.baseline)
    )
    var = var + series.slow_var[good] / np.square(baseline)
    n, time = int(good.sum()), times[:, 0]
    terms, _, _ = binned(series.time_h, regressors(series.x, series.y, vectors), FIT_BINS)
    design = np.concatenate([baseline_design(time, time, time, degree=calib.trace.degree, vectors=()), terms], axis=1)
    teff = series.star.get("Ts", 5500.0)
    wavelength = series.wavelength_um[good]
    darkening = np.stack(quadratic_limb_darkening(wavelength, teff)).reshape(2, -1)
    u1, u2 = quadratic_limb_darkening(white_wavelength(series), teff)
    star = series.star
    a0 = star.get("sma", ephemeris.a)
    b0 = a0 * abs(math.cos(math.radians(star["i"]))) if "i" in star else ephemeris.b
    prior = Prior(
        (a0, (PRIOR_A if "sma" in star else 0.5) * a0), (b0, PRIOR_B if "i" in star else 1.0), (float(u1), PRIOR_U), (float(u2), PRIOR_U)
    )
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
    position = (2.0 * (wavelength - wavelength.min()) / span - 1.0) if span > 0 else np.zeros(n)
    fitted = fit_depths(time, flux, np.sqrt(var / count[:, None]), width, design, shape, prior, position, darkening)
    if good.all():
        return fitted

    def spread(values: Float) -> Float:
        out = np.full(good.shape, np.nan)
        out[good] = values
        return out

    return Depths(spread(fitted.depth), spread(fitted.sigma), spread(fitted.sigma_photon), spread(fitted.chi2), fitted.shape)
