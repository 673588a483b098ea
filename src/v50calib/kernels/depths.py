"""Transit depth of every channel at once, of one visit or of all visits of a planet: shared orbit, own baselines.

Gauss-Newton on ``y_c(t) = (1 + B(t)·c)·T(t; d_c, θ)`` for every block (one visit and instrument). Local to a block and channel are
the baseline's terms c, local to an instrument's channel is its depth d_c, shared are a/R* and b, a mid-time for each visit, and for
each instrument an offset and a slope in wavelength of u1 and an offset of u2. Terms and depths are eliminated channel by channel
(Schur complement), so the error of a depth contains what the shape does not know. Terms that a prior holds have, beside the channels'
own coefficients, a part that all channels share, constant and linear in wavelength, under the same prior: a drift of the detector is seen
by all of them, and a prior on each channel alone would hold their mean `channels` times tighter.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from v50calib.kernels.arrays import Float
from v50calib.kernels.blocks import Band, Block, Depths, JointFit
from v50calib.kernels.joint_shapes import (
    DEPTH_RANGE,
    Columns,
    Curves,
    Drift,
    Reduced,
    curves_of,
    eliminate,
    nodes_of,
    root_of,
    slopes_into,
)
from v50calib.kernels.products import product
from v50calib.kernels.red_noise import red_noise, transit_bins
from v50calib.kernels.shift_noise import BIAS_KNOWN, shift_bias, shift_noise
from v50calib.kernels.transit import Model, Prior, Shape, radius_ratio

#: a fit has converged when no parameter has moved by more than this share of its error: the step after is far smaller
CONVERGED, MOST_STEPS, MOST_HALVINGS = 0.1, 25, 6
#: standard deviations of a reduced chi² beyond which it is no chance
STANDS_OUT = 2.0
#: degrees of freedom from which residuals tell whether they are larger than their noise
FEWEST = 5
#: rise of chi² over the smallest step at a bound that counts as flat
FLAT = 0.1
#: columns of the shared part of the errors in the fit of one visit and instrument: a/R*, b, t0, u1 and its slope, u2, common noise, the
#: noise of the measured shift, and at most two for each of three terms in time that a prior holds
SHARED = 8 + 2 * 3
#: largest step of a/R*, b, mid-times and limb darkening
LARGEST_A, LARGEST_B, LARGEST_T0, LARGEST_U = 2.0, 0.3, 0.2, 0.3
#: inverse variance of the prior on a parameter that is held
FIXED = 1e18
#: share of a parameter's information, before depths and baselines are eliminated, below which what is left of it is rounding: `eliminate`
#: leaves some 1e-12 of a column that the baseline takes whole
NOTHING = 1e-10


def fit_depths(
    time: Float, flux: Float, sigma: Float, width: float, design: Float, shape: Shape, prior: Prior, position: Float, darkening: Float,
    *, fix_t0: bool = False, additive: bool = False,
) -> Depths:  # fmt: skip
    """Depths of one visit's normalized light curves; arguments as of `Block` and `Band`, priors of u1 and u2 as `prior` has them.

    fix_t0 holds the mid-time. A depth is free to be negative: a channel whose noise exceeds its depth must scatter evenly about it.
    """
    block = Block(time, flux, sigma, width, design, additive=additive)
    band = Band(position, darkening, prior.u1[1], prior.u2[1])
    return fit_joint([block], [band], shape, np.array([shape.t0]), prior, fix_t0=fix_t0).bands[0]


def fit_joint(blocks: list[Block], bands: list[Band], shape: Shape, t0: Float, prior: Prior, *, fix_t0: bool = False) -> JointFit:
    """All blocks of a planet at once. shape: orbit and depth to start from; t0 (visit,): mid-times to start from, h."""
    problem = _Problem(blocks, bands, shape, t0, prior, fix_t0)
    seen = problem.look(problem.start(shape, t0))
    terms = problem.reduce(seen)
    converged = False
    for _ in range(MOST_STEPS):
        step = problem.step(terms)
        scale, risen = 1.0, math.inf
        for _ in range(MOST_HALVINGS):
            trial = problem.look(problem.moved(seen.state, step, scale))
            rise = trial.cost - seen.cost
            # where the whole and the half step both rise, by less than FLAT, no share of it gains a quarter of that (a parabola's minimum)
            if rise <= 1e-9 * (seen.cost + 1.0) or max(rise, risen) < FLAT:
                break
            scale, risen = 0.5 * scale, rise
        moved = problem.size_of(seen.state, trial.state, step)
        gained = seen.cost - trial.cost
        if gained >= 0:
            seen, terms = trial, problem.reduce(trial)
        # limb darkening at its physical bound: no step lowers chi², and it is flat to what matters
        converged = moved < CONVERGED or abs(gained) < 1e-3 or -FLAT < gained < 0
        if converged or gained < 0:
            break
    return problem.result(seen, terms, shape, converged)


@dataclass(frozen=True)
class _State:
    """theta (parameters,), depth of each band (channel,), baseline terms of each block (channel, terms)."""

    theta: Float
    depth: list[Float]
    local: list[Float]


@dataclass(frozen=True)
class _Step:
    theta: Float
    depth: list[Float]
    local: list[Float]
    theta_sigma: Float
    depth_sigma: list[Float]


@dataclass(frozen=True)
class _Light:
    """Curves of a block, the light that a transit dims in units of the noise, and the residual, (n, channel)."""

    curves: Curves
    level: Float
    residual: Float


@dataclass(frozen=True)
class _Look:
    """A state and its cost: chi² with the priors' part. What its normal equations are made of, should a step start there."""

    state: _State
    cost: float
    blocks: list[_Light]


