"""Depths of a visit's channels: which curves, bins and terms the fit of `kernels.depths` gets, and the fit of one visit."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from v50calib.config.models import CalibConfig
from v50calib.dq import DQ
from v50calib.engine.process import with_depth_var
from v50calib.kernels.arrays import Float, Mask, Real
from v50calib.kernels.blocks import Band, Block, Depths
from v50calib.kernels.depths import SHARED, fit_joint
from v50calib.kernels.series import median
from v50calib.kernels.transit import Prior
from v50calib.stages.phase.ephemeris import shape_of, transit_prior
from v50calib.stages.series.curves import Ephemeris, Normalized, Series
from v50calib.stages.series.time_bins import TimeBins

#: time bins of the spectral fit: about 2 min in a full visit, a small part of ingress
DEPTH_BINS = 200
#: a sample that carries one of these takes no part in a fit
LEFT_OUT = np.uint32(DQ.DO_NOT_USE | DQ.SATURATED | DQ.DROPOUT)


@dataclass(frozen=True)
class FitInput:
    """What the transit fit of a visit and instrument works on; small, and stored with the product for the fit of the whole planet.

    time (n,) h, flux and sigma (n, channel) relative to each channel's level, sigma inf where a channel has no sample; design (n, terms)
    of the baseline; darkening (3, channel): u1, u2 and the width of their prior; width [h] of a bin; additive: terms after the first
    do not dim with the star; ridge (terms,): inverse variance of the prior on each term, None: all free; depth_var: variance that a
    Gaussian process, divided out, leaves in every depth alike. shift_noise (2, channel): what the noise of a measured shift leaves in each
    channel (`kernels.lightcurves.Shift.noise_along`; of products without the second row (channel,)); shift_term: that shift's term.
    """

    time: Float
    flux: Float
    sigma: Float
    design: Float
    wavelength: Float
    darkening: Float
    width: float
    additive: bool
    ridge: Float | None = None
    depth_var: float | None = None
    shift_noise: Float | None = None
    shift_term: int | None = None

    @property
    def precision(self) -> Float:
        """(terms,) inverse variance of the prior on each term, 0: free."""
        return self.ridge if self.ridge is not None else np.zeros(self.design.shape[1])

    @property
    def along(self) -> Float:
        """(2, channel) shift_noise, 0 where no shift is a term."""
        return self.shift_noise if self.shift_noise is not None else np.zeros((2, self.flux.shape[1]))

    def channels(self) -> Mask:
        """Channels (channel,) that have a sample."""
        return np.asarray(np.isfinite(self.sigma).any(axis=0))

    def block(self, good: Mask, visit: int = 0, band: int = 0, since_h: float = 0.0) -> Block:
        """The block of the joint fit, times shifted by since_h."""
        noise = bias = None
        if self.shift_noise is not None:
            rows = np.atleast_2d(self.shift_noise)[:, good]
            noise, bias = rows[0], rows[-1] if self.shift_term is not None else None
        return Block(
            self.time + since_h,
            self.flux[:, good],
            self.sigma[:, good],
            self.width,
            self.design,
            visit,
            band,
            additive=self.additive,
            ridge=self.ridge,
            shift_noise=noise,
            shift_bias=bias,
            shift_term=self.shift_term or 0,
        )

    def band(self, good: Mask) -> Band:
        """The channels of the joint fit; one width of the limb darkening's prior serves them all."""
        u1, u2, width = self.darkening[:, good]
        own = float(width.mean())
        return Band(band_position(self.wavelength[good]), np.stack([u1, u2]), own, own)


def band_position(wavelength_um: Float) -> Float:
    """Wavelengths (channel,) mapped onto [-1, 1]; one channel is at 0.

    >>> band_position(np.array([1.0, 2.0, 3.0])), band_position(np.array([0.7]))
    (array([-1.,  0.,  1.]), array([0.]))
    """
    span = float(np.ptp(wavelength_um))
    return 2.0 * (wavelength_um - wavelength_um.min()) / span - 1.0 if span > 0 else np.zeros(wavelength_um.size)


