"""The light curve of a joint fit without its baseline: transit left in, the baseline's error known.

The orbit, the limb darkening and where the depths start are the planet's; the baseline's terms, what channels share of them, and the
visit's own depth are solved for once more, which is linear. The transit in the result is the measured one: a curve is divided by the
baseline alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from v50calib.kernels.arrays import Float
from v50calib.kernels.blocks import Band, Block
from v50calib.kernels.depths import FEWEST, beyond_chance, drift_of
from v50calib.kernels.joint_shapes import Columns, Reduced, curves_of, eliminate, nodes_of
from v50calib.kernels.products import product
from v50calib.kernels.shift_noise import BIAS_KNOWN, shift_bias
from v50calib.kernels.transit import Model, Shape


@dataclass(frozen=True)
class Detrended:
    """flux, noise_var, baseline_var (n, channel): curves that are 1 out of transit, the variance of each bin's own noise, and that of the
    baseline, the same error in all bins of a transit. NaN where a channel has no sample.

    A detrended curve less the true transit is the residual of the fit and ``dT/dd`` times the error of the depth. That error is what the
    bins' own noise leaves where the baseline is known, and the baseline's, which is in all bins of the transit alike; out of transit,
    where the baseline was fitted, its error is a part of the residual.
    """

    flux: Float
    noise_var: Float
    baseline_var: Float


def detrended(block: Block, band: Band, shape: Shape, darkening: Float, depth: Float) -> Detrended:
    """A block's curves (n, channel) over its baseline. shape: orbit and the visit's mid-time on the block's clock; darkening (3,): as
    `JointFit.darkening` has it; depth (channel,): the planet's.

    >>> time = np.linspace(-2.0, 2.0, 41)
    >>> shape = Shape(t0=0.0, period=96.0, a=12.0, b=0.0, k=0.1, u1=0.0, u2=0.0)
    >>> transit = Model(time, 0.1)(shape)
    >>> flux, design = (transit * (1.0 + 0.01 * time))[:, None], np.stack([np.ones(41), time], axis=1)
    >>> band = Band(np.zeros(1), np.zeros((2, 1)), 0.1, 0.1)
    >>> found = detrended(Block(time, flux, np.full((41, 1), 1e-4), 0.1, design), band, shape, np.zeros(3), np.array([0.01]))
    >>> bool(np.allclose(found.flux[:, 0], transit, atol=1e-7))
    True
    >>> found.noise_var[20], found.baseline_var[20].round(11)  # the level is known by some 13 bins out of transit
    (array([1.e-08]), array([7.4e-10]))
    """
    theta = np.array([shape.t0, shape.a, shape.b, *darkening])
    curves = curves_of(Model(block.time, block.width), shape, theta, depth, nodes_of(band))
    weight = 1.0 / block.sigma
    seen = weight > 0
    residual = np.where(seen, block.flux - curves.base, 0.0) * weight
    lit = curves.base * weight
    columns = Columns(block.design, lit, weight if block.additive else lit)
    drift = drift_of(block, band)
    shared = np.zeros((0, *block.flux.shape))
    index = np.arange(0 if drift is None else drift.terms.size * drift.course.shape[1])
    local = np.zeros((block.flux.shape[1], block.design.shape[1]))
    reduced = eliminate(columns, curves.by_depth * weight, shared, residual, index, block.ridge, local, drift)
    solved = _solve(block, reduced)
    coefficients = solved.local if drift is None else solved.local.copy()
    if drift is not None:
        coefficients[:, drift.terms] += drift.coefficients(solved.theta)
    if block.additive:
        level, added = 1.0 + block.design[:, :1] * coefficients[:, 0], product(block.design[:, 1:], coefficients[:, 1:].T)
    else:
        level, added = 1.0 + product(block.design, coefficients.T), np.zeros(())
    model = level * (curves.base + curves.by_depth * solved.depth) + added
    scatter = _scatter(block, (block.flux - model) * weight)
    bias = shift_bias([(block, curves, reduced)])
    flux = (block.flux - added) / level - curves.by_depth * bias
    # the error of the depth beyond what the bins' own noise leaves; a measured shift's noise is in it as well, and known by its size alone
    own = np.square(curves.by_depth * weight).sum(axis=0)
    noise = np.zeros_like(bias) if block.shift_noise is None else np.sqrt(solved.known) * block.shift_noise
    beyond = solved.var - np.where(own > 0, 1.0 / np.where(own > 0, own, 1.0), 0.0)
    beyond = np.maximum(beyond, 0.0) + np.square(noise) + np.square(BIAS_KNOWN * bias)
    baseline_var = np.square(curves.by_depth) * beyond * scatter
    var = np.square(block.sigma / level) * scatter
    return Detrended(*(np.where(seen, values, np.nan) for values in (flux, var, baseline_var)))


@dataclass(frozen=True)
class _Solved:
    """Steps of the depth (channel,), the channels' own terms (channel, k) and the shared ones theta (s,); variance of a depth (channel,),
    with the shared terms known and in all."""

    depth: Float
    local: Float
    theta: Float
    known: Float
    var: Float


def _solve(block: Block, reduced: Reduced) -> _Solved:
    """Depth, shared and own terms from the normal equations."""
    gg = np.where(reduced.gg > 0, reduced.gg, np.inf)
    ridge = block.ridge if block.ridge is not None else np.zeros(0)
    held = ridge[ridge > 0]
    n = reduced.ss.shape[0]
    prior = np.repeat(held, n // held.size) if n else np.zeros(0)
    schur = reduced.ss + np.diag(prior) - (reduced.gs / gg[:, None]).T @ reduced.gs
    cov: Float = np.asarray(np.linalg.pinv(schur, hermitian=True), np.float64) if n else np.zeros((0, 0))
    theta = cov @ (reduced.sr - (reduced.gs / gg[:, None]).T @ reduced.gr)
    depth = (reduced.gr - reduced.gs @ theta) / gg
    local = reduced.solved[:, :, -1] - reduced.solved[:, :, -2] * depth[:, None] - reduced.solved[:, :, :-2] @ theta
    lever = reduced.gs / gg[:, None]
    return _Solved(depth, local, theta, 1.0 / gg, 1.0 / gg + ((lever @ cov) * lever).sum(axis=1))


def _scatter(block: Block, residual: Float) -> Float:
    """Factor (channel,) on the variance where residuals (n, channel) are larger than their noise beyond chance."""
    freedom = np.isfinite(block.sigma).sum(axis=0) - block.design.shape[1] - 1
    if (freedom < FEWEST).all():
        return np.ones(freedom.size)
    return beyond_chance(np.square(residual).sum(axis=0) / np.maximum(freedom, 1), np.maximum(freedom, 1))
