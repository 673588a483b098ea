"""Trends in time of one light curve in equal bins: Savitzky-Golay, biweight, running mean, Gaussian process.

None of these models a transit: the caller marks it, and `bridge` closes the gap with a straight line first.
"""

from __future__ import annotations

import numpy as np
from scipy.linalg import cho_factor, cho_solve
from scipy.ndimage import uniform_filter1d
from scipy.optimize import minimize
from scipy.signal import savgol_filter

from v50calib.kernels.arrays import Float, Mask

#: a biweight location has converged when it moves by less than this share of the scatter
_CONVERGED = 1e-7


def bridge(time: Float, values: Float, outside: Mask, reach: int) -> Float:
    """Values (n,) with every gap of ``~outside`` replaced by a straight line between the levels on either side.

    A level is the mean of the `reach` samples next to the gap; at an end of the series the one side's level is
    repeated. Samples inside the gap are not used.

    >>> time, outside = np.arange(5.0), np.array([True, True, False, True, True])
    >>> bridge(time, np.array([0.0, 1.0, -9.0, 3.0, 4.0]), outside, reach=1)
    array([0., 1., 2., 3., 4.])
    """
    out = values.copy()
    edges = np.flatnonzero(np.diff(np.concatenate([[True], outside, [True]]).astype(np.int8)))
    good = np.flatnonzero(outside)
    if good.size == 0:
        return np.full_like(values, float(np.median(values)))
    for start, stop in zip(edges[0::2], edges[1::2], strict=True):
        before, after = good[good < start][-reach:], good[good >= stop][:reach]
        sides = [(time[i].mean(), values[i].mean()) for i in (before, after) if i.size]
        t, v = (np.array(p) for p in zip(*sides, strict=True))
        out[start:stop] = np.interp(time[start:stop], t, v)
    return out


def odd(n: float, size: int, least: int = 3) -> int:
    """The odd integer nearest to n, at least `least`, at most `size`.

    >>> odd(7.8, 100), odd(1.0, 100), odd(50.0, 10)
    (7, 3, 9)
    """
    wanted = max(2 * round((n - 1) / 2) + 1, least)
    return min(wanted, size if size % 2 else size - 1)


def savgol(values: Float, window: int, order: int) -> Float:
    """Savitzky-Golay: a polynomial of `order` through each window of `window` (odd) samples; ends from the last full window.

    >>> savgol(np.arange(7.0) ** 2, window=5, order=2).round(12) + 0.0  # a parabola is kept
    array([ 0.,  1.,  4.,  9., 16., 25., 36.])
    """
    return np.asarray(savgol_filter(values, window, min(order, window - 1), mode="interp"))


def running_mean(values: Float, window: int) -> Float:
    """Centred mean of `window` samples, end values repeated: what a high-pass filter removes.

    >>> running_mean(np.array([0.0, 3.0, 6.0]), 3)
    array([1., 3., 5.])
    """
    return np.asarray(uniform_filter1d(values, window, mode="nearest"))


def biweight(values: Float, window: int, cval: float, *, iterations: int = 50) -> Float:
    """Tukey's biweight location of each centred window of `window` (odd) samples, shorter at the ends.

    Weights ``(1 - u²)²``, u = (v - location)/(cval·MAD), iterated from the median to convergence with the MAD fixed
    (Mosteller & Tukey 1977; the estimator of Hippke et al. 2019, AJ 158, 143).

    >>> biweight(np.array([1.0, 2.0, 3.0, 50.0, 3.0, 2.0, 1.0]), window=7, cval=5.0)[3].round(6)
    np.float64(2.0)
    """
    n, half = len(values), window // 2
    index = np.arange(n)[:, None] + np.arange(-half, half + 1)
    inside = (index >= 0) & (index < n)
    windows = np.where(inside, values[np.clip(index, 0, n - 1)], np.nan)
    location = np.nanmedian(windows, axis=1, keepdims=True)
    scale = cval * np.nanmedian(np.abs(windows - location), axis=1, keepdims=True)
    windows = np.where(inside, windows, np.inf)
    flat = scale == 0
    for _ in range(iterations):
        with np.errstate(invalid="ignore", divide="ignore"):
            u = np.where(inside & ~flat, (windows - location) / scale, np.inf)
        weight = np.where(np.abs(u) < 1.0, (1.0 - np.square(np.clip(u, -1.0, 1.0))) ** 2, 0.0)
        total = weight.sum(axis=1, keepdims=True)
        moved = np.where(
            total > 0, (weight * np.where(inside, windows - location, 0.0)).sum(axis=1, keepdims=True) / np.maximum(total, 1e-300), 0.0
        )
        location = location + moved
        if np.all(np.abs(moved) <= _CONVERGED * np.maximum(scale, 1e-300)):
            break
    return np.asarray(location[:, 0])


