"""The baseline's terms in time and the transit, found together."""

from __future__ import annotations

import math

import numpy as np

from v50calib.config.models import CalibConfig
from v50calib.kernels.transit import Model
from v50calib.stages.phase.ephemeris import (
    reconsidered,
    resolve_ephemeris,
    shape_of,
)
from v50calib.stages.series.curves import Ephemeris, Series
from v50calib.stages.series.time_bins import BaselineModel, TimeBins
from v50calib.stages.trace.along_time import DEGREE_GAIN, HIGHEST_DEGREE
from v50calib.stages.trace.config import TraceConfig
from v50calib.stages.trace.stage import search_model

#: groups of channels that a degree in time is judged on
GROUPS = 12
#: time bins that it is judged on
BINS = 200


def baseline_and_transit(series: Series, calib: CalibConfig) -> tuple[BaselineModel, Ephemeris, tuple[str, ...]]:
    """The baseline's terms and the transit, found together: a higher degree in time is taken where chi² falls enough by it.

    With the transit, or without one where the higher degree explains it away: a bow is no transit. Judged on white light, then on
    groups of channels, which may drift against each other.
    """
    along, additive = calib.trace.along_time, calib.trace.additive
    model = search_model(series, calib.trace)
    ephemeris = resolve_ephemeris(series, calib.phase.ephemeris, model, additive=additive)
    if not along.enabled or along.poly.degree != "auto" or along.method not in ("auto", "poly"):
        return model, ephemeris, ()
    degree = tried = along.poly.first
    while tried < HIGHEST_DEGREE:
        tried += 1
        richer = search_model(series, calib.trace, tried)
        other = reconsidered(series, calib.phase.ephemeris, ephemeris, richer, additive=additive)
        left = max(1.0, other.chi2_reduced if math.isfinite(other.chi2_reduced) else 1.0)
        if ephemeris.cost - other.cost > DEGREE_GAIN * left * (tried - degree):
            degree, model, ephemeris = tried, richer, other
        elif tried > degree + 1:
            break
    own = channel_degree(series, ephemeris, calib.trace, degree)
    if own > degree:
        degree, model = own, search_model(series, calib.trace, own)
        ephemeris = reconsidered(series, calib.phase.ephemeris, ephemeris, model, additive=additive)
    return model, ephemeris, (f"along_time: degree {degree} in time, as the light curves show it",) if degree > along.poly.first else ()


def channel_degree(series: Series, ephemeris: Ephemeris, config: TraceConfig, degree: int) -> int:
    """The degree in time that groups of neighbouring channels show, the transit's shape as it is; at least `degree`."""
    good = np.flatnonzero(np.isfinite(series.flux.sum(axis=0, dtype=np.float64)))
    if good.size < 2 * GROUPS:
        return degree
    bins = TimeBins(series.time_h, BINS, series.used)
    curve = (
        Model(bins.time_h, bins.width)(shape_of(ephemeris))
        if ephemeris.found and math.isfinite(ephemeris.depth)
        else np.ones(bins.time_h.size)
    )
    groups = np.array_split(good, GROUPS)
    flux = np.stack([series.flux[:, g].sum(axis=1, dtype=np.float64) for g in groups], axis=1)
    var = np.stack([series.var[:, g].sum(axis=1, dtype=np.float64) for g in groups], axis=1)
    mean, sigma = bins.mean(flux), np.sqrt(bins.mean(var) / bins.count[:, None])

    def cost(tried: int) -> float:
        terms = search_model(series, config, tried).in_bins(bins)
        columns = np.concatenate([terms * curve[:, None], curve[:, None] - 1.0], axis=1)
        total = 0.0
        for j in range(GROUPS):
            root = 1.0 / sigma[:, j]
            basis = columns * root[:, None]
            target = mean[:, j] * root
            left = target - basis @ np.linalg.lstsq(basis, target, rcond=None)[0]
            total += float(left @ left)
        return total

    chosen, best = degree, cost(degree)
    for tried in range(degree + 1, HIGHEST_DEGREE + 1):
        new = cost(tried)
        left = max(1.0, new / (GROUPS * max(len(bins.time_h) - columns_of(search_model(series, config, tried)), 1)))
        if best - new > (GROUPS + DEGREE_GAIN) * left * (tried - chosen):
            chosen, best = tried, new
    return chosen


def columns_of(model: BaselineModel) -> int:
    """Number of linear terms of a baseline, with the transit's own."""
    return model.regressors.shape[1] + model.time_terms(np.zeros(2)).shape[1] + 1
