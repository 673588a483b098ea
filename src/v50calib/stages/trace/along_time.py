"""Trace along time: linear terms (polynomial or spline) and filters of the white light curve, transit masked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
from pydantic import Field
from scipy.interpolate import BSpline

from v50calib.errors import ConfigError
from v50calib.kernels import detrend, process
from v50calib.kernels.arrays import Float, Mask
from v50calib.kernels.least_squares import least_squares
from v50calib.kernels.series import robust_sigma
from v50calib.methods.choice import OPTIONS, Registered, options_of
from v50calib.methods.kinds import KINDS
from v50calib.methods.registry import method_of
from v50calib.stages.config import Section
from v50calib.stages.series.curves import Ephemeris, Series
from v50calib.stages.series.time_bins import TimeBins, powers
from v50calib.stages.trace.regressors import Decorrelate

Method = Literal["auto", "poly", "spline", "savgol", "biweight", "highpass", "gp"]
#: degrees in time that `auto` tries, and how much chi² a further one must gain, in units of what is left
LOWEST_DEGREE, HIGHEST_DEGREE, DEGREE_GAIN = 1, 4, 12.0
#: bins of the white light curve that filters and the Gaussian process work on
FILTER_BINS, GP_BINS = 1125, 300
#: a level beside the transit is the mean over this share of the filter's window
BRIDGE_SHARE = 0.25
#: length of a window that the config leaves open, in T14, and the largest share of a visit that it takes where the transit is masked
WINDOW_T14, WINDOW_SHARE = 3.0, 1.0 / 3.0


_WINDOW = "{unit}, at most the visit; null: 3 T14, at most a third of the visit where the transit is masked"


class Poly(Section):
    """A polynomial in time."""

    degree: Literal["auto"] | Annotated[int, Field(ge=0, le=6)] = Field(
        default="auto",
        description="degree of the trend in time; auto: 1, up to 4 as far as the light curves show it; filters keep it beside theirs",
    )

    @property
    def first(self) -> int:
        """The degree that a fit begins with."""
        return LOWEST_DEGREE if self.degree == "auto" else self.degree


class TimeSpline(Section):
    """A cubic spline in time."""

    knots: int = Field(default=3, ge=1, le=50, description="interior knots, at quantiles of the out-of-transit pairs")


class Savgol(Section):
    """A Savitzky-Golay filter."""

    window_h: float | None = Field(default=None, gt=0, description=_WINDOW.format(unit="length of the window [h]"))
    polyorder: int = Field(default=2, ge=0, le=6, description="degree of the local polynomial")


class Biweight(Section):
    """Tukey's biweight location in a sliding window."""

    window_h: float | None = Field(default=None, gt=0, description=_WINDOW.format(unit="length of the window [h]"))
    cval: float = Field(default=5.0, gt=0, description="median absolute deviations at which a sample counts nothing")


class Highpass(Section):
    """A running mean."""

    window_frames: int | None = Field(default=None, ge=3, description=_WINDOW.format(unit="CDS pairs in the running mean"))


class GaussianProcess(Section):
    """A Matérn-3/2 process."""

    amplitude: float | None = Field(default=None, gt=0, description="amplitude [relative flux]; null: that of highest likelihood")
    length_h: float | None = Field(default=None, gt=0, description="correlation length [h]; null: that of highest likelihood")
    shortest_h: float = Field(default=0.5, gt=0, description="h, shortest length in the search")

    @property
    def given(self) -> tuple[float | None, float | None]:
        """Amplitude and length that are not searched for."""
        return self.amplitude, self.length_h


class TimeRobust(Section):
    """Pairs off the white light curve's baseline."""

    sigma_clip: float = Field(default=5.0, gt=0, description="pairs of the white light curve further off its baseline are not fitted")
    max_iters: int = Field(default=0, ge=0, description="iterations of the clip; 0: none")