def matern32(distance: Float, amplitude: float, length: float) -> Float:
    """Covariance of the Matérn-3/2 process: ``a² (1 + √3 d/l) exp(-√3 d/l)`` (Rasmussen & Williams 2006, eq. 4.17).

    >>> matern32(np.array([0.0, 1.0]), amplitude=2.0, length=1.0) / 4.0  # 1, (1 + √3) exp(-√3)
    array([1.        , 0.48335772])
    """
    r = np.sqrt(3.0) * distance / length
    return np.asarray(amplitude**2 * (1.0 + r) * np.exp(-r))


def gp_likelihood(time: Float, values: Float, sigma: Float, design: Float, amplitude: float, length: float) -> float:
    """Minus twice the log likelihood (up to a constant) with the design's coefficients at their best values.

    time, values, sigma (n,); design (n, terms), terms without a prior.

    >>> time, values, ones = np.arange(2.0), np.array([1.0, -1.0]), np.ones(2)
    >>> round(gp_likelihood(time, values, ones, ones[:, None], amplitude=1e-9, length=1.0), 6)  # white noise: Σ (v/σ)²
    2.0
    """
    covariance = matern32(np.abs(time[:, None] - time), amplitude, length)
    covariance[np.diag_indices_from(covariance)] += sigma**2
    factor = cho_factor(covariance, lower=True)
    weighted = cho_solve(factor, design)
    solution = np.linalg.lstsq(design.T @ weighted, weighted.T @ values, rcond=None)[0]
    residual = values - design @ solution
    return float(residual @ cho_solve(factor, residual) + 2.0 * np.log(np.diag(factor[0])).sum())


def gp_mean(time: Float, values: Float, sigma: Float, design: Float, amplitude: float, length: float, at: Float, design_at: Float) -> Float:
    """Expected trend at times `at` (m,), design_at (m, terms), given values (n,): terms plus the process.

    >>> time, values, ones = np.arange(3.0), np.array([5.0, 6.0, 5.0]), np.ones((3, 1))
    >>> gp_mean(time, values, np.full(3, 1e-4), ones, 1.0, 1.0, time, ones).round(4)  # without noise it meets the samples
    array([5., 6., 5.])
    """
    covariance = matern32(np.abs(time[:, None] - time), amplitude, length)
    covariance[np.diag_indices_from(covariance)] += sigma**2
    factor = cho_factor(covariance, lower=True)
    weighted = cho_solve(factor, design)
    solution = np.linalg.lstsq(design.T @ weighted, weighted.T @ values, rcond=None)[0]
    cross = matern32(np.abs(at[:, None] - time), amplitude, length)
    return np.asarray(design_at @ solution + cross @ cho_solve(factor, values - design @ solution))


def gp_trend(
    time: Float, values: Float, sigma: Float, design: Float, outside: Mask, *, shortest: float, fixed: tuple[float | None, float | None]
) -> tuple[Float, float, float]:
    """Matérn-3/2 trend (n,) of one light curve, conditioned on the samples `outside`; amplitude and length used.

    Amplitude (in units of the values) and length (of time, at least `shortest`) are those of the highest
    likelihood where `fixed` does not give them. Exact, by Cholesky: meant for a few hundred bins.

    >>> time, sigma, level = np.linspace(0.0, 7.0, 50), np.full(50, 1e-3), np.ones((50, 1))
    >>> outside = time != time[25]
    >>> trend, amplitude, _ = gp_trend(time, np.sin(time), sigma, level, outside, shortest=0.5, fixed=(1.0, None))
    >>> amplitude, bool(np.abs(trend - np.sin(time)).max() < 1e-3)
    (1.0, True)
    """
    t, v, s, d = time[outside], values[outside], sigma[outside], design[outside]
    span = float(np.ptp(time))
    scatter = max(float(np.std(v - d @ np.linalg.lstsq(d, v, rcond=None)[0])), 1e-12)
    low = np.log([1e-3 * scatter, shortest])
    high = np.log([1e2 * scatter, max(3.0 * span, 2.0 * shortest)])
    start = np.log([0.5 * scatter, min(max(0.3 * span, shortest), 3.0 * span)])
    for i, value in enumerate(fixed):
        if value is not None:
            low[i] = high[i] = start[i] = np.log(value)

    def cost(p: Float) -> float:
        return gp_likelihood(t, v, s, d, float(np.exp(p[0])), float(np.exp(p[1])))

    if None in fixed:
        found = minimize(cost, start, method="L-BFGS-B", bounds=list(zip(low, high, strict=True)), options={"maxiter": 30, "eps": 1e-3})
        start = found.x
    amplitude, length = (float(np.exp(p)) for p in start)
    return gp_mean(t, v, s, d, amplitude, length, time, design), amplitude, length
