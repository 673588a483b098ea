"""Split-conformal intervals mu ± q·scale from the scores of held-out planets.

Planets are exchangeable, bins of a planet are not independent: ranks, splits and weights are over planets. With n planets
the quantile is the k-th smallest score, k = ceil((1 - alpha)(n + 1)); k > n gives an infinite interval (Vovk et al. 2005;
Lei et al. 2018, JASA 113, 1094). Then 1 - alpha <= P(cover) <= 1 - alpha + 1/(n + 1) per bin.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from v50calib.errors import DataError
from v50calib.kernels.arrays import Float


def rank(n: int, alpha: float) -> int:
    """k of the conformal quantile; larger than n where n planets are too few for the level.

    >>> rank(19, 0.1), rank(5, 0.1)  # 0.9·20; the 6th of 5 does not exist
    (18, 6)
    """
    # 0.9 * 10 is 9.000000000000002 in floating point when written as (1 - 0.1) * 10
    return math.ceil(round((1.0 - alpha) * (n + 1), 9))


def least_planets(alpha: float) -> int:
    """Fewest planets with a finite interval at the level 1 - alpha.

    >>> least_planets(0.1), rank(9, 0.1)
    (9, 9)
    """
    return math.ceil(round(1.0 / alpha, 9)) - 1


def per_bin_quantile(scores: Float, alpha: float) -> Float:
    """q (bin,) of scores (planet, bin): each bin's own k-th smallest; inf where there are too few planets.

    >>> per_bin_quantile(np.arange(1.0, 20.0)[:, None], alpha=0.1)
    array([18.])
    """
    _check(scores)
    n = scores.shape[0]
    k = rank(n, alpha)
    if k > n:
        return np.full(scores.shape[1], np.inf)
    return np.partition(scores, k - 1, axis=0)[k - 1]


def pooled_quantile(scores: Float, alpha: float) -> float:
    """One q for all bins of a new planet, from scores (planet, bin).

    A planet's bins share its weight 1/(n + 1), the new planet's own weight sits at infinity (hierarchical conformal
    prediction; Lee, Barber & Willett 2023, arXiv:2306.06342).

    >>> pooled_quantile(np.arange(1.0, 39.0).reshape(19, 2), alpha=0.1)  # 0.9·2·20 = 36
    36.0
    """
    _check(scores)
    n, bins = scores.shape
    ordered = np.sort(scores, axis=None)
    # ordered[j-1] is the smallest with j/(bins (n + 1)) >= 1 - alpha
    j = math.ceil(round((1.0 - alpha) * bins * (n + 1), 6))
    return float(ordered[j - 1]) if j <= ordered.size else math.inf


def joint_quantile(scores: Float, alpha: float, scale: Float | None = None) -> Float:
    """q (bin,) of a band that covers all bins of a planet at once: max over bins of score/scale, times scale.

    scale (bin,): from planets outside `scores`; None: 1.

    >>> scores = np.stack([np.arange(1.0, 20.0), np.full(19, 0.5)], axis=1)
    >>> joint_quantile(scores, alpha=0.1)
    array([18., 18.])
    """
    _check(scores)
    scale = np.ones(scores.shape[1]) if scale is None else scale
    worst = (scores / scale).max(axis=1, keepdims=True)
    return np.asarray(per_bin_quantile(worst, alpha)[0] * scale)


def mondrian_quantile(scores: Float, groups: NDArray[np.int64], n_groups: int, alpha: float) -> Float:
    """q (group, bin): per-bin quantiles of each group of planets; groups (planet,) in 0..n_groups-1. An empty group: inf.

    >>> mondrian_quantile(np.array([[1.0], [2.0], [30.0], [40.0]]), np.array([0, 0, 1, 1]), 3, alpha=0.5)
    array([[ 2.],
           [40.],
           [inf]])
    """
    _check(scores)
    out = np.full((n_groups, scores.shape[1]), np.inf)
    for g in range(n_groups):
        if (groups == g).any():
            out[g] = per_bin_quantile(scores[groups == g], alpha)
    return out


def _check(scores: Float) -> None:
    if scores.ndim != 2 or scores.shape[0] == 0:
        raise DataError(f"scores have the shape {scores.shape}: expected (planets, channels) with one planet at least")
    if np.isnan(scores).any():
        raise DataError("scores hold NaN: mu, sigma and truth must be finite")
