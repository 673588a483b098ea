"""Fit of a white light curve: a transit times a baseline that is linear in its terms."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from v50calib.kernels.arrays import Float, Mask
from v50calib.kernels.least_squares import least_squares
from v50calib.kernels.limb import from_kipping, kipping
from v50calib.kernels.red_noise import red_noise, transit_bins
from v50calib.kernels.transit import Model, Prior, Shape, radius_ratio

#: parameters of a white fit that do not move the planet: depth and limb darkening
SAME_COURSE = (1, 4, 5)
#: a fit has converged when a step lowers chi² by less than this
CONVERGED, MOST_STEPS = 1e-3, 40
#: damping below this is lost in rounding
LEAST_DAMPING = 1e-14


@dataclass(frozen=True)
class WhiteFit:
    """Fit of a white light curve: the shape, the covariance of (t0, depth, a, b, q1, q2), reduced chi².

    cost      chi² with the priors' part, what fits from several starts are compared by
    red       factor on the errors for noise that does not average down (`red_noise`), already in the covariance
    converged false: the last step was still large

    >>> shape = Shape(t0=3.75, period=96.0, a=12.0, b=0.3, k=0.1, u1=0.1, u2=0.1)
    >>> fit = WhiteFit(shape, np.diag([0.01, 0.0002, 0.1, 0.1, 0.01, 0.01]) ** 2, chi2_reduced=1.0)
    >>> round(fit.depth, 9), round(fit.depth_sigma, 9), fit.t0_sigma
    (0.01, 0.0002, 0.01)
    """

    shape: Shape
    covariance: Float
    chi2_reduced: float
    cost: float = 0.0
    red: float = 1.0
    converged: bool = True

    @property
    def depth(self) -> float:
        """(Rp/R*)², negative where noise asks for a brightening."""
        return self.shape.depth

    @property
    def depth_sigma(self) -> float:
        return float(np.sqrt(self.covariance[1, 1]))

    @property
    def t0_sigma(self) -> float:
        return float(np.sqrt(self.covariance[0, 0]))


def _shape(theta: Float, period: float) -> Shape:
    t0, depth, a, b, q1, q2 = (float(v) for v in theta)
    u1, u2 = from_kipping(q1, q2)
    return Shape(t0, period, max(a, 1.05), min(abs(b), 0.99 * max(a, 1.05)), radius_ratio(depth), u1, u2)


def fit_white(
    time: Float, flux: Float, sigma: Float, width: float, design: Float, start: Shape, prior: Prior,
    *, fix_t0: bool = False, additive: bool = False, ridge: Float | None = None,
) -> WhiteFit:  # fmt: skip
    """Least-squares fit of ``flux = (design·c)·T(t; t0, depth, a, b, q1, q2)`` with c solved linearly at each step.

    time, flux, sigma (n,): bins of `width` hours; design (n, terms), its first column constant. fix_t0 holds the
    mid-time at `start`. additive: ``c0·T + the other terms`` instead. ridge (terms,): inverse variance of the prior, about 0, on each
    of c relative to the light's level. Limb darkening is fitted as Kipping's (q1, q2), its prior is
    one of (u1, u2). The covariance includes baseline and priors (variable projection; Golub & Pereyra 2003) and is scaled up where
    chi²/n exceeds 1 and where the residuals do not average down.

    >>> time, shape = np.linspace(0.0, 7.5, 150), Shape(t0=3.7, period=96.0, a=12.0, b=0.3, k=0.1, u1=0.1, u2=0.1)
    >>> prior, start = Prior((12.0, 0.5), (0.3, 0.1), (0.1, 0.05), (0.1, 0.05)), Shape(3.8, 96.0, 11.8, 0.3, 0.11, 0.1, 0.1)
    >>> fit = fit_white(time, 1000.0 * Model(time, 0.05)(shape), np.ones(150), 0.05, np.ones((150, 1)), start, prior)
    >>> round(fit.shape.t0, 3), round(fit.depth, 5)
    (3.7, 0.01)
    """
    model = Model(time, width)
    held, n = np.array([fix_t0, False, False, False, False, False]), len(time)
    baseline = _Baseline(flux, sigma, design, _ridge_rows(ridge, flux), additive)

    def residuals(theta: Float) -> Float:
        shape = _shape(theta, start.period)
        return np.concatenate([baseline.left(model(shape)), prior.residuals(shape)])

    q1, q2 = kipping(start.u1, start.u2)
    theta = np.array([start.t0, start.depth, start.a, start.b, q1, q2])
    span = max(float(time[-1] - time[0]), 1e-3)
    low = np.array([time[0] - 0.75 * span, -0.25, 1.05, -2.0, 0.0, 0.0])
    high = np.array([time[-1] + 0.75 * span, 0.36, 200.0, 2.0, 1.0, 1.0])
    theta, jacobian, fun, converged = _levenberg(residuals, np.clip(theta, low, high), low, high, held)
    n_free = max(len(time) - design.shape[1] - int((~held).sum()), 1)
    left = fun[:n]
    chi2 = float(left @ left) / n_free
    red = red_noise(left, transit_bins(time, _shape(theta, start.period).duration))
    covariance = np.zeros((6, 6))
    free = np.flatnonzero(~held)
    unit = np.sqrt(np.maximum(np.square(jacobian).sum(axis=0), 1e-300))
    inverse = np.linalg.pinv((jacobian / unit).T @ (jacobian / unit), hermitian=True) / np.outer(unit, unit)
    covariance[np.ix_(free, free)] = inverse * max(chi2, 1.0) * red**2
    return WhiteFit(_shape(theta, start.period), covariance, chi2, float(fun @ fun), red, converged)


class _Baseline:
    """The linear part of a white light curve: its terms times the transit, fitted anew for each transit.

    The terms are made orthonormal once, with the rows of their prior: times a transit they are nearly so, and small normal equations
    do. Combinations that do not vary are left out. Terms that do not dim with the star stay as they are.
    """

    def __init__(self, flux: Float, sigma: Float, design: Float, held_back: Float, additive: bool) -> None:
        self._n, self._additive, self._rows = len(flux), additive, held_back
        self._target = np.concatenate([flux / sigma, np.zeros(len(held_back))])
        self._terms = design / sigma[:, None]
        stacked = np.concatenate([self._terms, held_back]) if len(held_back) else self._terms
        u, size, _ = np.linalg.svd(stacked, full_matrices=False)
        self._unit = u[:, size > np.finfo(np.float64).eps * max(stacked.shape) * size[0]]

    def left(self, curve: Float) -> Float:
        """What the best baseline leaves of the light curve under a transit (n,), in units of the noise, and of its prior."""
        if self._additive:
            terms = _with_transit(self._terms, curve, additive=True)
            basis = np.concatenate([terms, self._rows]) if len(self._rows) else terms
            solution = least_squares(basis, self._target)
        else:
            basis = self._unit * np.append(curve, np.ones(len(self._rows)))[:, None] if len(self._rows) else self._unit * curve[:, None]
            solution = np.linalg.solve(basis.T @ basis, basis.T @ self._target)
        return np.asarray(self._target - basis @ solution)


def _ridge_rows(ridge: Float | None, flux: Float) -> Float:
    """Rows (k, terms) that hold back the terms with a prior, in units of its width; none without."""
    if ridge is None:
        return np.zeros((0, 0))
    rows = np.diag(np.sqrt(ridge) / max(abs(float(np.median(flux))), 1e-300))
    return np.asarray(rows[ridge > 0])


def baseline_cost(flux: Float, sigma: Float, design: Float, ridge: Float | None = None) -> float:
    """Chi² of the baseline alone, with its prior's part. Arguments as `fit_white`.

    >>> round(baseline_cost(np.array([1.0, 3.0]), np.ones(2), np.ones((2, 1))), 9)
    2.0
    """
    root, rows = 1.0 / sigma, _ridge_rows(ridge, flux)
    basis = design * root[:, None]
    basis = np.concatenate([basis, rows]) if len(rows) else basis
    target = np.concatenate([flux * root, np.zeros(len(rows))])
    left = target - basis @ least_squares(basis, target)
    return float(left @ left)


def _levenberg(
    residuals: Callable[[Float], Float], theta: Float, low: Float, high: Float, held: Mask
) -> tuple[Float, Float, Float, bool]:  # fmt: skip
    """Levenberg-Marquardt with differences of fixed absolute steps: a step relative to the value would not do for a mid-time
    or a depth of 0. Returns parameters, the Jacobian of the free ones, residuals, and whether it converged."""
    free = np.flatnonzero(~held)
    # steps that leave the planet's course as it is first: the model knows it
    order = [c for c, j in enumerate(free) if j in SAME_COURSE] + [c for c, j in enumerate(free) if j not in SAME_COURSE]
    fun = residuals(theta)
    cost, damping, converged = float(fun @ fun), 1e-3, False
    jacobian = np.zeros((fun.size, free.size))
    for _ in range(MOST_STEPS):
        steps = np.array([1e-3, max(1e-2 * abs(theta[1]), 1e-6), 2e-3 * theta[2], 2e-3, 5e-3, 5e-3])
        for column in order:
            j = free[column]
            moved = theta.copy()
            # inwards at a bound
            moved[j] += steps[j] if moved[j] + steps[j] <= high[j] else -steps[j]
            jacobian[:, column] = (residuals(moved) - fun) / (moved[j] - theta[j])
        normal, gradient = jacobian.T @ jacobian, jacobian.T @ fun
        # a parameter that changes nothing here (the mid-time of a depth of 0) stays, and makes no singular matrix
        scale = np.maximum(np.diag(normal), 1e-30 * max(float(np.diag(normal).max(initial=0.0)), 1e-250))
        while damping < 1e8:
            step = np.linalg.solve(normal + np.diag(damping * scale), -gradient)
            trial = theta.copy()
            trial[free] = np.clip(theta[free] + step, low[free], high[free])
            new = residuals(trial)
            gained = cost - float(new @ new)
            if gained > 0:
                break
            damping *= 8.0
        else:
            return theta, jacobian, fun, True
        theta, fun, cost, damping = trial, new, float(new @ new), max(damping / 8.0, LEAST_DAMPING)
        converged = gained < CONVERGED
        if converged:
            break
    return theta, jacobian, fun, converged


def _with_transit(design: Float, curve: Float, additive: bool) -> Float:
    """Columns of the linear part of a light curve with transit `curve` (n,): every term dims, or the first alone."""
    if not additive:
        return design * curve[:, None]
    return np.concatenate([design[:, :1] * curve[:, None], design[:, 1:]], axis=1)


def white_model(
    time: Float, flux: Float, sigma: Float, width: float, design: Float, shape: Shape, *, additive: bool = False
) -> tuple[Float, Float]:
    """Best linear terms of a known shape, (terms,), and the light curve they make, (n,). Arguments as `fit_white`.

    >>> time, shape = np.linspace(0.0, 7.5, 150), Shape(t0=3.75, period=96.0, a=12.0, b=0.3, k=0.1, u1=0.1, u2=0.1)
    >>> terms, curve = white_model(time, 1000.0 * Model(time, 0.05)(shape), np.ones(150), 0.05, np.ones((150, 1)), shape)
    >>> terms.round(6)
    array([1000.])
    """
    basis = _with_transit(design, Model(time, width)(shape), additive)
    solution = least_squares(basis / sigma[:, None], flux / sigma)
    return np.asarray(solution), np.asarray(basis @ solution)
