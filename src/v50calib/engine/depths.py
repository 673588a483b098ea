"""Depths of a visit's channels: which curves, bins and terms the fit of `kernels.depths` gets."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from v50calib.config.models import CalibConfig
from v50calib.dq import DQ
from v50calib.engine.process import with_depth_var
from v50calib.kernels.arrays import Float, Mask, Real
from v50calib.kernels.depths import Depths, fit_depths
from v50calib.kernels.limb import quadratic_limb_darkening
from v50calib.stages.phase.ephemeris import (
    STAR_TEMPERATURE,
    shape_of,
    transit_prior,
)
from v50calib.stages.series.curves import Ephemeris, Normalized, Series, white_wavelength
from v50calib.stages.series.time_bins import TimeBins

#: time bins of the spectral fit: about 2 min in a full visit, a small part of ingress
DEPTH_BINS = 200
#: a sample that carries one of these takes no part in a fit
LEFT_OUT = np.uint32(DQ.DO_NOT_USE | DQ.SATURATED | DQ.DROPOUT)


def transit_depths(series: Series, normalized: Normalized, ephemeris: Ephemeris, calib: CalibConfig) -> Depths | None:
    """Depth per channel with the orbit and limb darkening shared; None where no transit was fitted.

    Light curves are divided by a level alone where every term of the baseline is in the fit as well: a baseline that was
    extrapolated through the transit cannot be undone by terms of the quotient. Flagged samples take no part.
    """
    if not ephemeris.found or not math.isfinite(ephemeris.depth):
        return None
    seen = (
        np.isfinite(series.flux).any(axis=0) if _by_level(normalized, calib) else np.isfinite(normalized.flux.sum(axis=0, dtype=np.float64))
    )
    good = np.asarray(seen)
    if not good.any():
        return None
    bins = TimeBins(series.time_h, DEPTH_BINS, series.used)
    flux, var, count = _fitted_curves(series, normalized, calib, bins, good)
    assert normalized.joint is not None
    design = normalized.joint.in_bins(bins)
    star, wavelength = series.star, series.wavelength_um[good]
    darkening = np.stack(quadratic_limb_darkening(wavelength, star.get("Ts", STAR_TEMPERATURE))).reshape(2, -1)
    prior = transit_prior(star, ephemeris.a, ephemeris.b, white_wavelength(series))
    shape = shape_of(ephemeris)
    span = float(np.ptp(wavelength))
    position = (2.0 * (wavelength - wavelength.min()) / span - 1.0) if span > 0 else np.zeros(wavelength.size)
    sigma = np.where(count > 0, np.sqrt(var / np.maximum(count, 1.0)), np.inf)
    fitted = fit_depths(
        bins.time_h, flux, sigma, bins.width, design, shape, prior, position, darkening,
        fix_t0=ephemeris.source == "given", additive=calib.trace.additive,
    )  # fmt: skip
    fitted = with_depth_var(fitted, normalized.depth_var)
    if good.all():
        return fitted

    def spread(values: Float) -> Float:
        out = np.full((good.size, *values.shape[1:]), np.nan)
        out[good] = values
        return out

    return replace(
        fitted, depth=spread(fitted.depth), sigma=spread(fitted.sigma), sigma_photon=spread(fitted.sigma_photon),
        chi2=spread(fitted.chi2), shared=spread(fitted.shared),
    )  # fmt: skip


def _by_level(normalized: Normalized, calib: CalibConfig) -> bool:
    """Whether the fit has every term that the normalization divided by."""
    along = calib.trace.along_wavelength
    per_frame = along.enabled and along.reference == "per_frame"
    return not (normalized.refit_white or calib.trace.along_time.decorrelate.common_mode or per_frame)


def _fitted_curves(
    series: Series, normalized: Normalized, calib: CalibConfig, bins: TimeBins, good: Mask
) -> tuple[Float, Float, Float]:  # fmt: skip
    """Relative flux, its variance for a transit, and samples in each bin, (bins, channel) each, of the good channels."""
    bad = (series.dq & LEFT_OUT) != 0

    def chosen(values: Real) -> Real:
        values = values if good.all() else values[:, good]
        return np.where(bad[:, good], np.nan, values) if bad.any() else values

    if _by_level(normalized, calib):
        flux, count = bins.mean_and_count(chosen(series.flux))
        var = bins.mean(chosen(series.var)) + series.slow_var[good]
        level = np.nanmedian(flux, axis=0)
        return flux / level, var / np.square(level), count
    flux, count = bins.mean_and_count(chosen(normalized.flux))
    var, baseline = bins.mean(chosen(normalized.var)), bins.mean(chosen(normalized.baseline))
    var = var + series.slow_var[good] / np.square(baseline)
    if normalized.level.size > 1:
        # a depth is relative to the channel's own level out of transit, whatever divided it
        flux, var = flux / normalized.level[good], var / np.square(normalized.level[good])
    return flux, var, count