class AlongTime(Section):
    """The trend in time that every channel is divided by."""

    enabled: bool = Field(default=True, description="false: the level alone, neither trend nor pointing")
    method: Method | Annotated[str, Registered("trace.along_time")] = Field(default="auto", description="`auto`: poly")
    options: Annotated[dict[str, Any], options_of("trace.along_time")] = Field(default={}, validate_default=True, description=OPTIONS)
    poly: Poly = Poly()
    spline: TimeSpline = TimeSpline()
    savgol: Savgol = Savgol()
    biweight: Biweight = Biweight()
    highpass: Highpass = Highpass()
    gp: GaussianProcess = GaussianProcess()
    robust: TimeRobust = TimeRobust()
    target: Literal["divide", "subtract"] = Field(default="divide", description="`subtract`: for a trend that does not dim with the star")
    mask_transit: bool = Field(default=True, description="false: fits across the transit, which may take part of it; the product notes it")
    mask_margin: float = Field(default=0.1, ge=0, description="fraction of T14 added to the mask")
    decorrelate: Decorrelate = Decorrelate()

    @property
    def filters(self) -> bool:
        """Whether a filter of the white light curve makes the trend, and linear terms are left beside it."""
        return self.enabled and (self.method in FILTERS or self.registered)

    @property
    def registered(self) -> bool:
        """Whether the trend is a registered method's."""
        return self.method not in KINDS["trace.along_time"].builtin

    @property
    def has_process(self) -> bool:
        """Whether the trend is a Gaussian process, which is fitted jointly with the white transit."""
        return self.enabled and self.method == PROCESS

    @property
    def has_spline(self) -> bool:
        """Whether the trend is a spline, whose knots depend on the pairs out of transit."""
        return self.enabled and self.method == "spline"


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
    if config.has_spline and outside is not None and outside.any():
        share = np.linspace(0.0, 1.0, config.spline.knots + 2)[1:-1]
        return spline_terms(np.quantile(time_h[outside], share), float(time_h[0]), float(time_h[-1]))
    return powers(config.poly.first if degree is None else degree)


def clipped(white: Float, design: Float, use: Mask, config: TimeRobust) -> Mask:
    """`use` (pair,) without pairs further than sigma_clip robust deviations off the white light curve's linear fit."""
    kept = use
    for _ in range(config.max_iters):
        solution = least_squares(design[kept], white[kept])
        residual = white - design @ solution
        near = np.abs(residual) <= config.sigma_clip * robust_sigma(residual[kept][:, None])[0]
        if (kept & near).sum() in (kept.sum(), 0):
            break
        kept = kept & near
    return kept


class WindowFilter(NamedTuple):
    """A filter with a window: its length [h] from the config and the cadence [h], None: by T14; and values -> trend, (bin,)."""

    window_h: Callable[[AlongTime, float], float | None]
    smooth: Callable[[AlongTime, Float, int], Float]


def _running_h(config: AlongTime, cadence_h: float) -> float | None:
    frames = config.highpass.window_frames
    return frames * cadence_h if frames is not None else None


#: methods that filter the white light curve with a window
WINDOW_FILTERS = {
    "savgol": WindowFilter(lambda c, _: c.savgol.window_h, lambda c, values, n: detrend.savgol(values, n, c.savgol.polyorder)),
    "biweight": WindowFilter(lambda c, _: c.biweight.window_h, lambda c, values, n: detrend.biweight(values, n, c.biweight.cval)),
    "highpass": WindowFilter(_running_h, lambda _, values, n: detrend.running_mean(values, n)),
}


def names_window(config: AlongTime) -> bool:
    """Whether the config names the length of a filter's window, which not every visit has.

    >>> names_window(AlongTime()), names_window(AlongTime(method="savgol", savgol=Savgol(window_h=1.0)))
    (False, True)
    """
    chosen = window_filter(config)
    return chosen is not None and chosen.window_h(config, 1.0) is not None


def window_filter(config: AlongTime) -> WindowFilter | None:
    """The filter of the config; None: linear terms, or a Gaussian process. The window of a registered one is its option `window_h`."""
    if not config.registered:
        return WINDOW_FILTERS.get(config.method)
    method = method_of("trace.along_time", config.method)

    def smooth(config: AlongTime, values: Float, window: int) -> Float:
        return method.array(method(values, window, given=config.options), values.shape)

    return WindowFilter(lambda c, _: c.options.get("window_h"), smooth)


#: the method that fits a Gaussian process to it
PROCESS = "gp"
#: methods that are no linear terms: they filter the white light curve, and one trend serves all channels
FILTERS = (*WINDOW_FILTERS, PROCESS)


class Trend(NamedTuple):
    """A trend that multiplies all channels: values (pair,) about 1, their variance (pair,) where it is known, and what to say of it."""

    values: Float
    var: Float | None = None
    notes: tuple[str, ...] = ()


