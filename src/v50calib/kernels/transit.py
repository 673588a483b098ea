"""Transit light curves: durations, a coarse search in time, and the limb-darkened model fit.

The model is batman (Kreidberg 2015, PASP 127, 1161; Mandel & Agol 2002): quadratic limb darkening,
circular orbit. Times in hours since the start of the visit.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import batman
import numpy as np
from scipy.optimize import least_squares

from v50calib.kernels.arrays import Float

#: the planet's shadow is averaged over each bin by this many sub-samples
SUPERSAMPLE = 3
#: period [h] of a shape where the dataset states none (2024)
UNKNOWN_PERIOD_H = 96.0


@dataclass(frozen=True)
class Shape:
    """Orbit and star of a transit: mid-time t0 [h], period [h], a/R*, impact parameter b, Rp/R*, u1, u2.

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
        return transit_duration(self.period, self.a, self.b, self.k)


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
        params.rp, params.ecc, params.w = shape.k, 0.0, 90.0
        params.limb_dark, params.u = "quadratic", [shape.u1, shape.u2]
        if self._cache is None:
            self._cache = batman.TransitModel(params, self._time, max_err=0.2)
        return np.asarray(self._cache.light_curve(params)).reshape(self._n, SUPERSAMPLE).mean(axis=1)


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


@dataclass(frozen=True)
class WhiteFit:
    """Fit of a white light curve: the shape, the covariance of (t0, k, a, b, u1, u2), reduced chi².

    >>> shape = Shape(t0=3.75, period=96.0, a=12.0, b=0.3, k=0.1, u1=0.1, u2=0.1)
    >>> fit = WhiteFit(shape, np.diag([0.01, 0.001, 0.1, 0.1, 0.01, 0.01]) ** 2, chi2_reduced=1.0)
    >>> round(fit.depth, 9), round(fit.depth_sigma, 9), fit.t0_sigma  # k², 2 k σ(k)
    (0.01, 0.0002, 0.01)
    """

    shape: Shape
    covariance: Float
    chi2_reduced: float

    @property
    def depth(self) -> float:
        return self.shape.k**2

    @property
    def depth_sigma(self) -> float:
        return 2.0 * self.shape.k * float(np.sqrt(self.covariance[1, 1]))

    @property
    def t0_sigma(self) -> float:
        return float(np.sqrt(self.covariance[0, 0]))


def _shape(theta: Float, period: float) -> Shape:
    t0, k, a, b, u1, u2 = (float(v) for v in theta)
    return Shape(t0, period, max(a, 1.05), min(abs(b), 0.99 * max(a, 1.05)), max(abs(k), 1e-4), u1, u2)


def fit_white(
    time: Float, flux: Float, sigma: Float, width: float, design: Float, start: Shape, prior: Prior,
    *, fix_t0: bool = False, additive: bool = False,
) -> WhiteFit:  # fmt: skip
    """Least-squares fit of ``flux = (design·c)·T(t; t0, k, a, b, u1, u2)`` with c solved linearly at each step.

    time, flux, sigma (n,): bins of `width` hours; design (n, terms), its first column constant. fix_t0 holds the
    mid-time at `start`. additive: ``c0·T + the other terms`` instead. The covariance includes baseline and
    priors (variable projection; Golub & Pereyra 2003) and is scaled up where chi²/n exceeds 1.

    >>> time, shape = np.linspace(0.0, 7.5, 150), Shape(t0=3.7, period=96.0, a=12.0, b=0.3, k=0.1, u1=0.1, u2=0.1)
    >>> prior, start = Prior((12.0, 0.5), (0.3, 0.1), (0.1, 0.05), (0.1, 0.05)), Shape(3.8, 96.0, 11.8, 0.3, 0.11, 0.1, 0.1)
    >>> fit = fit_white(time, 1000.0 * Model(time, 0.05)(shape), np.ones(150), 0.05, np.ones((150, 1)), start, prior)
    >>> round(fit.shape.t0, 3), round(fit.depth, 5)
    (3.7, 0.01)
    """
    model = Model(time, width)
    centres = np.array([prior.a[0], prior.b[0], prior.u1[0], prior.u2[0]])
    widths = np.array([prior.a[1], prior.b[1], prior.u1[1], prior.u2[1]])
    first = slice(1, None) if fix_t0 else slice(0, None)
    target = flux / sigma

    def residuals(free: Float) -> Float:
        theta = np.concatenate([[start.t0], free]) if fix_t0 else free
        curve = model(_shape(theta, start.period))
        basis = _with_transit(design, curve, additive) / sigma[:, None]
        solution = np.linalg.lstsq(basis, target, rcond=None)[0]
        return np.concatenate([target - basis @ solution, (np.abs(theta[2:]) - centres) / widths])

    theta0 = np.array([start.t0, start.k, start.a, start.b, start.u1, start.u2])
    span = float(time[-1] - time[0])
    low = [time[0] - 0.5 * span, 1e-3, 1.05, -2.0, -0.5, -0.5]
    high = [time[-1] + 0.5 * span, 0.6, 200.0, 2.0, 1.5, 1.5]
    theta0[1:] = np.clip(theta0, np.array(low) + 1e-6, np.array(high) - 1e-6)[1:]
    if not fix_t0:
        theta0[0] = np.clip(theta0[0], low[0] + 1e-6, high[0] - 1e-6)
    scales = np.array([0.01, 0.01, 0.3, 0.1, 0.05, 0.05])
    bounds = (low[first], high[first])
    fit = least_squares(residuals, theta0[first], bounds=bounds, x_scale=scales[first], diff_step=1e-4, ftol=1e-6, xtol=1e-5)
    n_free = max(len(time) - design.shape[1] - fit.x.size, 1)
    chi2 = float((fit.fun[: len(time)] ** 2).sum()) / n_free
    covariance = np.zeros((6, 6))
    covariance[first, first] = np.linalg.pinv(fit.jac.T @ fit.jac) * max(chi2, 1.0)
    return WhiteFit(_shape(np.concatenate([theta0[: 6 - fit.x.size], fit.x]), start.period), covariance, chi2)


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
