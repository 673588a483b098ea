"""White light curves, bins of time that fits work on, and the linear terms of a baseline."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from v50calib.kernels.arrays import Float, Mask, Real
from v50calib.kernels.series import bin_mean


class TimeBins:
    """Equal bins of time that a fit works on; empty ones are left out.

    time_h (bins,) mean time, count (bins,) samples. Pairs outside `used` (pair,) take no part. width: how long [h] the light of a bin
    lasts, that of an even spread with the pairs' own scatter about the middle of their bin: n pairs that follow each other closely last
    the bin's length, a single pair of a thinned visit next to nothing, however far the next one is.

    >>> close, far = TimeBins(np.linspace(0.0, 7.5, 4000), 200), TimeBins(np.linspace(0.0, 7.5, 50), 200)
    >>> round(close.width, 4), round(far.width, 4)
    (0.0375, 0.0)
    """

    def __init__(self, time_h: Float, n_bins: int, used: Mask | None = None) -> None:
        n_bins = min(n_bins, len(time_h))
        edges = np.linspace(time_h[0], time_h[-1], n_bins + 1)
        self._n = n_bins
        self._index = np.clip(np.searchsorted(edges, time_h, side="right") - 1, 0, n_bins - 1)
        if used is not None:
            self._index = np.where(used, self._index, -1)
        count = np.bincount(self._index[self._index >= 0], minlength=n_bins).astype(np.float64)
        self._full = count > 0
        self.count = count[self._full]
        self._last: tuple[Real, Float] | None = None
        self.time_h = self.mean(time_h[:, None])[:, 0]
        own = self._index >= 0
        middle = np.zeros(n_bins)
        middle[self._full] = self.time_h
        off = time_h[own] - middle[self._index[own]]
        self.width = float(np.sqrt(12.0 * np.mean(np.square(off)))) if off.size else 0.0

    def mean(self, values: Real) -> Float:
        """Mean of (time, columns) values per bin, (bins, columns)."""
        return bin_mean(values, self._index, self._n)[0][self._full]

    def mean_of_regressors(self, values: Real) -> Float:
        """As `mean`, kept: baselines of different degrees in time share their regressors."""
        if self._last is None or self._last[0] is not values:
            self._last = (values, self.mean(values))
        return self._last[1]

    def mean_and_count(self, values: Real) -> tuple[Float, Float]:
        """Mean and number of the finite samples of (time, columns) values per bin, (bins, columns) each."""
        mean, count = bin_mean(values, self._index, self._n)
        return mean[self._full], count[self._full]


@dataclass(frozen=True)
class BaselineModel:
    """What a light curve does beside the transit, as linear terms.

    time_terms   times (n,) -> (n, terms), the first column constant
    regressors   (pair, k) measured series, pointing for one
    widths       (time terms,) standard deviation of the prior on each time term's coefficient, relative to the level; inf: free;
                 None: all free
    """

    time_terms: Callable[[Float], Float]
    regressors: Float
    widths: Float | None = None

    def precision(self) -> Float | None:
        """(terms,) inverse variance of the prior on each coefficient, relative to the level; None where all are free."""
        if self.widths is None:
            return None
        return np.concatenate([1.0 / np.square(self.widths), np.zeros(self.regressors.shape[1])])

    def at_pairs(self, time_h: Float) -> Float:
        """Design (pair, terms)."""
        return np.concatenate([self.time_terms(time_h), self.regressors], axis=1)

    def in_bins(self, bins: TimeBins) -> Float:
        """Design (bins, terms). Drift inside a bin is part of the mean of its squares: the regressors are averaged,
        not recomputed."""
        return np.concatenate([self.time_terms(bins.time_h), bins.mean_of_regressors(self.regressors)], axis=1)


def powers(degree: int) -> Callable[[Float], Float]:
    """Legendre polynomials 0 … degree of time scaled to [-1, 1] over the times given."""

    def terms(time_h: Float) -> Float:
        scaled = 2.0 * (time_h - time_h[0]) / max(float(np.ptp(time_h)), 1e-12) - 1.0
        return np.asarray(np.polynomial.legendre.legvander(scaled, degree))

    return terms
