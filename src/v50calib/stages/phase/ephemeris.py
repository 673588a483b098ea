"""Mid-transit time and duration of a visit: given, or fitted on the white light curve."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from pydantic import Field, model_validator

from v50calib.kernels.arrays import Float
from v50calib.kernels.transit import UNKNOWN_PERIOD_H, Model, Prior, Shape, radius_ratio, search_box, transit_duration, transit_starts
from v50calib.kernels.white_fit import WhiteFit, baseline_cost, fit_white, white_model
from v50calib.stages.config import Section
from v50calib.stages.series.curves import Ephemeris, Series, binned_white
from v50calib.stages.series.time_bins import BaselineModel, TimeBins

#: a box below this signal-to-noise is no transit
MIN_SNR = 7.0
#: prior widths: star_info is perturbed by some % (a/R*, relative); b
PRIOR_A, PRIOR_B = 0.05, 0.3
#: durations that a search tries, in units of the one that the star's parameters give
DURATIONS = (0.7, 0.85, 1.0, 1.15)
#: largest impact parameter that a fit starts from: above it a transit has no bottom
MAX_B = 0.85
#: depth that a fit starts from where no box stands out
SHALLOWEST = 2e-5


class EphemerisConfig(Section):
    """Mid-transit time and duration."""

    source: Literal["auto", "given", "fit"] = Field(default="auto", description="`auto`: given where t0_h and duration_h are, else fitted")
    period_d: float | None = Field(default=None, gt=0, description="period [d]; null: the dataset's star parameters")
    t0_h: float | None = Field(default=None, description="mid-transit [h since the start of the visit, of one visit a planet]")
    duration_h: float | None = Field(default=None, gt=0, description="duration [h], first to last contact")

    @property
    def held(self) -> bool:
        """Whether the mid-time is given and not fitted."""
        return self.source != "fit" and self.t0_h is not None and self.duration_h is not None

    @model_validator(mode="after")
    def _given_is_complete(self) -> EphemerisConfig:
        if self.source == "given" and (self.t0_h is None or self.duration_h is None):
            raise ValueError(
                "ephemeris.source=given needs t0_h [h since the start of the visit] and duration_h [h]: give both, or use source=auto"
            )
        return self


@dataclass(frozen=True)
class _White:
    """Binned white light curve that a transit is fitted to; design (bins, terms)."""

    bins: TimeBins
    flux: Float
    sigma: Float
    design: Float
    ridge: Float | None = None


def _binned(series: Series, model: BaselineModel, flux: Float | None = None, var: Float | None = None) -> _White:
    """The white light curve of the series, or another one (pair,), in bins with the terms of the model."""
    bins, mean, sigma = series.white_bins if flux is None or var is None else binned_white(series, flux, var)
    return _White(bins, mean, sigma, model.in_bins(bins), model.precision())


def resolve_ephemeris(series: Series, config: EphemerisConfig, model: BaselineModel, *, additive: bool = False) -> Ephemeris:
    """The visit's ephemeris; source `none` where no transit stands out of the white light curve.

    Given mid-time and duration stand as they are; depth, orbit and limb darkening are fitted all the same, whether
    a transit stands out or not.

    The fit works on a few hundred bins of the white light curve with the time terms and regressors of `model`,
    jointly with the transit.
    """
    star = series.star
    period = 24.0 * (config.period_d or star.get("P", math.nan))
    white = _binned(series, model)
    time = white.bins.time_h
    start = _start_shape(star, period)
    if config.held:
        assert config.t0_h is not None
        assert config.duration_h is not None
        box = search_box(time, white.flux, white.sigma, np.array([config.duration_h]), white.design, centres=np.array([config.t0_h]))
        given = Ephemeris(config.t0_h, config.duration_h, period, "given", snr=box.snr)
        if not given.in_transit(time, 0.0).any():
            return given
    else:
        given = None
        lengths = start.duration * np.array([0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.25])
        span = float(np.ptp(time))
        box = search_box(time, white.flux, white.sigma, np.unique(np.minimum(lengths, 0.9 * span)), white.design)
        if box.snr < MIN_SNR or box.depth <= 0:
            return Ephemeris(float(time.mean()), start.duration, period, "none", snr=box.snr, cost=_cost_without(white))
    prior = transit_prior(star, start.a, start.b, series.white_darkening)
    start = replace(start, u1=prior.u1[0], u2=prior.u2[0])
    depth = min(max(box.depth, SHALLOWEST), 0.2)
    if given is not None:
        starts = [replace(start, t0=given.t0_h, k=math.sqrt(depth))]
    else:
        shapes = [lasting(replace(start, k=math.sqrt(depth)), scale) for scale in DURATIONS]
        starts = [shape for shape, _ in transit_starts(time, white.flux, white.sigma, white.design, shapes)]
        starts = starts or [replace(start, t0=box.t0, k=math.sqrt(depth))]
    fits = [
        fit_white(
            time,
            white.flux,
            white.sigma,
            white.bins.width,
            white.design,
            one,
            prior,
            fix_t0=given is not None,
            additive=additive,
            ridge=white.ridge,
        )
        for one in starts
    ]
    fit = min(fits, key=lambda found: found.cost)
    if given is None:
        given = Ephemeris(fit.shape.t0, fit.shape.duration, period, "fit", snr=box.snr)
    return _with_fit(given, fit)


def _cost_without(white: _White) -> float:
    """Chi² of the baseline alone."""
    return baseline_cost(white.flux, white.sigma, white.design, white.ridge)


def reconsidered(
    series: Series, config: EphemerisConfig, ephemeris: Ephemeris, model: BaselineModel, *,
    additive: bool = False, keep: bool = False,
) -> Ephemeris:  # fmt: skip
    """The ephemeris under another baseline: the fit goes on from where it was, unless no transit is left, or none was there.

    keep: the transit has been decided on, and stays with the error that the other baseline leaves it.
    """
    if not ephemeris.found or not math.isfinite(ephemeris.depth):
        return resolve_ephemeris(series, config, model, additive=additive)
    white, shape = _binned(series, model), shape_of(ephemeris)
    prior = transit_prior(series.star, ephemeris.a, ephemeris.b, series.white_darkening)
    given = ephemeris.source == "given"
    fit = fit_white(
        white.bins.time_h, white.flux, white.sigma, white.bins.width, white.design, shape, prior,
        fix_t0=given, additive=additive, ridge=white.ridge,
    )  # fmt: skip
    without = _cost_without(white)
    if not given and not keep and without - fit.cost < MIN_SNR**2:
        return replace(
            Ephemeris(float(white.bins.time_h.mean()), ephemeris.duration_h, ephemeris.period_h, "none"),
            snr=math.sqrt(max(without - fit.cost, 0.0)), cost=without,
        )  # fmt: skip
    return _with_fit(ephemeris if given else replace(ephemeris, t0_h=fit.shape.t0, duration_h=fit.shape.duration), fit)


def refit_white(
    series: Series, flux: Float, var: Float, ephemeris: Ephemeris, model: BaselineModel, *, additive: bool = False
) -> Ephemeris:
    """The ephemeris fitted again to another white light curve (pair,): one whose trend has been divided out.

    Mask and source stay; so does a given mid-time.
    """
    if not math.isfinite(ephemeris.depth):
        return ephemeris
    white, shape = _binned(series, model, flux, var), shape_of(ephemeris)
    prior = transit_prior(series.star, ephemeris.a, ephemeris.b, series.white_darkening)
    fit = fit_white(
        white.bins.time_h, white.flux, white.sigma, white.bins.width, white.design, shape, prior,
        fix_t0=ephemeris.given, additive=additive, ridge=white.ridge,
    )  # fmt: skip
    refitted = ephemeris if ephemeris.given else replace(ephemeris, t0_h=fit.shape.t0, duration_h=fit.shape.duration)
    return _with_fit(refitted, fit)


def white_residual(series: Series, flux: Float, var: Float, ephemeris: Ephemeris, model: BaselineModel) -> Float:
    """White light curve (pair,) over its fitted transit and baseline, 1 on average: what all channels have in common."""
    white, shape = _binned(series, model, flux, var), shape_of(ephemeris)
    terms, _ = white_model(white.bins.time_h, white.flux, white.sigma, white.bins.width, white.design, shape)
    cadence = float(np.median(np.diff(series.time_h)))
    return flux / (model.at_pairs(series.time_h) @ terms * Model(series.time_h, cadence)(shape))


def shape_of(ephemeris: Ephemeris) -> Shape:
    """The fitted transit of an ephemeris; a 4-day orbit where the period is not known."""
    period = ephemeris.period_h if math.isfinite(ephemeris.period_h) else UNKNOWN_PERIOD_H
    e = ephemeris
    return Shape(e.t0_h, period, e.a, e.b, radius_ratio(e.depth) if math.isfinite(e.depth) else 0.0, e.u1, e.u2)


def _with_fit(ephemeris: Ephemeris, fit: WhiteFit) -> Ephemeris:
    s = fit.shape
    return replace(
        ephemeris, t0_sigma_h=fit.t0_sigma, depth=fit.depth, depth_sigma=fit.depth_sigma,
        a=s.a, b=s.b, u1=s.u1, u2=s.u2, chi2_reduced=fit.chi2_reduced, red_noise=fit.red, cost=fit.cost,
        covariance=tuple(fit.covariance.ravel().tolist()),
    )  # fmt: skip


def transit_prior(star: dict[str, float], a: float, b: float, darkening: tuple[float, float, float]) -> Prior:
    """Priors of the orbit from the star's parameters, wide about `a` and `b` where it has none; darkening: u1, u2 and their width.

    An eccentric orbit of unknown orientation is up to a share e faster or slower in transit than a circular one, as if a/R*
    were larger or smaller by it.
    """
    a0 = star.get("sma", a) if "P" in star else a
    b0 = min(a0 * abs(math.cos(math.radians(star["i"]))), MAX_B) if "i" in star else b
    u1, u2, own = darkening
    # a/R* says how long a transit lasts only together with the period
    width = math.hypot(PRIOR_A, star.get("e", 0.0)) if "sma" in star and "P" in star else 0.5
    return Prior((a0, width * a0), (b0, PRIOR_B if "i" in star else 1.0), (u1, own), (u2, own))


def lasting(shape: Shape, scale: float) -> Shape:
    """The shape with its duration changed by a factor: by its impact parameter, and by a/R* where that cannot be."""
    whole = (1.0 + shape.k) ** 2
    b2 = whole - scale**2 * (whole - shape.b**2)
    return replace(shape, b=math.sqrt(b2)) if b2 >= 0 else replace(shape, a=shape.a * math.sqrt(whole / (whole - b2)), b=0.0)


def _start_shape(star: dict[str, float], period: float) -> Shape:
    """First guess from the star's parameters; without them (2024) a 4-day orbit at a/R* = 10."""
    a = star.get("sma", 10.0) if math.isfinite(period) else 10.0
    period = period if math.isfinite(period) else UNKNOWN_PERIOD_H
    b = min(a * abs(math.cos(math.radians(star.get("i", 88.5)))), MAX_B)
    shape = Shape(0.0, period, a, b, 0.12, 0.2, 0.2)
    return shape if transit_duration(period, a, b, 0.12) > 0 else Shape(0.0, period, a, 0.3, 0.12, 0.2, 0.2)
