"""Compiled passes over pixels in time: single-sample spikes, their repair, running windows.

Arrays are (time, pixel). Every result depends on a bounded window of samples and is summed in a fixed order, so a
chunk read with a wide enough halo gives the same bits as the whole series.
"""

from __future__ import annotations

import numba as nb
import numpy as np
from numpy.typing import NDArray

_jit = nb.njit(cache=True, nogil=True)

Float = NDArray[np.float64]
Flags = NDArray[np.bool_]

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
    """Median of the up to 2·REACH nearest samples in time, the sample itself left out; alone: itself."""
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
def find_spikes(series: Float, limit: Float, out: Flags) -> None:
    """Samples that stand above the median of their neighbours by more than limit, and above both nearest by half of it.

    series (n, npix), limit (npix,). What a cosmic-ray hit leaves in one ramp; a step or a slow change never
    qualifies, because it carries a nearest neighbour with it.
    """
    n, npix = series.shape
    window = np.empty(2 * REACH)
    for i in range(n):
        low, high = max(0, i - REACH), min(n, i + REACH + 1)
        for p in range(npix):
            v = series[i, p]
            out[i, p] = False
            beside = -np.inf
            if i > 0:
                beside = series[i - 1, p]
            if i < n - 1:
                beside = max(beside, series[i + 1, p])
            if not v - beside > 0.5 * limit[p]:
                continue
            count = 0
            for j in range(low, high):
                if j != i:
                    window[count] = series[j, p]
                    count += 1
            out[i, p] = count > 0 and v - _middle(window, count) > limit[p]


@_jit
def find_isolated(series: Float, limit: Float, out: Flags) -> None:
    """Samples that stand off both nearest neighbours to the same side by more than limit (npix,).

    The first and last sample are compared with the mean of the next two, at 1.25 times the limit (as
    `series.isolated_outliers`).
    """
    n, npix = series.shape
    for i in range(n):
        for p in range(npix):
            v = series[i, p]
            if n < 3:
                out[i, p] = False
            elif i == 0 or i == n - 1:
                k = 1 if i == 0 else n - 2
                m = 2 if i == 0 else n - 3
                out[i, p] = abs(v - 0.5 * (series[k, p] + series[m, p])) > 1.25 * limit[p]
            else:
                left, right = v - series[i - 1, p], v - series[i + 1, p]
                out[i, p] = min(left, right) > limit[p] or max(left, right) < -limit[p]


@_jit
def bridge(series: Float, bad: Flags, use_median: bool, out: Float, filled: Flags) -> None:
    """Bad samples replaced from good ones within REACH: a straight line in time between the nearest, or their median.

    With good samples on one side only, the nearest is taken; with none, the value stays and `filled` is False.
    """
    n, npix = series.shape
    window = np.empty(2 * REACH)
    for i in range(n):
        for p in range(npix):
            out[i, p] = series[i, p]
            filled[i, p] = False
            if not bad[i, p]:
                continue
            left, right, count = -1, -1, 0
            for d in range(1, REACH + 1):
                if i - d >= 0 and not bad[i - d, p]:
                    window[count] = series[i - d, p]
                    count += 1
                    if left < 0:
                        left = i - d
                if i + d < n and not bad[i + d, p]:
                    window[count] = series[i + d, p]
                    count += 1
                    if right < 0:
                        right = i + d
            filled[i, p] = count > 0
            if count == 0:
                continue
            if use_median:
                out[i, p] = _middle(window, count)
            elif left >= 0 and right >= 0:
                out[i, p] = series[left, p] + (series[right, p] - series[left, p]) * (i - left) / (right - left)
            else:
                out[i, p] = series[left, p] if left >= 0 else series[right, p]


@_jit
def running_mean(series: Float, half: int, out: Float) -> None:
    """Mean over the 2·half + 1 samples about each; the window is cut at the ends of the series."""
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
