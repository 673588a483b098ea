"""Light curves on their way through the series stages, and the ephemeris they share."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from v50calib.kernels.arrays import Flags, Float, Index, Mask, Real
from v50calib.kernels.lightcurves import sums, weighted_totals
from v50calib.stages.series.darkening import Darkening, law
from v50calib.stages.series.time_bins import BaselineModel, TimeBins

#: bins of the white light curve that its fits work on
FIT_BINS = 400


@dataclass(frozen=True)
class Series:
    """Light curves of one visit and instrument.

    time_h (pair,) mid-time of each pair; flux, var (pair, channel); dq (pair, channel) uint32;
    x, y (pair,) pointing, px; wavelength_um (channel,); star: star parameters by name;
    slow_var (channel,) e-²: extra variance of a pair for slow signals, fast_var (channel,): the background's share of the pair's own,
    shared: neighbouring channels that have both in common (see `LightCurves`);
    width (pair,) rms height of the spectrum or star, px, and background (pair,) e- per pixel: both where asked for;
    shift_noise (2, channel): as of `LightCurves`;
    used (pair,) pairs that fits and bins may use, None: all; darkening: limb darkening of the channels, None: the law's.
    """

    time_h: Float
    flux: Real
    var: Real
    dq: Flags
    x: Float
    y: Float
    wavelength_um: Float
    star: dict[str, float]
    slow_var: Float
    width: Float | None = None
    background: Float | None = None
    used: Mask | None = None
    darkening: Darkening | None = None
    fast_var: Float | None = None
    shared: int = 1
    shift_noise: Float | None = None

    def slow_of(self, channels: Mask | Index) -> float:
        """slow_var of a sum of channels, e-²: neighbours share the background's error, which adds up in their sum."""
        part = self.slow_var[channels]
        return float(part.sum()) * min(self.shared, max(part.size, 1))

    def common_of(self, channels: Mask | Index) -> float:
        """What the variance of a sum of channels has beyond the sum of their variances, for a slow signal, e-²."""
        if self.fast_var is None or self.shared == 1:
            return self.slow_of(channels)
        part = self.fast_var[channels]
        return self.slow_of(channels) + float(part.sum()) * (min(self.shared, max(part.size, 1)) - 1)

    @property
    def limb(self) -> Darkening:
        """Limb darkening that the fits start from, of each channel."""
        return self.darkening if self.darkening is not None else law(self.wavelength_um, self.star)

    @cached_property
    def white(self) -> tuple[Float, Float]:
        """White light curve (pair,) [e-]: the sum of the channels' flux, and its variance; a channel with any NaN takes no part."""
        flux, whole = white_light(self.flux)
        return flux, sums(self.var if whole.all() else self.var[:, whole])[0] + self.common_of(whole)

    @cached_property
    def white_bins(self) -> tuple[TimeBins, Float, Float]:
        """Bins that the fits of the white light curve work on; its mean and its noise there, (bins,)."""
        return binned_white(self, *self.white)

    @cached_property
    def white_darkening(self) -> tuple[float, float, float]:
        """u1, u2 of the white light curve and the width of their prior: the channels' means, weighted by their light."""
        return self.limb.mean(sums(self.flux)[1])


@dataclass(frozen=True)
class Ephemeris:
    """Where the transit is: mid-time, T14 and period in hours; how it was found; its white-light fit.

    red_noise: factor on the errors for noise that does not average down, in them already; cost: chi² and priors of the best fit, with
    or without a transit, what baselines of different order are compared by; covariance: of (t0, depth, a, b, q1, q2) in the white fit,
    36 numbers row by row, none where no transit was fitted.

    source `given`, `fit` or `none` (no transit was found: everything counts as out of transit).
    """

    t0_h: float
    duration_h: float
    period_h: float
    source: str
    snr: float = np.inf
    t0_sigma_h: float = 0.0
    depth: float = np.nan
    depth_sigma: float = np.nan
    a: float = np.nan
    b: float = np.nan
    u1: float = np.nan
    u2: float = np.nan
    chi2_reduced: float = np.nan
    red_noise: float = 1.0
    cost: float = np.nan
    covariance: tuple[float, ...] = ()

    @property
    def found(self) -> bool:
        """Whether there is a transit."""
        return self.source != "none"

    @property
    def attrs(self) -> dict[str, Any]:
        """Attributes of the product that say it all; a covariance that there is not is left out."""
        named = {f"ephemeris_{name}": value for name, value in vars(self).items() if name != "covariance"}
        return named | ({"ephemeris_covariance": list(self.covariance)} if self.covariance else {})

    @property
    def given(self) -> bool:
        """Whether the config gave mid-time and duration: no fit changes them."""
        return self.source == "given"

    def in_transit(self, time_h: Float, margin: float) -> Mask:
        """Samples within T14·(1 + margin) of mid-transit, of every orbit that the times reach."""
        if not self.found:
            return np.zeros(time_h.shape, bool)
        return np.abs(self.since_transit(time_h)) <= 0.5 * self.duration_h * (1.0 + margin)

    def since_transit(self, time_h: Float) -> Float:
        """Hours since the nearest mid-transit; a visit that stays within half a period of t0 knows one transit only."""
        since = time_h - self.t0_h
        if np.isfinite(self.period_h) and time_h.size and np.abs(since).max() > 0.5 * self.period_h:
            since = since - self.period_h * np.round(since / self.period_h)
        return since

    @property
    def ingress_h(self) -> float:
        """First to second contact [h] of the fitted orbit (Winn 2010, eqs. 14-15); a tenth of T14 where none was fitted."""
        k = np.sqrt(max(self.depth, 0.0))
        inner = (1.0 - k) ** 2 - self.b**2
        if not inner > 0:
            return 0.1 * self.duration_h
        full = self.duration_h * np.sqrt(inner / ((1.0 + k) ** 2 - self.b**2))
        return float(0.5 * (self.duration_h - full))


