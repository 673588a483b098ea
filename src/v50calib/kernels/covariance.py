"""Depths with a covariance ``C = diag(own) + F Fᵀ``: own variance of each channel, factor F (channel, k) of what channels share."""

from __future__ import annotations

import math

import numpy as np

from v50calib.kernels.arrays import Float, Real


def own_variance(sigma: Real, shared: Real) -> Float:
    """(channel,) the part of sigma² that a channel has for itself, never negative.

    >>> own_variance(np.array([5.0, 5.0]), np.array([[3.0], [4.0]]))
    array([16.,  9.])
    """
    return np.maximum(np.square(sigma, dtype=np.float64) - np.square(shared, dtype=np.float64).sum(axis=1), 0.0)


def covariance(sigma: Real, shared: Real) -> Float:
    """(channel, channel) the whole covariance.

    >>> covariance(np.array([5.0, 5.0]), np.array([[3.0], [4.0]]))
    array([[25., 12.],
           [12., 25.]])
    """
    factor = np.asarray(shared, np.float64)
    return np.asarray(np.diag(own_variance(sigma, factor)) + factor @ factor.T)


def averaged(depth: Real, sigma: Real, shared: Real, weights: Real) -> tuple[Float, Float]:
    """Means under each row of `weights` (mean, channel), each row scaled to the sum 1, and their covariance (mean, mean).

    >>> sigma, shared, weights = np.full(3, 5.0), np.array([[3.0], [4.0], [0.0]]), np.array([[1.0, 1.0, 0.0], [0.0, 0.0, 2.0]])
    >>> mean, cov = averaged(np.array([1.0, 3.0, 7.0]), sigma, shared, weights)
    >>> mean.tolist(), cov.tolist()  # (25 + 25 + 2 * 12) / 4
    ([2.0, 7.0], [[18.5, 0.0], [0.0, 25.0]])
    """
    share = np.asarray(weights, np.float64)
    share = share / share.sum(axis=1, keepdims=True)
    along = share @ np.asarray(shared, np.float64)
    return np.asarray(share @ np.asarray(depth, np.float64)), np.asarray((share * own_variance(sigma, shared)) @ share.T + along @ along.T)


def weighted_depth(depth: Real, sigma: Real, shared: Real, weight: Real) -> tuple[float, float]:
    """Mean depth under these weights (channel,) and its standard error; channels without a depth take no part, NaN where none has.

    >>> depth, sigma, shared = np.array([0.010, 0.012, np.nan]), np.array([5e-5, 5e-5, 1.0]), np.array([[3e-5], [4e-5], [0.0]])
    >>> mean, error = weighted_depth(depth, sigma, shared, np.ones(3))
    >>> round(mean, 9), round(error, 9), round(math.sqrt((25 + 25 + 2 * 12) / 4) * 1e-5, 9)
    (0.011, 4.3012e-05, 4.3012e-05)
    """
    good = np.isfinite(depth) & np.isfinite(sigma) & np.isfinite(weight) & (np.asarray(weight) > 0)
    if not good.any():
        return math.nan, math.nan
    share = np.asarray(weight, np.float64)[good]
    share = share / share.sum()
    along = np.asarray(shared, np.float64)[good].T @ share
    variance = float(np.square(share) @ own_variance(np.asarray(sigma)[good], np.asarray(shared)[good]) + along @ along)
    return float(share @ np.asarray(depth, np.float64)[good]), math.sqrt(variance)
