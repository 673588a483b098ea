"""Trends in time of one light curve in equal bins: Savitzky-Golay, biweight, running mean.

None of these models a transit: the caller marks it, and `bridge` closes the gap with a straight line first.
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import uniform_filter1d

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
    # half a second of imports (scipy.signal brings scipy.stats), of an option that most runs do without
    from scipy.signal import savgol_filter

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
