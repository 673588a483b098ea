"""Compiled passes over (time, channel) series grouped into bins of time; NaN samples are left out."""

from __future__ import annotations

import numba as nb
import numpy as np
from numpy.typing import NDArray

# no fastmath here: NaN carries meaning
_jit = nb.njit(cache=True, nogil=True)

Float = NDArray[np.float64]
Index = NDArray[np.int64]


@_jit
def sum_in_bins(values: Float, bins: Index, total: Float, count: Float) -> None:
    """Add finite values (n, channel) to total (bin, channel) and their number to count; bins (n,), negative left out."""
    for i in range(values.shape[0]):
        b = bins[i]
        if b >= 0:
            row, acc, number = values[i], total[b], count[b]
            for c in range(row.size):
                v = row[c]
                if np.isfinite(v):
                    acc[c] += v
                    number[c] += 1.0


@_jit
def square_residuals(values: Float, bins: Index, mean: Float, total: Float, count: Float) -> None:
    """Add finite (value - mean of its bin)² to total (channel,), their number to count."""
    for i in range(values.shape[0]):
        row, level = values[i], mean[bins[i]]
        for c in range(row.size):
            d = row[c] - level[c]
            if np.isfinite(d):
                total[c] += d * d
                count[c] += 1.0


@_jit
def blank_residuals(values: Float, bins: Index, mean: Float, limit: Float) -> int:
    """Set values further than limit (channel,) off their bin's mean to NaN, in place; returns how many."""
    found = 0
    for i in range(values.shape[0]):
        row, level = values[i], mean[bins[i]]
        for c in range(row.size):
            if abs(row[c] - level[c]) > limit[c]:
                row[c] = np.nan
                found += 1
    return found
