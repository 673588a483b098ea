"""Compiled passes over pixels in time: single-sample spikes, their repair, running windows.

Arrays are (time, pixel). Every result depends on a bounded window of samples and is summed in a fixed order, so a
chunk read with a wide enough halo gives the same bits as the whole series. Passes over
all samples are written without branches, so that they vectorize; what they find is rare.
"""

from __future__ import annotations

import numpy as np

from v50calib.kernels.arrays import Float, Index, Mask
from v50calib.kernels.compiler import nb

_jit = nb.njit(cache=True, nogil=True)


#: samples on either side that a spike is compared with, and that its repair may reach to
REACH = 2
#: samples on either side on which a repaired value depends: the repair's reach, and the test of what it reaches
SPIKE_HALO = 2 * REACH


@_jit
def _middle(window: Float, count: int) -> float:
    """Median of the first `count` values of a small buffer, which is left sorted."""
    for i in range(1, count):
        v = window[i]
        j = i - 1
        while j >= 0 and window[j] > v:
            window[j + 1] = window[j]
            j -= 1
        window[j + 1] = v
    half = count // 2
    return window[half] if count % 2 else 0.5 * (window[half - 1] + window[half])


@_jit
def neighbour_median(series: Float, out: Float) -> None:
    """Median of the up to 2·REACH nearest samples in time, the sample itself left out; a lone sample keeps its value.

    >>> out = np.empty((5, 1))
    >>> neighbour_median(np.array([[1.0], [2.0], [99.0], [4.0], [5.0]]), out)
    >>> out[2]  # of 1, 2, 4 and 5
    array([3.])
    """
    n, npix = series.shape
    window = np.empty(2 * REACH)
    for i in range(n):
        low, high = max(0, i - REACH), min(n, i + REACH + 1)
        for p in range(npix):
            count = 0
            for j in range(low, high):
                if j != i:
                    window[count] = series[j, p]
                    count += 1
            out[i, p] = _middle(window, count) if count else series[i, p]


@_jit
def find_spikes(series: Float, limit: Float, out: Mask) -> int:
    """Mark samples above the median of their neighbours by more than limit, and above both nearest by half of it; returns how many.

    series (n, npix); limit (lag, npix): row i is compared with rows i ± lag, i ± 2·lag, … and judged by limit[i % lag], so
    that the first and the second reads of ramps are series of their own. What a cosmic-ray hit leaves in one ramp;
    a step or a slow change never qualifies, because it carries a nearest neighbour with it.

    >>> series, out = np.array([[1.0], [1.0], [9.0], [1.0], [1.0]]), np.empty((5, 1), bool)
    >>> find_spikes(series, np.array([[5.0]]), out), np.flatnonzero(out)
    (1, array([2]))
    """
    n, npix = series.shape
    lag = limit.shape[0]
    window = np.empty(2 * REACH)
    found = 0
    for i in range(n):
        before, after = i >= lag, i + lag < n
        row, bound, mark = series[i], limit[i % lag], out[i]
        left = series[i - lag] if before else series[min(i + lag, n - 1)]
        right = series[i + lag] if after else left
        candidates = 0
        # without a branch this loop vectorizes; few samples get past it
        for p in range(npix):
            mark[p] = row[p] - max(left[p], right[p]) > 0.5 * bound[p]
            candidates += mark[p]
        if candidates == 0:
            continue
        for p in range(npix):
            if not mark[p]:
                continue
            count = 0
            for d in range(1, REACH + 1):
                for j in (i - d * lag, i + d * lag):
                    if 0 <= j < n:
                        window[count] = series[j, p]
                        count += 1
            mark[p] = count > 0 and row[p] - _middle(window, count) > bound[p]
            found += mark[p]
    return found


@_jit
def find_isolated(series: Float, limit: Float, out: Mask) -> int:
    """Mark samples above both nearest neighbours, or below both, by more than limit (npix,); returns how many.

    The first and last sample are compared with the next two, at 1.25 times the limit (as `series.isolated_outliers`).

    >>> series, out = np.array([[1.0], [1.0], [-9.0], [1.0], [1.0]]), np.empty((5, 1), bool)
    >>> find_isolated(series, np.array([5.0]), out), np.flatnonzero(out)
    (1, array([2]))
    """
    n, npix = series.shape
    found = 0
    if n < 3:
        out[:] = False
        return 0
    for i in range(n):
        mark = out[i]
        if i == 0 or i == n - 1:
            one, two = (1, 2) if i == 0 else (n - 2, n - 3)
            for p in range(npix):
                high, low = max(series[one, p], series[two, p]), min(series[one, p], series[two, p])
                mark[p] = (series[i, p] - high > 1.25 * limit[p]) | (low - series[i, p] > 1.25 * limit[p])
                found += mark[p]
            continue
        row, left, right = series[i], series[i - 1], series[i + 1]
        for p in range(npix):
            low, high = min(left[p], right[p]), max(left[p], right[p])
            mark[p] = (row[p] - high > limit[p]) | (low - row[p] > limit[p])
            found += mark[p]
    return found


