"""Scatter of a light curve against the length that it is averaged over.

White noise falls with the square root of the number averaged; what stays above that line is correlated in time (red
noise: Pont, Zucker & Queloz 2006, MNRAS 373, 231).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from v50calib.kernels.arrays import Float, Mask

#: lengths in a curve, at most; fewer blocks than MIN_BLOCKS give no scatter
SIZES, MIN_BLOCKS = 20, 8


def block_sizes(n: int) -> NDArray[np.int64]:
    """Lengths of blocks of n samples, 1 … n/10, evenly in their logarithm; depends on n alone.

    >>> block_sizes(100)
    array([ 1,  2,  3,  4,  5,  6,  7,  8,  9, 10])
    """
    return np.unique(np.round(np.geomspace(1, max(1, n // 10), SIZES)).astype(np.int64))


def rms_of_blocks(residual: Float, usable: Mask, sizes: NDArray[np.int64]) -> Float:
    """Standard deviation of the means of consecutive blocks, (sizes,); NaN where fewer than MIN_BLOCKS are wholly usable.

    residual, usable (n,): blocks with a sample that is not usable are left out.

    >>> alternating = np.tile([1.0, -1.0], 50)
    >>> rms_of_blocks(alternating, np.ones(100, bool), np.array([1, 2])).round(3)  # means of pairs are 0
    array([1.005, 0.   ])
    """
    total = np.concatenate([[0.0], np.cumsum(np.where(usable, residual, 0.0))])
    good = np.concatenate([[0], np.cumsum(usable)])
    out = np.full(sizes.size, np.nan)
    for i, size in enumerate(sizes.tolist()):
        edges = np.arange(0, len(residual) + 1, size)
        whole = np.diff(good[edges]) == size
        if whole.sum() >= MIN_BLOCKS:
            out[i] = np.std((np.diff(total[edges]) / size)[whole], ddof=1)
    return out


def expected_rms(variance: float, slow: float, smooth: int, sizes: NDArray[np.int64]) -> Float:
    """`rms_of_blocks` that the noise model predicts, (sizes,).

    variance: of a sample. slow: variance that a shared signal, smoothed over `smooth` samples, adds to anything slower than that
    (1/smooth of its whole variance is in `variance` already).

    >>> expected_rms(4.0, 0.0, 1, np.array([1, 4, 16]))  # white noise: 2/√n
    array([2. , 1. , 0.5])
    """
    if smooth <= 1:
        return np.sqrt(variance / sizes)
    whole = slow / (1.0 - 1.0 / smooth)
    return np.sqrt((variance - whole / smooth) / sizes + whole / np.maximum(sizes, smooth))
