"""Mid-transit time and duration of a visit: given, or fitted on the white light curve."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from pydantic import Field, model_validator

from v50calib.kernels.limb import quadratic_limb_darkening
from v50calib.kernels.series import bin_mean
from v50calib.kernels.transit import Prior, Shape, fit_white, search_box, transit_duration
from v50calib.stages.base import Float, Section
from v50calib.stages.series_base import Ephemeris, Series

#: bins of the white light curve that the fit works on
FIT_BINS = 400
#: a box below this signal-to-noise is no transit
MIN_SNR = 7.0
#: prior widths: star_info is perturbed by some %, limb darkening tables are good to about 0.05
PRIOR_A, PRIOR_B, PRIOR_U = 0.05, 0.3, 0.05


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
    whole = np.isfinite(series.flux).all(axis=0)
    return series.flux[:, whole].sum(axis=1), series.var[:, whole].sum(axis=1) + series.slow_var[whole].sum()


def white_wavelength(series: Series) -> float:
    """Flux-weighted mean wavelength [µm]."""
    whole = np.isfinite(series.flux).all(axis=0)
    level = series.flux[:, whole].mean(axis=0)
    return float((level * series.wavelength_um[whole]).sum() / level.sum())


def binned(time: Float, columns: Float, n_bins: int) -> tuple[Float, Float, float]:
    """Mean of (pair, columns) in n_bins equal bins of time: (bins, columns), counts (bins,), bin width [h]."""
    n_bins = min(n_bins, len(time))
    edges = np.linspace(time[0], time[-1], n_bins + 1)
    index = np.clip(np.searchsorted(edges, time, side="right") - 1, 0, n_bins - 1)
    count = np.bincount(index, minlength=n_bins).astype(np.float64)
    full = count > 0
    return bin_mean(columns, index, n_bins)[0][full], count[full], float(edges[1] - edges[0])


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
    table, count, width = binned(series.time_h, np.column_stack([series.time_h, flux, var, series.x, series.y]), FIT_BINS)
    time, flux = table[:, 0], table[:, 1]
    # drift inside a bin is part of the mean of the squares: the pointing terms are averaged, not recomputed
    terms, _, _ = binned(series.time_h, regressors(series.x, series.y, vectors), FIT_BINS)
    design = np.concatenate([baseline_design(time, time, time, degree=degree, vectors=()), terms], axis=1)
    sigma = np.sqrt(table[:, 2] / count)
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
    u1, u2 = quadratic_limb_darkening(white_wavelength(series), star.get("Ts", 5500.0))
    guess = Shape(box.t0, start.period, start.a, start.b, math.sqrt(min(box.depth, 0.2)), float(u1), float(u2))
    b_sigma = PRIOR_B if "i" in star else 1.0
    prior = Prior((start.a, (PRIOR_A if "sma" in star else 0.5) * start.a), (start.b, b_sigma), (float(u1), PRIOR_U), (float(u2), PRIOR_U))
    fit = fit_white(time, flux, sigma, width, design, guess, prior)
    shape = fit.shape
    t0, duration, source = (box.t0, box.duration, "given") if given else (shape.t0, shape.duration, "fit")
    return Ephemeris(
        t0, duration, period, source, box.snr, fit.t0_sigma, fit.depth, fit.depth_sigma,
        shape.a, shape.b, shape.u1, shape.u2, fit.chi2_reduced,
    )  # fmt: skip


def _start_shape(star: dict[str, float], period: float) -> Shape:
    """First guess from the star's parameters; without them (2024) a 4-day orbit at a/R* = 10."""
    period = period if math.isfinite(period) else 96.0
    a = star.get("sma", 10.0)
    b = min(a * abs(math.cos(math.radians(star.get("i", 88.5)))), 0.85)
    shape = Shape(0.0, period, a, b, 0.12, 0.2, 0.2)
    return shape if transit_duration(period, a, b, 0.12) > 0 else Shape(0.0, period, a, 0.3, 0.12, 0.2, 0.2)
