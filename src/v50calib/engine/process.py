"""A Gaussian process in time and the white transit, fitted together: depth errors then contain what the process may hide."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from v50calib.config.models import CalibConfig
from v50calib.kernels.arrays import Float
from v50calib.kernels.blocks import Depths
from v50calib.kernels.depths import SHARED
from v50calib.kernels.process import Samples, course, white_variances
from v50calib.kernels.transit import Model, Prior, Shape, radius_ratio
from v50calib.kernels.white_fit import fit_white, white_model
from v50calib.stages.phase.ephemeris import shape_of, transit_prior
from v50calib.stages.series.curves import Ephemeris, Normalized, Series
from v50calib.stages.series.time_bins import TimeBins
from v50calib.stages.trace.along_time import GP_BINS, Trend, process_trend
from v50calib.stages.trace.config import TraceConfig
from v50calib.stages.trace.stage import Trace

#: rounds of process, then transit
ROUNDS = 2
#: steps of the transit's derivatives: depth, mid-time [h], a/R* (relative), b, u1, u2
STEP_DEPTH, STEP_T0, STEP_A, STEP_B, STEP_U = 1e-5, 1e-3, 2e-3, 2e-3, 5e-3


def with_process(series: Series, normalized: Normalized, ephemeris: Ephemeris, config: TraceConfig) -> Normalized:
    """Curves divided by the process that white light shows beside its transit, and what that leaves in depths (`depth_var`).

    ``white = (B c)·T(θ)·(1 + g) + n``: baseline terms c, transit θ and process g share one covariance, so that in-transit samples say of g
    what the transit leaves open. Dividing by the expected g and fitting with white noise alone gives the same depth (its normal
    equations are the same); what the errors of that fit lack is the difference of the two variances.
    """
    fitted = joint_trend(series, normalized, ephemeris, config)
    if fitted is None:
        return normalized
    trend, (depth_var, t0_var) = fitted
    return replace(Trace(config).renormalized(series, ephemeris, normalized, trend), depth_var=depth_var, t0_var=t0_var)


def joint_trend(
    series: Series, normalized: Normalized, ephemeris: Ephemeris, config: TraceConfig
) -> tuple[Trend, tuple[float, float]] | None:
    """The process as a trend, and the variances that it leaves in depth and mid-time; None where no transit was fitted."""
    if not ephemeris.found or not math.isfinite(ephemeris.depth):
        return None
    assert normalized.model is not None
    bins, gp = TimeBins(series.time_h, GP_BINS, series.used), config.along_time.gp
    flux, var = bins.mean(np.column_stack(series.white)).T
    level = float(np.median(flux))
    flux, sigma, design = flux / level, np.sqrt(var / bins.count) / level, normalized.model.in_bins(bins)
    prior = transit_prior(series.star, ephemeris.a, ephemeris.b, series.white_darkening)
    shape = shape_of(ephemeris)
    for _ in range(ROUNDS):
        samples = _samples(bins, flux, sigma, design, shape, prior, config, fix_t0=ephemeris.given)
        found = course(samples, bins.time_h, samples.terms, shortest=gp.shortest_h, fixed=gp.given)
        trend = 1.0 + found.process
        shape = fit_white(
            bins.time_h, flux / trend, sigma / trend, bins.width, design, shape, prior, fix_t0=ephemeris.given, additive=config.additive
        ).shape
    lacking = np.maximum(found.others_var - white_variances(samples), 0.0)
    return process_trend(series, bins, trend, found), (float(lacking[0]), 0.0 if ephemeris.given else float(lacking[-1]))


def _samples(
    bins: TimeBins, flux: Float, sigma: Float, design: Float, shape: Shape, prior: Prior, config: TraceConfig, *, fix_t0: bool
) -> Samples:  # fmt: skip
    """White light for the process: it modulates the light beside it, and the transit may still move (depth first, a free mid-time last)."""
    model = Model(bins.time_h, bins.width)
    terms, light = white_model(bins.time_h, flux, sigma, bins.width, design, shape, additive=config.additive)
    level = design @ terms if not config.additive else np.full(flux.size, terms[0])
    moves = [
        (STEP_DEPTH, replace(shape, k=radius_ratio(shape.depth + STEP_DEPTH)), 0.0, np.inf),
        (STEP_A * shape.a, replace(shape, a=shape.a * (1 + STEP_A)), prior.a[0] - shape.a, prior.a[1]),
        (STEP_B, replace(shape, b=shape.b + STEP_B), prior.b[0] - shape.b, prior.b[1]),
        (STEP_U, replace(shape, u1=shape.u1 + STEP_U), prior.u1[0] - shape.u1, prior.u1[1]),
        (STEP_U, replace(shape, u2=shape.u2 + STEP_U), prior.u2[0] - shape.u2, prior.u2[1]),
    ]
    if not fix_t0:
        moves.append((STEP_T0, replace(shape, t0=shape.t0 + STEP_T0), 0.0, np.inf))
    curve = model(shape)
    others = np.stack([level * (model(moved) - curve) / step for step, moved, _, _ in moves], axis=1)
    # a coefficient is what its parameter moves by, its prior expectation how far it is off the prior's
    centre, width = (np.array([move[i] for move in moves]) for i in (2, 3))
    dimmed = design * curve[:, None] / light[:, None]
    if config.additive:
        dimmed = np.concatenate([dimmed[:, :1], design[:, 1:] / light[:, None]], axis=1)
    return Samples(bins.time_h, flux, sigma, light, dimmed, others, centre, width)


def with_process_errors(ephemeris: Ephemeris, normalized: Normalized) -> Ephemeris:
    """The white transit with errors that hold what the curves' trend leaves open."""
    depth, t0 = math.sqrt(normalized.depth_var or 0.0), math.sqrt(normalized.t0_var)
    return replace(ephemeris, depth_sigma=math.hypot(ephemeris.depth_sigma, depth), t0_sigma_h=math.hypot(ephemeris.t0_sigma_h, t0))


def shared_columns(calib: CalibConfig) -> int:
    """Columns of the errors that the channels of a visit have in common: the fit's, and one of a Gaussian process.

    >>> shared_columns(CalibConfig()), shared_columns(CalibConfig.model_validate({"trace": {"along_time": {"method": "gp"}}}))
    (14, 15)
    """
    return SHARED + int(calib.trace.along_time.has_process)


def with_depth_var(fitted: Depths, variances: Sequence[float], own: int) -> Depths:
    """Depths whose errors hold a variance that all channels share: the one at `own` of several, a column of `shared` each.

    >>> shape = Shape(t0=3.7, period=96.0, a=12.0, b=0.3, k=0.1, u1=0.1, u2=0.1)
    >>> fitted = Depths(np.array([0.01]), np.array([3e-5]), np.array([3e-5]), np.ones(1), shape, np.zeros((1, 1)))
    >>> with_depth_var(fitted, [16e-10, 1.0], own=0).sigma.round(9), with_depth_var(fitted, [16e-10, 1.0], own=0).shared.round(9)
    (array([5.e-05]), array([[0.e+00, 4.e-05, 0.e+00]]))
    """
    columns = np.zeros((fitted.sigma.size, len(variances)))
    columns[:, own] = math.sqrt(variances[own])
    sigma = np.sqrt(np.square(fitted.sigma) + variances[own])
    return replace(fitted, sigma=sigma, shared=np.concatenate([fitted.shared, columns], axis=1))