@dataclass(frozen=True)
class Normalized:
    """Out-of-transit normalized light curves: flux and its variance, what was divided out (e-).

    level        out-of-transit flux of each channel, (channel,) or 1: not 1 where a smooth continuum divided
    joint        linear terms that stay free in the transit fits
    refit_white  the white transit must be fitted to these curves, since the first fit's baseline was another
    model        every linear term that was divided out
    trend_var    relative variance (pair,) of the trend that multiplies all channels: not in `var`, since channels and neighbouring pairs
                 share it; None: not known, or there is no such trend
    trend_notes  those of `notes` that tell of that trend
    depth_var, t0_var  variances that the trend leaves in every depth alike (None: it is linear terms), and in the mid-time, h²
    """

    flux: Real
    var: Real
    baseline: Real
    out_of_transit: Mask
    notes: tuple[str, ...] = ()
    level: Float = field(default_factory=lambda: np.ones(1))
    joint: BaselineModel | None = None
    refit_white: bool = False
    model: BaselineModel | None = None
    trend_var: Float | None = None
    trend_notes: tuple[str, ...] = ()
    depth_var: float | None = None
    t0_var: float = 0.0

    @property
    def total_var(self) -> Real:
        """Variance (pair, channel) of the flux with that of the trend."""
        if self.trend_var is None:
            return self.var
        return (self.var + self.trend_var[:, None] * np.square(self.flux)).astype(self.var.dtype, copy=False)


@dataclass(frozen=True)
class Folded:
    """Phase of each pair, and the folded, binned light curve (NaN and DO_NOT_USE in empty bins)."""

    phase: Float
    in_transit: Mask
    bin_phase: Float
    flux: Float
    var: Float
    count: NDArray[np.int64]
    dq: Flags


def whole_channels(values: Real) -> Mask:
    """Channels (channel,) of which every sample of values (pair, channel) is finite."""
    return np.isfinite(sums(values)[1])


def white_light(flux: Real) -> tuple[Float, Mask]:
    """Sum over channels (pair,) of flux (pair, channel), and the channels (channel,) that take part: not those with any NaN."""
    light, by_channel = sums(flux)
    whole = np.isfinite(by_channel)
    return light if whole.all() else sums(flux[:, whole])[0], whole


def binned_white(series: Series, flux: Float, var: Float) -> tuple[TimeBins, Float, Float]:
    """Bins that the fits of a white light curve (pair,) of the series work on; its mean and its noise there, (bins,)."""
    bins = TimeBins(series.time_h, FIT_BINS, series.used)
    mean, variance = bins.mean(np.column_stack([flux, var])).T
    return bins, mean, np.sqrt(variance / bins.count)


def white_normalized(series: Series, normalized: Normalized) -> tuple[Float, Float]:
    """White light curve (pair,), 1 out of transit: the normalized channels weighted by their light, and its variance; a channel with
    any NaN takes no part. NaN where none is left."""
    level = np.broadcast_to(normalized.level, series.flux.shape[1:])
    light = normalized.baseline.mean(axis=0, dtype=np.float64)
    whole = np.isfinite(light) & whole_channels(normalized.flux)
    if not whole.any():
        return np.full(len(series.flux), np.nan), np.full(len(series.flux), np.nan)
    weight = light[whole]
    curves = [v if whole.all() else np.ascontiguousarray(v[:, whole]) for v in (normalized.flux, normalized.var)]
    flux, var = weighted_totals(curves[0], weight), weighted_totals(curves[1], weight**2) + series.common_of(whole)
    total = float((weight * level[whole]).sum())
    return flux / total, var / total**2
