"""Noise that does not average down, and what it does to the errors of slow signals."""

from __future__ import annotations

import math

import numpy as np

from v50calib.kernels.arrays import Float


def transit_bins(time: Float, duration: float) -> int:
    """Bins that a transit lasts, at the usual spacing of `time`."""
    return max(2, round(duration / max(float(np.median(np.diff(time))), 1e-9)))


def red_noise(residual: Float, longest: int) -> float:
    """Factor by which errors of slow signals exceed those of white noise (Pont, Zucker & Queloz 2006, MNRAS 373, 231).

    residual (n,) in units of its noise, in order of time. For blocks of 2, 4, … samples up to `longest` the variance of block means
    is compared with that of white noise of the same scatter; a block size counts as far as it stands out of the chance of its number
    of blocks (1.5 sigma). At least 1.

    >>> rng = np.random.default_rng(0)
    >>> red_noise(rng.normal(size=400), 100) < 1.1
    True
    >>> red_noise(np.repeat(rng.normal(size=40), 10), 100) > 2
    True
    """
    scatter = float(np.square(residual - residual.mean()).mean())
    worst, size = 1.0, 2
    while scatter > 0 and size <= longest and len(residual) // size >= 4:
        blocks = len(residual) // size
        means = residual[: blocks * size].reshape(blocks, size).mean(axis=1)
        ratio = float(np.square(means - means.mean()).sum()) / (blocks - 1) * size / scatter
        worst = max(worst, ratio - 1.5 * math.sqrt(2.0 / (blocks - 1)))
        size *= 2
    return math.sqrt(worst)
