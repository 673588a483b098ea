"""Trace along time: linear terms (polynomial or spline) and filters of the white light curve, transit masked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal

import numpy as np
from pydantic import Field
from scipy.interpolate import BSpline

from v50calib.kernels import detrend
from v50calib.kernels.arrays import Float, Mask
from v50calib.kernels.series import robust_sigma
from v50calib.stages.config import Section
from v50calib.stages.series.curves import Ephemeris, Series
from v50calib.stages.series.time_bins import TimeBins, powers
from v50calib.stages.trace.regressors import Decorrelate

Method = Literal["auto", "poly", "spline", "savgol", "biweight", "highpass", "gp"]
#: methods that are no linear terms: they filter the white light curve, and one trend serves all channels
FILTERS = ("savgol", "biweight", "highpass", "gp")
#: degrees in time that `auto` tries, and how much chi² a further one must gain, in units of what is left
LOWEST_DEGREE, HIGHEST_DEGREE, DEGREE_GAIN = 1, 4, 12.0
#: bins of the white light curve that filters and the Gaussian process work on
FILTER_BINS, GP_BINS = 1125, 300
#: a level beside the transit is the mean over this share of the filter's window
BRIDGE_SHARE = 0.25


class Poly(Section):
    """degree auto: 1, and higher as far as the light curves show it, up to 4."""

    degree: Literal["auto"] | Annotated[int, Field(ge=0, le=6)] = "auto"

    @property
    def first(self) -> int:
        """The degree that a fit begins with."""
        return LOWEST_DEGREE if self.degree == "auto" else self.degree


class TimeSpline(Section):
    """knots: interior knots of a cubic spline, set so that equally many out-of-transit pairs lie between them."""

    knots: int = Field(default=3, ge=1, le=50)


class Savgol(Section):
    """window_h: null = three times T14."""

    window_h: float | None = Field(default=None, gt=0)
    polyorder: int = Field(default=2, ge=0, le=6)


class Biweight(Section):
    """window_h: null = three times T14; cval: robustness, in median absolute deviations."""

    window_h: float | None = Field(default=None, gt=0)
    cval: float = Field(default=5.0, gt=0)


class Highpass(Section):
    """window_frames: CDS pairs in the running mean; null = three times T14."""

    window_frames: int | None = Field(default=None, ge=3)


class GaussianProcess(Section):
    """amplitude (relative flux) and length_h of a Matérn-3/2 process; null = of highest likelihood."""

    amplitude: float | None = Field(default=None, gt=0)
    length_h: float | None = Field(default=None, gt=0)
    shortest_h: float = Field(default=0.5, gt=0)


class TimeRobust(Section):
    """Pairs off the white light curve's baseline take no part in it; max_iters 0: no clip."""

    sigma_clip: float = Field(default=5.0, gt=0)
    max_iters: int = Field(default=0, ge=0)


class AlongTime(Section):
    enabled: bool = True
    method: Method = "auto"
    poly: Poly = Poly()
    spline: TimeSpline = TimeSpline()
    savgol: Savgol = Savgol()
    biweight: Biweight = Biweight()
    highpass: Highpass = Highpass()
    gp: GaussianProcess = GaussianProcess()
    robust: TimeRobust = TimeRobust()
    target: Literal["divide", "subtract"] = "divide"
    mask_transit: bool = True
    mask_margin: float = Field(default=0.1, ge=0)
    decorrelate: Decorrelate = Decorrelate()

    @property
    def filter_name(self) -> str | None:
        return self.method if self.enabled and self.method in FILTERS else None


def spline_terms(knots: Float, first: float, last: float) -> Callable[[Float], Float]:
    """Cubic B-splines with interior knots [h] over first … last [h]: a constant and all but one of them."""
    full = np.concatenate([[first] * 4, knots, [last] * 4])
    basis = BSpline(full, np.eye(len(full) - 4), 3)

    def terms(time_h: Float) -> Float:
        values = basis(np.clip(time_h, first, last))
        # B-splines sum to 1: the constant takes the place of the first
        return np.concatenate([np.ones((len(time_h), 1)), values[:, 1:]], axis=1)

    return terms


def time_terms(config: AlongTime, time_h: Float, outside: Mask | None, degree: int | None = None) -> Callable[[Float], Float]:
    """Linear terms in time, of `degree` where one has been chosen; a filter keeps the polynomial, so that it has little to bridge."""
    if not config.enabled:
        return powers(0)
    if config.method == "spline" and outside is not None and outside.any():
        share = np.linspace(0.0, 1.0, config.spline.knots + 2)[1:-1]
        return spline_terms(np.quantile(time_h[outside], share), float(time_h[0]), float(time_h[-1]))
    return powers(config.poly.first if degree is None else degree)


def clipped(white: Float, design: Float, use: Mask, config: TimeRobust) -> Mask:
    """`use` (pair,) without pairs further than sigma_clip robust deviations off the white light curve's linear fit."""
    kept = use
    for _ in range(config.max_iters):
        solution = np.linalg.lstsq(design[kept], white[kept], rcond=None)[0]
        residual = white - design @ solution
        near = np.abs(residual) <= config.sigma_clip * robust_sigma(residual[kept][:, None])[0]
        if (kept & near).sum() in (kept.sum(), 0):
            break
        kept = kept & near
    return kept


def filtered_trend(series: Series, white: Float, sigma: Float, config: AlongTime, ephemeris: Ephemeris, outside: Mask) -> Float:
    """Trend (pair,) of a white light curve about 1, by the filter of the config; samples not `outside` are not seen.

    white, sigma (pair,): light curve over its linear baseline, and its noise. The filters run on bins and are
    interpolated to the pairs: their windows are long against a bin.
    """
    bins = TimeBins(series.time_h, GP_BINS if config.method == "gp" else FILTER_BINS, series.used)
    values = bins.mean(white[:, None])[:, 0]
    free = bins.mean(outside[:, None].astype(np.float64))[:, 0] == 1.0
    if config.method == "gp":
        noise = np.sqrt(bins.mean(np.square(sigma)[:, None])[:, 0] / bins.count)
        gp = config.gp
        trend, _, _ = detrend.gp_trend(
            bins.time_h, values, noise, np.ones((values.size, 1)), free, shortest=gp.shortest_h, fixed=(gp.amplitude, gp.length_h)
        )
    else:
        step = float(np.median(np.diff(bins.time_h)))
        window = detrend.odd(_window_h(series, config, ephemeris) / step, values.size)
        values = detrend.bridge(bins.time_h, values, free, max(3, round(BRIDGE_SHARE * window)))
        if config.method == "savgol":
            trend = detrend.savgol(values, window, config.savgol.polyorder)
        elif config.method == "biweight":
            trend = detrend.biweight(values, window, config.biweight.cval)
        else:
            trend = detrend.running_mean(values, window)
    return np.interp(series.time_h, bins.time_h, trend)


def _window_h(series: Series, config: AlongTime, ephemeris: Ephemeris) -> float:
    """Length [h] of the filter's window."""
    if config.method == "highpass":
        frames = config.highpass.window_frames
        given = frames * float(np.median(np.diff(series.time_h))) if frames is not None else None
    else:
        given = config.savgol.window_h if config.method == "savgol" else config.biweight.window_h
    return given if given is not None else 3.0 * ephemeris.duration_h
