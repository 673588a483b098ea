"""Compiled passes over (time, channel) series grouped into bins of time; NaN samples are left out."""

from __future__ import annotations

import numba as nb
import numpy as np

from v50calib.kernels.arrays import Float, Index

# no fastmath here: NaN carries meaning
_jit = nb.njit(cache=True, nogil=True)


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
def sum_finite_in_bins(values: Float, bins: Index, total: Float) -> None:
    """As `sum_in_bins` for values known to be finite: no test in the inner loop, which then vectorizes."""
    for i in range(values.shape[0]):
        b = bins[i]
        if b >= 0:
            row, acc = values[i], total[b]
            for c in range(row.size):
                acc[c] += row[c]


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


@_jit
def cube_and_variance(
    total: Float, rate: Float, between: Float, inverse_flat: Float, unmasked: Float, cube: Float, variance: Float
) -> None:
    """Summed frames (bin, ny, nx) as stored, and their photon variance ``max(S + rate·between, 0) / flat``.

    rate, inverse_flat, unmasked (ny, nx), the last two NaN at masked pixels and 1 elsewhere; between (bin,) s.
    """
    for b in range(total.shape[0]):
        for y in range(total.shape[1]):
            source, level, gain, keep = total[b, y], rate[y], inverse_flat[y], unmasked[y]
            out, var = cube[b, y], variance[b, y]
            for x in range(source.size):
                out[x] = source[x] * keep[x]
                var[x] = max(source[x] + level[x] * between[b], 0.0) * gain[x]