@dataclass(frozen=True)
class _Terms:
    """Reduced normal equations of all blocks, and the pull of the priors."""

    blocks: list[Reduced]
    pull: Float


def beyond_chance(chi2: Float, freedom: Float) -> Float:
    """Factor on the variance of each channel (channel,): its own reduced chi² where it stands out of chance, else the band's median; not
    below 1. Every channel's own, cut at 1, would widen errors by what chance leaves above 1.

    >>> beyond_chance(np.array([0.9, 1.1, 1.06, 2.0, 0.9, 0.9, 0.94]), np.full(7, 200.0)).round(2)
    array([1., 1., 1., 2., 1., 1., 1.])
    """
    seen = np.isfinite(chi2) & (chi2 > 0)
    whole = max(float(np.median(chi2[seen])), 1.0) if seen.any() else 1.0
    return np.where(chi2 > whole + STANDS_OUT * np.sqrt(2.0 / freedom), chi2, whole)


def drift_of(block: Block, band: Band) -> Drift | None:
    """What the channels of a block drift by together; None where none of its terms has a prior, or it has one channel."""
    if block.ridge is None or band.position.size < 2 or not (block.ridge > 0).any():
        return None
    return Drift(np.stack([np.ones(band.position.size), band.position], axis=1), np.flatnonzero(block.ridge > 0))


