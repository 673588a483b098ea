"""Transit light curves: durations, a coarse search in time, and the limb-darkened model fit.

The model is batman (Kreidberg 2015, PASP 127, 1161; Mandel & Agol 2002): quadratic limb darkening,
circular orbit. Times in hours since the start of the visit.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import batman
import numpy as np

from v50calib.kernels.arrays import Float, Mask
from v50calib.kernels.limb import from_kipping, kipping
from v50calib.kernels.red_noise import red_noise, transit_bins

#: the planet's shadow is averaged over each bin by this many sub-samples
SUPERSAMPLE = 3
MEAN = np.full(SUPERSAMPLE, 1.0 / SUPERSAMPLE)
#: period [h] of a shape where the dataset states none (2024)
UNKNOWN_PERIOD_H = 96.0
#: depths that a fit starts from
MIN_DEPTH, MAX_DEPTH = 2e-5, 0.2
#: a start whose gain in chi² is a smaller share of the best one's is not tried
REACH = 0.6
#: parameters of a white fit that do not move the planet: depth and limb darkening
SAME_COURSE = (1, 4, 5)
#: a fit has converged when a step lowers chi² by less than this
CONVERGED, MOST_STEPS = 1e-3, 40


@dataclass(frozen=True)
class Shape:
    """Orbit and star of a transit: mid-time t0 [h], period [h], a/R*, impact parameter b, Rp/R*, u1, u2.

    Noise about no transit may ask for a brightening: k below 0 is the shape of |k| turned upside down, depth -k².

    >>> round(Shape(t0=3.75, period=96.0, a=12.0, b=0.0, k=0.1, u1=0.0, u2=0.0).duration, 3)  # h
    2.805
    """

    t0: float
    period: float
    a: float
    b: float
    k: float
    u1: float
    u2: float

    @property
    def duration(self) -> float:
        """First to fourth contact, h."""
        return transit_duration(self.period, self.a, self.b, abs(self.k))

    @property
    def depth(self) -> float:
        """(Rp/R*)², negative for a brightening."""
        return math.copysign(self.k**2, self.k)


def radius_ratio(depth: float) -> float:
    """Rp/R* of a depth, below 0 for a brightening.

    >>> radius_ratio(0.01), radius_ratio(-0.01)
    (0.1, -0.1)
    """
    return math.copysign(math.sqrt(abs(depth)), depth)


def transit_duration(period: float, a: float, b: float, k: float) -> float:
    """First to fourth contact T14, in the unit of `period` (Winn 2010, eq. 14, circular orbit); 0 if no transit.

    >>> round(transit_duration(96.0, 12.0, 0.0, 0.1), 3), 96.0 / np.pi * 1.1 / 12.0  # arcsin(1.1/12) is about 1.1/12
    (2.805, 2.801126...)
    >>> transit_duration(96.0, 12.0, 1.2, 0.1)
    0.0
    """
    chord = (1.0 + k) ** 2 - b**2
    if chord <= 0:
        return 0.0
    sin_i = math.sqrt(max(1.0 - (b / a) ** 2, 1e-12))
    return period / math.pi * math.asin(min(math.sqrt(chord) / (a * sin_i), 1.0))


class Model:
    """Relative flux of a transit at fixed times; each value is the mean over `width` hours.

    >>> model = Model(np.array([0.0, 3.75]), width=0.01)
    >>> model(Shape(t0=3.75, period=96.0, a=12.0, b=0.0, k=0.1, u1=0.0, u2=0.0)).round(9)  # a uniform disc: 1 - k²
    array([1.  , 0.99])
    """

    def __init__(self, time: Float, width: float) -> None:
        offsets = (np.arange(SUPERSAMPLE) - (SUPERSAMPLE - 1) / 2) / SUPERSAMPLE * width
        self._n = len(time)
        self._time = np.ascontiguousarray((time[:, None] + offsets).ravel() / 24.0)
        self._cache: batman.TransitModel | None = None

    def __call__(self, shape: Shape) -> Float:
        params = batman.TransitParams()
        params.t0, params.per, params.a = shape.t0 / 24.0, shape.period / 24.0, shape.a
        params.inc = math.degrees(math.acos(min(abs(shape.b) / shape.a, 1.0)))
        params.rp, params.ecc, params.w = abs(shape.k), 0.0, 90.0
        params.limb_dark, params.u = "quadratic", [shape.u1, shape.u2]
        if self._cache is None:
            self._cache = batman.TransitModel(params, self._time, max_err=0.2)
        curve = np.asarray(self._cache.light_curve(params)).reshape(self._n, SUPERSAMPLE) @ MEAN
        return curve if shape.k >= 0 else 2.0 - curve


@dataclass(frozen=True)
class BoxFit:
    """Best box of a coarse search: mid-time and length [h], fractional depth, signal-to-noise."""

    t0: float
    duration: float
    depth: float
    snr: float


def search_box(time: Float, flux: Float, sigma: Float, durations: Float, design: Float, *, centres: Float | None = None) -> BoxFit:
    """Deepest-chi² box transit over a grid of mid-times (or the given centres) and durations, jointly with a linear baseline.

    time, flux, sigma (n,), design (n, terms): baseline and regressors. The box column is first made orthogonal to the design.

    >>> time = np.linspace(0.0, 7.5, 301)
    >>> flux = 1000.0 * (1.0 - 0.01 * (np.abs(time - 3.75) < 1.24))
    >>> box = search_box(time, flux, np.ones(301), np.array([1.5, 2.5, 3.5]), np.ones((301, 1)))
    >>> round(box.t0, 2), box.duration, round(box.depth, 3)
    (3.75, 2.5, 0.01)
    """
    root = 1.0 / sigma
    q, _ = np.linalg.qr(design * root[:, None])
    target = flux * root
    target = target - q @ (q.T @ target)
    scale = float(np.median(flux))
    best = BoxFit(float(time.mean()), float(durations[0]), 0.0, 0.0)
    step = max(np.ptp(time) / 200, float(np.median(np.diff(time))))
    for duration in durations:
        grid = np.arange(time[0], time[-1] + step, step) if centres is None else centres
        box = (np.abs(time[:, None] - grid) < duration / 2) * (-root[:, None])
        box = box - q @ (q.T @ box)
        norm = (box**2).sum(axis=0)
        usable = norm > 1e-3 * (root**2).sum() / len(time)
        gain = np.where(usable, (target @ box) / np.where(usable, np.sqrt(norm), 1.0), 0.0)
        i = int(np.argmax(gain))
        if gain[i] > best.snr:
            best = BoxFit(float(grid[i]), float(duration), float(gain[i] / np.sqrt(norm[i]) / scale), float(gain[i]))
    return best


@dataclass(frozen=True)
class Prior:
    """Gaussian priors (mean, sigma) of a/R*, b, u1, u2."""

    a: tuple[float, float]
    b: tuple[float, float]
    u1: tuple[float, float]
    u2: tuple[float, float]

    def residuals(self, shape: Shape) -> Float:
        """What the priors add to a fit's residuals, (4,)."""
        pairs = ((shape.a, self.a), (shape.b, self.b), (shape.u1, self.u1), (shape.u2, self.u2))
        return np.array([(value - centre) / width for value, (centre, width) in pairs])


