"""Mid-transit time and duration of a visit: given, or fitted on the white light curve."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from pydantic import Field, model_validator

from v50calib.kernels.limb import quadratic_limb_darkening
from v50calib.kernels.series import bin_mean
from v50calib.kernels.transit import Prior, Shape, fit_white, search_box, transit_duration
from v50calib.stages.base import Float, Real, Section
from v50calib.stages.series_base import Ephemeris, Series

#: bins of the white light curve that the fit works on
FIT_BINS = 400
#: a box below this signal-to-noise is no transit
MIN_SNR = 7.0
#: prior widths: star_info is perturbed by some %, limb darkening tables are good to about 0.05
PRIOR_A, PRIOR_B, PRIOR_U = 0.05, 0.3, 0.05
#: largest impact parameter that a fit starts from: above it a transit has no bottom
MAX_B = 0.85
#: effective temperature [K] where the dataset has no star parameters
STAR_TEMPERATURE = 5500.0


class EphemerisConfig(Section):
    """source: auto = given where t0_h and duration_h are, else fitted."""

    source: Literal["auto", "given", "fit"] = "auto"
    period_d: float | None = Field(default=None, gt=0)
    t0_h: float | None = None
    duration_h: float | None = Field(default=None, gt=0)

    @model_validator(mode="after")
    def _given_is_complete(self) -> EphemerisConfig:
        if self.source == "given" and (self.t0_h is None or self.duration_h is None):
            raise ValueError("ephemeris.source=given needs t0_h [h since the start of the visit] and duration_h [h]")
        return self


def regressors(x: Float, y: Float, vectors: tuple[str, ...]) -> Float:
    """Quadratic pointing terms (pair, terms) of the chosen vectors: x, y, x², xy, y², centred."""
    series = {"x": x, "y": y}
    chosen = [series[v] - np.median(series[v]) for v in vectors]
    terms = list(chosen) + [a * b for i, a in enumerate(chosen) for b in chosen[i:]]
    return np.stack(terms, axis=1) if terms else np.zeros((len(x), 0))


def white_curve(series: Series) -> tuple[Float, Float]:
    """Sum of the channels' flux and variance; a channel with any NaN takes no part."""
    whole = np.isfinite(series.flux[0]) & np.isfinite(series.flux.sum(axis=0, dtype=np.float64))
    flux, var = (v if whole.all() else v[:, whole] for v in (series.flux, series.var))
    return flux.sum(axis=1, dtype=np.float64), var.sum(axis=1, dtype=np.float64) + series.slow_var[whole].sum()


def white_wavelength(series: Series) -> float:
    """Flux-weighted mean wavelength [µm]."""
    level = series.flux.mean(axis=0, dtype=np.float64)
    whole = np.isfinite(level)
    return float((level * series.wavelength_um)[whole].sum() / level[whole].sum())


class TimeBins:
    """Equal bins of time that a fit works on; empty ones are left out.

    time_h (bins,) mean time, count (bins,) samples, width [h].
    """

    def __init__(self, time_h: Float, n_bins: int) -> None:
        n_bins = min(n_bins, len(time_h))
        edges = np.linspace(time_h[0], time_h[-1], n_bins + 1)
        self.width = float(edges[1] - edges[0])
        self._n = n_bins
        self._index = np.clip(np.searchsorted(edges, time_h, side="right") - 1, 0, n_bins - 1)
        count = np.bincount(self._index, minlength=n_bins).astype(np.float64)
        self._full = count > 0
        self.count = count[self._full]
        self.time_h = self.mean(time_h[:, None])[:, 0]

    def mean(self, values: Real) -> Float:
        """Mean of (time, columns) values per bin, (bins, columns)."""
        return bin_mean(values, self._index, self._n)[0][self._full]

    def design(self, series: Series, degree: int, vectors: tuple[str, ...]) -> Float:
        """Baseline design (bins, terms). Drift inside a bin is part of the mean of its squares: the pointing terms
        are averaged, not recomputed."""
        powers = baseline_design(self.time_h, self.time_h, self.time_h, degree=degree, vectors=())
        return np.concatenate([powers, self.mean(regressors(series.x, series.y, vectors))], axis=1)