@_jit
def bridge(series: Float, bad: Mask, lag: int, rows: Index, pixels: Index, use_median: bool, out: Float) -> None:
    """Replacements out (k,) of the samples series[rows, pixels] from good ones of the same pixel within REACH · lag rows.

    A straight line in time between the nearest good one on either side, or their median; with good samples on one
    side only, the nearest; with none, NaN. bad (n, npix) marks what must not be used.

    >>> out = np.empty(1)
    >>> bridge(np.array([[1.0], [9.0], [3.0]]), np.array([[False], [True], [False]]), 1, np.array([1]), np.array([0]), False, out)
    >>> out
    array([2.])
    """
    n = series.shape[0]
    window = np.empty(2 * REACH)
    for k in range(rows.size):
        i, p = rows[k], pixels[k]
        left, right, count = -1, -1, 0
        for d in range(1, REACH + 1):
            a, b = i - d * lag, i + d * lag
            if a >= 0 and not bad[a, p]:
                window[count] = series[a, p]
                count += 1
                if left < 0:
                    left = a
            if b < n and not bad[b, p]:
                window[count] = series[b, p]
                count += 1
                if right < 0:
                    right = b
        if count == 0:
            out[k] = np.nan
        elif use_median:
            out[k] = _middle(window, count)
        elif left >= 0 and right >= 0:
            out[k] = series[left, p] + (series[right, p] - series[left, p]) * (i - left) / (right - left)
        else:
            out[k] = series[left, p] if left >= 0 else series[right, p]


def fill_marked(series: Float, bad: Mask, wanted: Mask, *, lag: int, use_median: bool) -> tuple[Float, Mask]:
    """Series with the `wanted` samples bridged over the `bad` ones, and where that was possible. The series is copied only if needed.

    >>> series, bad = np.array([[1.0], [9.0], [3.0]]), np.array([[False], [True], [False]])
    >>> filled, done = fill_marked(series, bad, bad, lag=1, use_median=False)
    >>> filled.ravel(), done.ravel()
    (array([1., 2., 3.]), array([False,  True, False]))
    """
    rows, pixels = np.nonzero(wanted)
    values = np.empty(rows.size)
    bridge(series, bad, lag, rows, pixels, use_median, values)
    good = np.isfinite(values)
    done = np.zeros(bad.shape, np.bool_)
    if not good.any():
        return series, done
    out = series.copy()
    out[rows[good], pixels[good]] = values[good]
    done[rows[good], pixels[good]] = True
    return out, done


@_jit
def running_mean(series: Float, half: int, out: Float) -> None:
    """Mean over the 2·half + 1 samples about each; the window is cut at the ends of the series.

    >>> out = np.empty((3, 1))
    >>> running_mean(np.array([[0.0], [3.0], [6.0]]), 1, out)
    >>> out.ravel()
    array([1.5, 3. , 4.5])
    """
    n, npix = series.shape
    for i in range(n):
        low, high = max(0, i - half), min(n, i + half + 1)
        acc = out[i]
        acc[:] = 0.0
        for j in range(low, high):
            row = series[j]
            for p in range(npix):
                acc[p] += row[p]
        scale = 1.0 / (high - low)
        for p in range(npix):
            acc[p] *= scale


@_jit
def baseline(series: Float, before: int, after: int, use_centre: bool, use_median: bool, clip: float, out: Float, share: Float) -> None:
    """Median or mean of series[i-before : i+after+1] for each i, cut at the ends; clip > 0: without outliers.

    An outlier is further than clip·1.4826·MAD from the window's median. share (n,): 1/number of samples of a
    window. A window that holds nothing but its excluded centre gives the centre.

    >>> series, out, share = np.array([[1.0], [2.0], [9.0], [4.0]]), np.empty((4, 1)), np.empty(4)
    >>> baseline(series, 1, 1, False, False, 0.0, out, share)
    >>> out.ravel(), share
    (array([2., 5., 3., 9.]), array([1. , 0.5, 0.5, 1. ]))
    """
    n, npix = series.shape
    size = before + after + 1
    window, spread = np.empty(size), np.empty(size)
    for i in range(n):
        low, high = max(0, i - before), min(n, i + after + 1)
        members = high - low - (0 if use_centre else 1)
        share[i] = 1.0 / max(members, 1)
        for p in range(npix):
            count = 0
            for j in range(low, high):
                if use_centre or j != i:
                    window[count] = series[j, p]
                    count += 1
            if count == 0:
                out[i, p] = series[i, p]
                continue
            middle = 0.0
            if use_median or clip > 0.0:
                middle = _middle(window, count)
            if use_median:
                out[i, p] = middle
                continue
            limit = np.inf
            if clip > 0.0:
                for k in range(count):
                    spread[k] = abs(window[k] - middle)
                limit = clip * 1.4826022185056018 * _middle(spread, count)
            total, kept = 0.0, 0
            for k in range(count):
                if abs(window[k] - middle) <= limit or clip <= 0.0:
                    total += window[k]
                    kept += 1
            out[i, p] = total / kept
