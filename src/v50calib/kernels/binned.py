"""Compiled passes over (time, channel) series grouped into bins of time; NaN samples are left out."""

from __future__ import annotations

import numpy as np

from v50calib.kernels.arrays import Float, Index
from v50calib.kernels.compiler import nb

# no fastmath here: NaN carries meaning
_jit = nb.njit(cache=True, nogil=True)


@_jit
def sum_in_bins(values: Float, bins: Index, total: Float, count: Float) -> None:
    """Add finite values (n, channel) to total (bin, channel) and their number to count; bins (n,), negative: left out.

    >>> total, count = np.zeros((2, 1)), np.zeros((2, 1))
    >>> sum_in_bins(np.array([[1.0], [2.0], [np.nan], [4.0]]), np.array([0, 0, 1, 1]), total, count)
    >>> total.ravel(), count.ravel()
    (array([3., 4.]), array([2., 1.]))
    """
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
    """As `sum_in_bins` for values known to be finite: no test in the inner loop, which then vectorizes.

    >>> total = np.zeros((2, 1))
    >>> sum_finite_in_bins(np.array([[1.0], [2.0], [4.0]]), np.array([0, 0, 1]), total)
    >>> total.ravel()
    array([3., 4.])
    """
    n, columns = values.shape
    for i in range(n):
        b = bins[i]
        if b >= 0:
            # no views of the rows: of a narrow series they would cost more than the sums
            for c in range(columns):
                total[b, c] += values[i, c]


@_jit
def square_residuals(values: Float, bins: Index, mean: Float, total: Float, count: Float) -> None:
    """Add finite (value - mean of its bin)² to total (channel,), their number to count.

    >>> total, count = np.zeros(1), np.zeros(1)
    >>> square_residuals(np.array([[1.0], [3.0]]), np.array([0, 0]), np.array([[2.0]]), total, count)
    >>> total, count
    (array([2.]), array([2.]))
    """
    for i in range(values.shape[0]):
        b = bins[i]
        for c in range(values.shape[1]):
            d = values[i, c] - mean[b, c]
            if np.isfinite(d):
                total[c] += d * d
                count[c] += 1.0


@_jit
def blank_residuals(values: Float, bins: Index, mean: Float, limit: Float) -> int:
    """Set values further than limit (channel,) from their bin's mean to NaN, in place; returns how many.

    >>> values = np.array([[1.0], [9.0]])
    >>> blank_residuals(values, np.array([0, 0]), np.array([[2.0]]), np.array([5.0])), values.ravel()
    (1, array([ 1., nan]))
    """
    found = 0
    for i in range(values.shape[0]):
        b = bins[i]
        for c in range(values.shape[1]):
            if abs(values[i, c] - mean[b, c]) > limit[c]:
                values[i, c] = np.nan
                found += 1
    return found


@_jit
def cube_and_variance(
    total: Float, rate: Float, between: Float, inverse_flat: Float, unmasked: Float, cube: Float, variance: Float
) -> None:
    """Summed frames (bin, ny, nx) as stored, and their photon variance ``max(S + rate·between, 0) / flat``.

    rate, inverse_flat, unmasked (ny, nx), the last two NaN at masked pixels and 1 elsewhere; between (bin,) s.

    >>> cube, variance, one = np.empty((1, 1, 1)), np.empty((1, 1, 1)), np.ones((1, 1))
    >>> cube_and_variance(np.full((1, 1, 1), 100.0), 0.5 * one, np.array([4.0]), 0.5 * one, one, cube, variance)
    >>> cube.item(), variance.item()  # (100 + 0.5·4) / 2
    (100.0, 51.0)
    """
    for b in range(total.shape[0]):
        for y in range(total.shape[1]):
            source, level, gain, keep = total[b, y], rate[y], inverse_flat[y], unmasked[y]
            out, var = cube[b, y], variance[b, y]
            for x in range(source.size):
                out[x] = source[x] * keep[x]
                var[x] = max(source[x] + level[x] * between[b], 0.0) * gain[x]