def filtered_trend(series: Series, white: Float, sigma: Float, config: AlongTime, ephemeris: Ephemeris, outside: Mask) -> Trend:
    """Trend of a white light curve about 1, by the filter of the config; samples not `outside` are not seen.

    white, sigma (pair,): light curve over its linear baseline, and its noise. The filters run on bins and are
    interpolated to the pairs: their windows are long against a bin. Raises ConfigError where a window is longer than the visit.
    """
    chosen = window_filter(config)
    bins = TimeBins(series.time_h, GP_BINS if chosen is None else FILTER_BINS, series.used)
    values = bins.mean(white[:, None])[:, 0]
    free = bins.mean(outside[:, None].astype(np.float64))[:, 0] == 1.0
    if chosen is None:
        noise = np.sqrt(bins.mean(np.square(sigma)[:, None])[:, 0] / bins.count)
        ones = np.ones(values.size)
        samples = process.Samples(bins.time_h, values, noise, ones, ones[:, None]).of(free)
        course = process.course(samples, bins.time_h, ones[:, None], shortest=config.gp.shortest_h, fixed=config.gp.given)
        return process_trend(series, bins, course.terms + course.process, course)
    length_h, notes = window_length(series, config, ephemeris)
    window = detrend.odd(length_h / float(np.median(np.diff(bins.time_h))), values.size)
    values = detrend.bridge(bins.time_h, values, free, max(3, round(BRIDGE_SHARE * window)))
    return Trend(np.interp(series.time_h, bins.time_h, chosen.smooth(config, values, window)), notes=notes)


def process_trend(series: Series, bins: TimeBins, values: Float, course: process.Course) -> Trend:
    """A Gaussian process's trend, `values` (bin,), at the pairs."""
    note = f"along_time: Gaussian process of about {1e6 * course.amplitude:.0f} ppm, {course.length:.2f} h"
    at_pairs, var = (np.interp(series.time_h, bins.time_h, v) for v in (values, course.variance))
    return Trend(at_pairs, var, (note,))


def window_length(series: Series, config: AlongTime, ephemeris: Ephemeris) -> tuple[float, tuple[str, ...]]:
    """Length [h] of the filter's window, and a note where it is not the one that the config stands for.

    A window as long as the visit follows no trend. One that the user gave must fit (`given_window`); 3 T14, which keeps a filter from
    eating a transit that it sees, are longer than many visits: where the transit is masked the mask keeps it, and a third of the visit
    will do.
    """
    given, visit_h = given_window(config, series.time_h)
    bridged = "the masked transit is bridged by a straight line, whose error under a bow is in no depth's error (method gp or poly have it)"
    if given is not None:
        return given, (f"along_time: {config.method}: {bridged}",) if config.mask_transit else ()
    wanted = WINDOW_T14 * ephemeris.duration_h
    most = visit_h * WINDOW_SHARE if config.mask_transit else visit_h
    if wanted <= most:
        return wanted, (f"along_time: {config.method}: {bridged}",) if config.mask_transit else ()
    effect = bridged if config.mask_transit else "it follows next to no trend"
    share = "a third" if config.mask_transit else "all"
    note = f"along_time: {config.method} with a window of {most:.3g} h, {share} of the visit's {visit_h:.3g} h, in place of "
    return most, (f"{note}3 T14 = {wanted:.3g} h: {effect}",)


def given_window(config: AlongTime, pair_h: Float) -> tuple[float | None, float]:
    """The window [h] that the user gave (None: none, or a method without one) and the visit's length [h].

    pair_h (pair,): times of the pairs, h; their differences count. Raises ConfigError where the window is longer than the visit.

    >>> given_window(AlongTime(method="savgol", savgol=Savgol(window_h=1.0)), np.arange(0.0, 4.0, 0.5))
    (1.0, 4.0)
    """
    cadence_h = float(np.median(np.diff(pair_h))) if pair_h.size > 1 else 0.0
    visit_h = float(np.ptp(pair_h)) + cadence_h
    chosen = window_filter(config)
    given = chosen.window_h(config, cadence_h) if chosen is not None else None
    # stamps that count from far away (BJD in h) are no finer than 1e-8 h
    if given is not None and given > visit_h * (1.0 + 1e-9) + 1e-7:
        key = "highpass.window_frames" if config.method == "highpass" else f"{'options' if config.registered else config.method}.window_h"
        raise ConfigError(
            f"calib.trace.along_time.{key} is a window of {given:.3g} h, and the visit lasts {visit_h:.3g} h: such a window follows no "
            f"trend. Give at most a third of the visit ({visit_h * WINDOW_SHARE:.3g} h), leave the key out, or use method=poly"
        )
    return given, visit_h
