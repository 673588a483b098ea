"""The baseline's terms in time and the transit, found together."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from v50calib.config.models import CalibConfig
from v50calib.kernels.arrays import Float, Index
from v50calib.kernels.transit import Model
from v50calib.kernels.white_fit import baseline_cost
from v50calib.stages.phase.ephemeris import reconsidered, resolve_ephemeris, shape_of
from v50calib.stages.series.curves import Ephemeris, Series, whole_channels
from v50calib.stages.series.time_bins import BaselineModel, TimeBins
from v50calib.stages.trace.along_time import DEGREE_GAIN, HIGHEST_DEGREE, time_terms
from v50calib.stages.trace.config import TraceConfig
from v50calib.stages.trace.stage import search_model

#: groups of channels that a degree in time is judged on
GROUPS = 12
#: time bins that it is judged on
BINS = 200
#: widths of the prior on higher terms in time, and how much less likely than the best (log) one may be to count
WIDTHS = np.geomspace(1e-6, 1e-2, 33)
TOLERANCE = 1.0


@dataclass(frozen=True)
class Baseline:
    """What is found of a visit's baseline: terms that the light curves are divided by, and those that stay free in the transit fits.

    The first are the fewest that the data show; the second are more, held back by a prior: a course that the data do not show may
    still be there, and belongs into the error of a depth.
    """

    divided: BaselineModel
    fitted: BaselineModel
    ephemeris: Ephemeris
    notes: tuple[str, ...] = ()


def baseline_and_transit(series: Series, calib: CalibConfig) -> Baseline:
    """The baseline's terms and the transit, found together: a higher degree in time is taken where chi² falls enough by it.

    With the transit, or without one where the higher degree explains it away: a bow is no transit. Judged on white light, then on
    groups of channels, which may drift against each other.
    """
    along, additive = calib.trace.along_time, calib.trace.additive
    model = search_model(series, calib.trace)
    ephemeris = resolve_ephemeris(series, calib.phase.ephemeris, model, additive=additive)
    if not along.enabled or along.poly.degree != "auto" or along.method not in ("auto", "poly"):
        return Baseline(model, model, ephemeris)
    degree = tried = along.poly.first
    while tried < HIGHEST_DEGREE:
        tried += 1
        richer = _of_degree(model, series, calib.trace, tried)
        other = reconsidered(series, calib.phase.ephemeris, ephemeris, richer, additive=additive)
        left = max(1.0, other.chi2_reduced if math.isfinite(other.chi2_reduced) else 1.0)
        if ephemeris.cost - other.cost > DEGREE_GAIN * left * (tried - degree):
            degree, model, ephemeris = tried, richer, other
        elif tried > degree + 1:
            break
    seen = _groups(series)
    own = channel_degree(seen, series, ephemeris, calib.trace, model, degree)
    if own > degree:
        degree, model = own, _of_degree(model, series, calib.trace, own)
        ephemeris = reconsidered(series, calib.phase.ephemeris, ephemeris, model, additive=additive)
    notes = (f"along_time: degree {degree} in time, as the light curves show it",) if degree > along.poly.first else ()
    if degree == HIGHEST_DEGREE or not ephemeris.found or not math.isfinite(ephemeris.depth):
        return Baseline(model, model, ephemeris, notes)
    full = _of_degree(model, series, calib.trace, HIGHEST_DEGREE)
    width = drift_width(seen, ephemeris, full, degree)
    fitted = replace(full, widths=np.where(np.arange(HIGHEST_DEGREE + 1) > degree, width, np.inf))
    ephemeris = reconsidered(series, calib.phase.ephemeris, ephemeris, fitted, additive=additive, keep=True)
    return Baseline(model, fitted, ephemeris, notes)


def _of_degree(model: BaselineModel, series: Series, config: TraceConfig, degree: int) -> BaselineModel:
    """The baseline with another degree in time; its regressors, which take time to make, stay."""
    return replace(model, time_terms=time_terms(config.along_time, series.time_h, None, degree))


@dataclass(frozen=True)
class _Groups:
    """Binned light curves that a baseline is judged on: white light, and groups of neighbouring channels where there are many.

    white, groups: mean flux and its noise, (bins, 1) and (bins, GROUPS); groups None for few channels.
    """

    bins: TimeBins
    white: tuple[Float, Float]
    groups: tuple[Float, Float] | None


def _groups(series: Series) -> _Groups:
    good = np.flatnonzero(whole_channels(series.flux))
    bins = TimeBins(series.time_h, BINS, series.used)
    flux, var = (bins.mean(v if good.size == v.shape[1] else v[:, good]) for v in (series.flux, series.var))

    def noise(sums: Float, parts: list[Index]) -> Float:
        return np.sqrt((sums + np.array([series.common_of(part) for part in parts])) / bins.count[:, None])

    white = flux.sum(axis=1, keepdims=True), noise(var.sum(axis=1, keepdims=True), [good])
    if good.size < 2 * GROUPS:
        return _Groups(bins, white, None)
    parts = np.array_split(good, GROUPS)
    first = np.cumsum([0, *(part.size for part in parts[:-1])])
    return _Groups(bins, white, (np.add.reduceat(flux, first, axis=1), noise(np.add.reduceat(var, first, axis=1), parts)))


def drift_width(seen: _Groups, ephemeris: Ephemeris, model: BaselineModel, first: int) -> float:
    """Standard deviation, relative to the level, of the prior on the terms in time above degree `first`.

    The largest of a grid that the white light curve, and groups of channels, find as likely as the best one within a factor e
    (marginal likelihood, transit and other terms free): nothing seen is no proof that nothing is there.
    """
    bins = seen.bins
    terms, model_of, shape = model.in_bins(bins), Model(bins.time_h, bins.width), shape_of(ephemeris)
    curve = model_of(shape)
    moves = [replace(shape, t0=shape.t0 + 1e-3), replace(shape, a=shape.a * 1.002), replace(shape, k=shape.k * 1.01)]
    slopes = np.stack([(model_of(moved) - curve) / step for moved, step in zip(moves, (1e-3, 2e-3, 1e-2), strict=True)], axis=1)
    held = np.arange(terms.shape[1]) > first
    held[model.time_terms(np.zeros(2)).shape[1] :] = False
    widest = []
    for mean, sigma in (seen.white, seen.groups) if seen.groups is not None else (seen.white,):
        evidence = np.zeros(WIDTHS.size)
        for j in range(mean.shape[1]):
            root = np.median(mean[:, j]) / sigma[:, j]
            free = np.concatenate([terms[:, ~held] * curve[:, None], slopes], axis=1) * root[:, None]
            evidence += log_evidence(free, terms[:, held] * curve[:, None] * root[:, None], mean[:, j] / sigma[:, j], WIDTHS)
        widest.append(float(WIDTHS[evidence >= evidence.max() - TOLERANCE].max()))
    return max(widest)


def log_evidence(free: Float, held: Float, target: Float, widths: Float) -> Float:
    """Log marginal likelihood (widths,), but for a constant, of terms `held` (n, k) with a prior of each width, beside free ones (n, m).

    target (n,), all in units of its noise; the scale of what is left over counts where it is larger than the noise.

    >>> rng, x = np.random.default_rng(0), np.linspace(-1, 1, 200)
    >>> target = 30.0 * x**2 + rng.normal(size=200)
    >>> found = log_evidence(np.ones((200, 1)), 100.0 * x[:, None] ** 2, target, np.array([0.01, 0.3, 10.0]))
    >>> int(found.argmax())  # 30 = 0.3 of the held column
    1
    """
    q, _ = np.linalg.qr(free)
    u, size, _ = np.linalg.svd(held - q @ (q.T @ held), full_matrices=False)
    rest = target - q @ (q.T @ target)
    seen = u.T @ rest
    left = rest - u @ seen
    scale = max(1.0, float(left @ left) / max(len(rest) - free.shape[1] - held.shape[1], 1))
    gain = np.square(size)[:, None] * np.square(widths) / scale
    return np.asarray(0.5 * (np.square(seen)[:, None] / scale * gain / (1.0 + gain) - np.log1p(gain)).sum(axis=0))


def channel_degree(seen: _Groups, series: Series, ephemeris: Ephemeris, config: TraceConfig, model: BaselineModel, degree: int) -> int:
    """The degree in time that groups of neighbouring channels show, the transit's shape as it is; at least `degree`."""
    if seen.groups is None:
        return degree
    bins, (mean, sigma) = seen.bins, seen.groups
    curve = (
        Model(bins.time_h, bins.width)(shape_of(ephemeris))
        if ephemeris.found and math.isfinite(ephemeris.depth)
        else np.ones(bins.time_h.size)
    )

    def cost(tried: int) -> float:
        terms = _of_degree(model, series, config, tried).in_bins(bins)
        columns = np.concatenate([terms * curve[:, None], curve[:, None] - 1.0], axis=1)
        return sum(baseline_cost(mean[:, j], sigma[:, j], columns) for j in range(GROUPS))

    chosen, best = degree, cost(degree)
    for tried in range(degree + 1, HIGHEST_DEGREE + 1):
        new = cost(tried)
        left = max(1.0, new / (GROUPS * max(len(bins.time_h) - columns_of(_of_degree(model, series, config, tried)), 1)))
        if best - new > (GROUPS + DEGREE_GAIN) * left * (tried - chosen):
            chosen, best = tried, new
    return chosen


def columns_of(model: BaselineModel) -> int:
    """Number of linear terms of a baseline, with the transit's own."""
    return model.regressors.shape[1] + model.time_terms(np.zeros(2)).shape[1] + 1