def transit_starts(
    time: Float, flux: Float, sigma: Float, design: Float, shapes: list[Shape], *, most: int = 4
) -> list[tuple[Shape, float]]:  # fmt: skip
    """Where fits of a transit should start: the shapes moved in time to where they lower chi² most, with that gain; best first.

    Mid-times run from half a transit before the window to half a transit after it, so that a transit of which one contact alone
    is seen has a start of its own. A start is kept where no better one is within a third of its duration, and where its gain is within
    reach of the best one's: a fit moves little further than that.
    """
    root = 1.0 / sigma
    q, _ = np.linalg.qr(design * root[:, None])
    target = flux * root
    level = float(np.median(flux))
    target = target - q @ (q.T @ target)
    found: list[tuple[float, Shape]] = []
    for shape in shapes:
        length = shape.duration
        if length <= 0:
            continue
        ticks = np.linspace(-0.75 * length, 0.75 * length, 301)
        dip = 1.0 - Model(ticks + shape.period, 0.0)(replace(shape, t0=shape.period))
        grid = np.arange(time[0] - 0.45 * length, time[-1] + 0.45 * length, length / 24)
        columns = -root[:, None] * np.interp(time[:, None] - grid, ticks, dip, left=0.0, right=0.0)
        columns = columns - q @ (q.T @ columns)
        norm = np.square(columns).sum(axis=0)
        usable = norm > 1e-6 * norm.max(initial=0.0)
        amplitude = np.where(usable, (target @ columns) / np.where(usable, norm, 1.0), 0.0)
        gain = amplitude * np.abs(amplitude) * norm
        for i in np.flatnonzero(gain > 0):
            depth = min(max(float(amplitude[i]) / level * shape.depth, MIN_DEPTH), MAX_DEPTH)
            found.append((float(gain[i]), replace(shape, t0=float(grid[i]), k=math.sqrt(depth))))
    found.sort(key=lambda item: -item[0])
    kept: list[tuple[Shape, float]] = []
    for gain_here, shape in found:
        near = any(abs(shape.t0 - other.t0) < shape.duration / 3 for other, _ in kept)
        if near or len(kept) == most or (kept and gain_here < REACH * kept[0][1]):
            continue
        kept.append((shape, gain_here))
    return kept


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
            solution = np.linalg.lstsq(basis, self._target, rcond=None)[0]
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
    left = target - basis @ np.linalg.lstsq(basis, target, rcond=None)[0]
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
        scale = np.maximum(np.diag(normal), 1e-300)
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
        theta, fun, cost, damping = trial, new, float(new @ new), damping / 8.0
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
    solution = np.linalg.lstsq(basis / sigma[:, None], flux / sigma, rcond=None)[0]
    return np.asarray(solution), np.asarray(basis @ solution)