def fit_input(series: Series, normalized: Normalized, calib: CalibConfig) -> FitInput:
    """Curves, noise and terms of the transit fit of a visit.

    Light curves are divided by a level alone where every term of the baseline is in the fit as well: a baseline that was
    extrapolated through the transit cannot be undone by terms of the quotient. Flagged samples take no part.
    """
    assert normalized.joint is not None
    bins = TimeBins(series.time_h, DEPTH_BINS, series.used)
    level = _by_level(normalized, calib)
    good = np.asarray(np.isfinite(series.flux).any(axis=0) if level else np.isfinite(normalized.flux.sum(axis=0, dtype=np.float64)))
    flux, sigma = np.ones((bins.time_h.size, good.size)), np.full((bins.time_h.size, good.size), np.inf)
    if good.any():
        mean, var, count = _fitted_curves(series, normalized, bins, good, by_level=level)
        seen = (count > 0) & np.isfinite(mean) & (var > 0)
        flux[:, good] = np.where(seen, mean, 1.0)
        sigma[:, good] = np.where(seen, np.sqrt(np.where(seen, var, 1.0) / np.maximum(count, 1.0)), np.inf)
    limb, vectors = series.limb, calib.trace.vectors
    design, terms = normalized.joint.in_bins(bins), normalized.joint.regressors.shape[1]
    return FitInput(
        bins.time_h, flux, sigma, design, series.wavelength_um, np.stack([limb.u1, limb.u2, limb.width]),
        bins.width, calib.trace.additive, normalized.joint.precision(), normalized.depth_var,
        series.shift_noise if calib.trace.along_time.decorrelate.takes_shift else None,
        design.shape[1] - terms + vectors.index("x") if terms and "x" in vectors else None,
    )  # fmt: skip


def transit_depths(series: Series, normalized: Normalized, ephemeris: Ephemeris, calib: CalibConfig) -> Depths | None:
    """Depth per channel with the orbit and limb darkening shared; None where no transit was fitted."""
    return depths_of(fit_input(series, normalized, calib), series, ephemeris)


def depths_of(given: FitInput, series: Series, ephemeris: Ephemeris) -> Depths | None:
    """Depth per channel of one visit and instrument (channel,), NaN where a channel has no light; None where no transit was fitted."""
    good = given.channels()
    if not ephemeris.found or not math.isfinite(ephemeris.depth) or not good.any():
        return None
    prior: Prior = transit_prior(series.star, ephemeris.a, ephemeris.b, series.white_darkening)
    shape = shape_of(ephemeris)
    fitted = fit_joint([given.block(good)], [given.band(good)], shape, np.array([shape.t0]), prior, fix_t0=ephemeris.given).bands[0]
    # a baseline without held terms has no drift of its own
    absent = np.zeros((fitted.sigma.size, SHARED - fitted.shared.shape[1]))
    fitted = replace(fitted, shared=np.concatenate([fitted.shared, absent], axis=1))
    if given.depth_var is not None:
        fitted = with_depth_var(fitted, [given.depth_var], 0)
    return fitted if good.all() else spread(fitted, good)


def spread(fitted: Depths, good: Mask) -> Depths:
    """Depths of the `good` channels as those of all of them, the others NaN."""

    def wide(values: Float) -> Float:
        out = np.full((good.size, *values.shape[1:]), np.nan)
        out[good] = values
        return out

    return replace(
        fitted, depth=wide(fitted.depth), sigma=wide(fitted.sigma), sigma_photon=wide(fitted.sigma_photon), chi2=wide(fitted.chi2),
        shared=wide(fitted.shared),
    )  # fmt: skip


def _levels(flux: Float, count: Float) -> Float:
    """Median (channel,) of the bins that have samples; 1 where a channel has none."""
    if (count > 0).all():
        return median(flux)
    seen = (count > 0).any(axis=0)
    level = np.ones(seen.size)
    level[seen] = np.nanmedian(np.where(count > 0, flux, np.nan)[:, seen], axis=0)
    return level


def _by_level(normalized: Normalized, calib: CalibConfig) -> bool:
    """Whether the fit has every term that the normalization divided by."""
    along = calib.trace.along_wavelength
    per_frame = along.enabled and along.reference == "per_frame"
    return not (normalized.refit_white or calib.trace.along_time.decorrelate.common_mode or per_frame)


def _fitted_curves(
    series: Series, normalized: Normalized, bins: TimeBins, good: Mask, *, by_level: bool
) -> tuple[Float, Float, Float]:  # fmt: skip
    """Relative flux, its variance for a transit, and samples in each bin, (bins, channel) each, of the good channels."""
    bad = (series.dq & LEFT_OUT) != 0

    def chosen(values: Real) -> Real:
        values = values if good.all() else values[:, good]
        return np.where(bad[:, good], np.nan, values) if bad.any() else values

    if by_level:
        flux, count = bins.mean_and_count(chosen(series.flux))
        var = bins.mean(chosen(series.var)) + series.slow_var[good]
        level = _levels(flux, count)
        return flux / level, var / np.square(level), count
    flux, count = bins.mean_and_count(chosen(normalized.flux))
    var, baseline = bins.mean(chosen(normalized.var)), bins.mean(chosen(normalized.baseline))
    var = var + series.slow_var[good] / np.square(baseline)
    if normalized.level.size > 1:
        # a depth is relative to the channel's own level out of transit, whatever divided it
        flux, var = flux / normalized.level[good], var / np.square(normalized.level[good])
    return flux, var, count