class _Problem:
    """The joint fit's parameters, priors and normal equations. theta: a, b, mid-time of each visit, (u1, slope of u1, u2) of each band."""

    def __init__(self, blocks: list[Block], bands: list[Band], shape: Shape, t0: Float, prior: Prior, fix_t0: bool) -> None:
        self.blocks, self.bands, self.shape = blocks, bands, shape
        self.visits = visits = len(t0)
        self.models = [Model(block.time, block.width) for block in blocks]
        self.weights = [1.0 / block.sigma for block in blocks]
        # written anew at every step: memory of this size costs more to get than to fill
        self.by_theta = [np.empty((6, *block.flux.shape)) for block in blocks]
        self.flux = [np.where(weight > 0, block.flux, 0.0) for block, weight in zip(blocks, self.weights, strict=True)]
        self.nodes = [nodes_of(band) for band in bands]
        self.drift = [drift_of(block, bands[block.band]) for block in blocks]
        drifts = [drift.terms.size * drift.course.shape[1] if drift is not None else 0 for drift in self.drift]
        self.centre = np.concatenate([[prior.a[0], prior.b[0]], t0, np.zeros(3 * len(bands) + sum(drifts))])
        inverse = [1.0 / prior.a[1] ** 2, 1.0 / prior.b[1] ** 2, *([FIXED if fix_t0 else 0.0] * visits)]
        for band in bands:
            slope = 1.0 / band.width_u1**2 if band.position.size > 1 else FIXED
            inverse += [1.0 / band.width_u1**2, slope, 1.0 / band.width_u2**2]
        for block, drift in zip(blocks, self.drift, strict=True):
            if drift is not None and block.ridge is not None:
                inverse += list(np.repeat(block.ridge[drift.terms], drift.course.shape[1]))
        self.inverse = np.array(inverse)
        # a block's columns: t0, a, b, u1, slope of u1, u2, and its drift's
        first = 2 + visits
        starts = first + 3 * len(bands) + np.cumsum([0, *drifts])
        self.index = [
            np.array([2 + block.visit, 0, 1, *range(first + 3 * block.band, first + 3 * block.band + 3), *range(start, start + count)])
            for block, start, count in zip(blocks, starts, drifts, strict=False)
        ]
        self.largest = np.concatenate(
            [[LARGEST_A, LARGEST_B], np.full(visits, LARGEST_T0), np.full(3 * len(bands), LARGEST_U), np.full(sum(drifts), np.inf)]
        )

    def start(self, shape: Shape, t0: Float) -> _State:
        """Where the fit starts: every channel at the white depth, no baseline but the level."""
        theta = np.concatenate([[shape.a, shape.b], t0, np.zeros(len(self.centre) - 2 - len(t0))])
        depth = [np.full(band.position.size, shape.depth) for band in self.bands]
        return _State(theta, depth, [np.zeros((block.flux.shape[1], block.design.shape[1])) for block in self.blocks])

    def look(self, state: _State) -> _Look:
        """Residuals of all blocks and what they cost; a trial that is no gain asks for no more."""
        blocks = [self._light(i, state) for i in range(len(self.blocks))]
        free = self.inverse < FIXED
        cost = sum(float(np.square(b.residual).sum()) for b in blocks)
        cost += float((self.inverse * (self.centre - state.theta) ** 2)[free].sum())
        for block, local in zip(self.blocks, state.local, strict=True):
            if block.ridge is not None:
                cost += float((block.ridge * np.square(local)).sum())
        return _Look(state, cost, blocks)

    def _light(self, i: int, state: _State) -> _Light:
        block, weight, local, drift = self.blocks[i], self.weights[i], state.local[i], self.drift[i]
        theta = state.theta[self.index[i]]
        if drift is not None:
            local = local.copy()
            local[:, drift.terms] += drift.coefficients(theta[6:])
        curves = curves_of(self.models[i], self.shape, theta, state.depth[block.band], self.nodes[block.band])
        if block.additive:
            level = 1.0 + block.design[:, :1] * local[:, 0]
            model = level * curves.base + product(block.design[:, 1:], local[:, 1:].T)
        else:
            level = 1.0 + product(block.design, local.T)
            model = level * curves.base
        return _Light(curves, level * weight, (self.flux[i] - model) * weight)

    def reduce(self, seen: _Look) -> _Terms:
        """Normal equations of all blocks about a state, without their baselines."""
        reduced = [self._block(i, light, seen.state) for i, light in enumerate(seen.blocks)]
        return _Terms(reduced, (self.centre - seen.state.theta) * self.inverse)

    def _block(self, i: int, light: _Light, state: _State) -> Reduced:
        block, weight, by_theta = self.blocks[i], self.weights[i], self.by_theta[i]
        slopes_into(by_theta, self.models[i], light.curves, self.nodes[block.band])
        by_theta *= light.level
        lit = light.curves.base * weight
        columns = Columns(block.design, lit, weight if block.additive else lit)
        return eliminate(
            columns,
            light.level * light.curves.by_depth,
            by_theta,
            light.residual,
            self.index[i],
            block.ridge,
            state.local[i],
            self.drift[i],
        )

    def step(self, terms: _Terms) -> _Step:
        """The Gauss-Newton step, and the errors that it implies."""
        p = len(self.centre)
        schur, rhs, whole = np.diag(self.inverse).astype(np.float64), terms.pull.copy(), self.inverse.astype(np.float64)
        gg = [np.zeros(band.position.size) for band in self.bands]
        gs = [np.zeros((band.position.size, p)) for band in self.bands]
        gr = [np.zeros(band.position.size) for band in self.bands]
        for block, r in zip(self.blocks, terms.blocks, strict=True):
            gg[block.band] += r.gg
            gs[block.band][:, r.index] += r.gs
            gr[block.band] += r.gr
            schur[np.ix_(r.index, r.index)] += r.ss
            rhs[r.index] += r.sr
            whole[r.index] += r.whole
        for j in range(len(self.bands)):
            seen = gg[j] > 0
            gg[j] = np.where(seen, gg[j], np.inf)
            schur -= (gs[j] / gg[j][:, None]).T @ gs[j]
            rhs -= (gs[j] / gg[j][:, None]).T @ gr[j]
        # one bin of light in transit tells a depth or a mid-time, not both: what is left of the mid-time's row is rounding, which divided
        # by its unit would fill the covariance. It stays where it is, by half a transit uncertain
        self.untold = (self.inverse == 0) & (np.diag(schur) <= NOTHING * whole)
        if self.untold.any():
            schur[self.untold], schur[:, self.untold], rhs[self.untold] = 0.0, 0.0, 0.0
            schur[self.untold, self.untold] = 1.0 / max(0.5 * self.shape.duration, LARGEST_T0) ** 2
        unit = np.sqrt(np.maximum(np.diag(schur), 1e-300))
        cov = np.linalg.pinv(schur / np.outer(unit, unit), hermitian=True, rcond=1e-13) / np.outer(unit, unit)
        d_theta = cov @ rhs
        d_depth = [(gr[j] - gs[j] @ d_theta) / gg[j] for j in range(len(self.bands))]
        local = []
        for block, r in zip(self.blocks, terms.blocks, strict=True):
            local.append(r.solved[:, :, -1] - r.solved[:, :, -2] * d_depth[block.band][:, None] - r.solved[:, :, :-2] @ d_theta[r.index])
        root = root_of(cov)
        shared = [-(gs[j] / gg[j][:, None]) @ root for j in range(len(self.bands))]
        depth_sigma = [np.sqrt(1.0 / gg[j] + np.square(shared[j]).sum(axis=1)) for j in range(len(self.bands))]
        self._known, self._shared, self._cov = [1.0 / g for g in gg], shared, cov
        return _Step(d_theta, d_depth, local, np.sqrt(np.maximum(np.diag(cov), 0.0)), depth_sigma)

    def moved(self, state: _State, step: _Step, scale: float) -> _State:
        """The state after a share of a step, parameters held inside what is physical."""
        size = np.abs(step.theta) / self.largest
        scale = scale / max(1.0, float(size.max(initial=0.0)))
        theta = state.theta + scale * step.theta
        theta[0] = max(theta[0], 1.05)
        depth = [np.minimum(d + scale * s, DEPTH_RANGE[1]) for d, s in zip(state.depth, step.depth, strict=True)]
        return _State(theta, depth, [c + scale * s for c, s in zip(state.local, step.local, strict=True)])

    def size_of(self, old: _State, new: _State, step: _Step) -> float:
        """The largest move of a parameter, in units of its error."""
        theta = np.abs(new.theta - old.theta) / np.maximum(step.theta_sigma, 1e-12)
        free = self.inverse < FIXED
        depth = [
            np.abs(b - a)[np.isfinite(s)] / np.maximum(s[np.isfinite(s)], 1e-12)
            for a, b, s in zip(old.depth, new.depth, step.depth_sigma, strict=True)
        ]
        return max(float(theta[free].max(initial=0.0)), *(float(d.max(initial=0.0)) for d in depth))

    def result(self, seen: _Look, terms: _Terms, shape: Shape, converged: bool) -> JointFit:
        """The fit with errors scaled up where residuals are larger than their noise, or do not average down."""
        self.step(terms)
        state, visits = seen.state, self.visits
        final = replace(shape, a=float(state.theta[0]), b=float(abs(state.theta[1])))
        factors = [self._common(block, r, final) for block, r in zip(self.blocks, terms.blocks, strict=True)]
        excess, counts = [], []
        for j, band in enumerate(self.bands):
            chi2, count = np.zeros(band.position.size), np.zeros(band.position.size)
            for block, r in zip(self.blocks, terms.blocks, strict=True):
                if block.band == j:
                    chi2 += np.square(r.residual).sum(axis=0)
                    count += (np.isfinite(block.sigma).sum(axis=0) - block.design.shape[1]).clip(min=0)
            counts.append(np.maximum(count - 1, 1))
            excess.append(chi2 / counts[-1])
        factor = max(factors, default=1.0)
        untimed = tuple(map(int, np.flatnonzero(self.untold[2 : 2 + visits])))
        out = []
        for j, band in enumerate(self.bands):
            scatter = beyond_chance(excess[j], counts[j])
            known = self._known[j] * scatter
            alike = np.zeros((band.position.size, len(self.bands)))
            alike[:, j] = self._alike(j, terms.blocks, factors, scatter)
            own = [(b, light.curves, r) for b, light, r in zip(self.blocks, seen.blocks, terms.blocks, strict=True) if b.band == j]
            along, bias = np.zeros_like(alike), shift_bias(own)
            noise = np.sqrt(np.where(np.isfinite(known), known, 0.0)) * shift_noise(own)
            # both are along one pattern
            along[:, j] = np.copysign(np.hypot(noise, BIAS_KNOWN * bias), noise)
            shared = np.concatenate([self._shared[j] * factor, alike, along], axis=1)
            sigma = np.sqrt(known + np.square(shared).sum(axis=1))
            lost = ~np.isfinite(self._known[j]) | (self._known[j] == 0)
            depth = np.where(lost, np.nan, state.depth[j] - bias)
            one = replace(final, t0=float(state.theta[2]), k=radius_ratio(float(np.nanmedian(depth)) if not lost.all() else 0.0))
            out.append(
                Depths(
                    depth,
                    np.where(lost, np.nan, sigma),
                    np.where(lost, np.nan, np.sqrt(known)),
                    excess[j],
                    one,
                    shared,
                    factor,
                    converged,
                    timed=not untimed,
                )
            )
        errors = factor * np.sqrt(np.maximum(np.diag(self._cov), 0.0))
        chi2_all = float(np.mean(np.concatenate(excess)))
        t0, t0_sigma = state.theta[2 : 2 + visits].copy(), errors[2 : 2 + visits]
        darkening = state.theta[2 + visits : 2 + visits + 3 * len(self.bands)].reshape(-1, 3).copy()
        return JointFit(
            final, t0, t0_sigma, float(errors[0]), float(errors[1]), tuple(out), chi2_all, converged, seen.cost, darkening, untimed
        )

    def _alike(self, band: int, blocks: list[Reduced], factors: list[float], excess: Float) -> float:
        """Depth error of a band that noise common to its channels leaves: by how much their mean scatters more than their own noise,
        `excess` (channel,) over the expected one, explains; each visit by its share of the band's information."""
        own = [
            (float(r.gg.sum()), f * f - float(r.gg @ excess) / max(float(r.gg.sum()), 1e-300))
            for block, r, f in zip(self.blocks, blocks, factors, strict=True)
            if block.band == band
        ]
        total = sum(information for information, _ in own)
        common = sum(information * max(beyond, 0.0) for information, beyond in own)
        return math.sqrt(common) / total if total > 0 else 0.0

    def _common(self, block: Block, reduced: Reduced, shape: Shape) -> float:
        """Factor on errors of what channels share: scatter and red noise of their weighted mean residual."""
        weight = np.where(np.isfinite(block.sigma), 1.0 / block.sigma, 0.0)
        norm = np.sqrt(np.square(weight).sum(axis=1))
        white = (reduced.residual * weight).sum(axis=1) / np.where(norm > 0, norm, 1.0)
        n_free = len(white) - block.design.shape[1] - 4
        if n_free < FEWEST:
            return 1.0
        chi2 = float(white @ white) / n_free
        lasts = replace(shape, k=0.1 if shape.k == 0 else shape.k).duration
        return float(np.sqrt(max(chi2, 1.0))) * red_noise(white, transit_bins(block.time, lasts))