def baseline_design(time: Float, x: Float, y: Float, *, degree: int, vectors: tuple[str, ...]) -> Float:
    """Design matrix (n, terms): Legendre-like powers of time scaled to [-1, 1], then the pointing terms."""
    scaled = 2.0 * (time - time[0]) / max(float(np.ptp(time)), 1e-12) - 1.0
    return np.concatenate([scaled[:, None] ** np.arange(degree + 1), regressors(x, y, vectors)], axis=1)


def resolve_ephemeris(series: Series, config: EphemerisConfig, *, degree: int, vectors: tuple[str, ...]) -> Ephemeris:
    """The visit's ephemeris; source `none` where no transit stands out of the white light curve.

    Given mid-time and duration stand as they are; depth, orbit and limb darkening are fitted all the same.

    The fit works on a few hundred bins of the white light curve with the time polynomial and pointing terms
    that the trace stage will divide out, jointly with the transit.
    """
    star = series.star
    period = 24.0 * (config.period_d or star.get("P", math.nan))
    flux, var = white_curve(series)
    bins = TimeBins(series.time_h, FIT_BINS)
    time, width, design = bins.time_h, bins.width, bins.design(series, degree, vectors)
    flux, var = bins.mean(np.column_stack([flux, var])).T
    sigma = np.sqrt(var / bins.count)
    start = _start_shape(star, period)
    given = config.source != "fit" and config.t0_h is not None and config.duration_h is not None
    lengths = start.duration * np.array([0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.25])
    span = float(np.ptp(time))
    if given:
        assert config.t0_h is not None
        assert config.duration_h is not None
        box = search_box(time, flux, sigma, np.array([config.duration_h]), design, centres=np.array([config.t0_h]))
    else:
        box = search_box(time, flux, sigma, np.unique(np.minimum(lengths, 0.9 * span)), design)
    if box.snr < MIN_SNR or box.depth <= 0:
        if given:
            return Ephemeris(box.t0, box.duration, period, "given", snr=box.snr)
        return Ephemeris(float(time.mean()), start.duration, period, "none", snr=box.snr)
    prior = transit_prior(star, start.a, start.b, white_wavelength(series))
    guess = Shape(box.t0, start.period, start.a, start.b, math.sqrt(min(box.depth, 0.2)), prior.u1[0], prior.u2[0])
    fit = fit_white(time, flux, sigma, width, design, guess, prior)
    shape = fit.shape
    t0, duration, source = (box.t0, box.duration, "given") if given else (shape.t0, shape.duration, "fit")
    return Ephemeris(
        t0, duration, period, source, box.snr, fit.t0_sigma, fit.depth, fit.depth_sigma,
        shape.a, shape.b, shape.u1, shape.u2, fit.chi2_reduced,
    )  # fmt: skip


def transit_prior(star: dict[str, float], a: float, b: float, wavelength_um: float) -> Prior:
    """Priors of orbit and limb darkening from the star's parameters, wide about `a` and `b` where it has none."""
    a0 = star.get("sma", a)
    b0 = min(a0 * abs(math.cos(math.radians(star["i"]))), MAX_B) if "i" in star else b
    u1, u2 = quadratic_limb_darkening(wavelength_um, star.get("Ts", STAR_TEMPERATURE))
    return Prior(
        (a0, (PRIOR_A if "sma" in star else 0.5) * a0), (b0, PRIOR_B if "i" in star else 1.0), (float(u1), PRIOR_U), (float(u2), PRIOR_U)
    )


def _start_shape(star: dict[str, float], period: float) -> Shape:
    """First guess from the star's parameters; without them (2024) a 4-day orbit at a/R* = 10."""
    period = period if math.isfinite(period) else 96.0
    a = star.get("sma", 10.0)
    b = min(a * abs(math.cos(math.radians(star.get("i", 88.5)))), MAX_B)
    shape = Shape(0.0, period, a, b, 0.12, 0.2, 0.2)
    return shape if transit_duration(period, a, b, 0.12) > 0 else Shape(0.0, period, a, 0.3, 0.12, 0.2, 0.2)
