"""One grid in time for curves that were sampled differently: bins share what they overlap with."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from v50calib.errors import ConfigError
from v50calib.kernels.arrays import Float
from v50calib.kernels.detrended import Detrended
from v50calib.kernels.products import product

#: bins this much finer than the curves' own are still their own: rounding
_ROUNDING = 0.99


@dataclass(frozen=True)
class Clock:
    """Bins of one width [h] from `first` [h] on.

    >>> clock = Clock(-1.0, 0.5, 4)
    >>> clock.middle
    array([-0.75, -0.25,  0.25,  0.75])
    """

    first: float
    width: float
    n_bins: int

    @property
    def middle(self) -> Float:
        """Middle of each bin (n_bins,), h."""
        return np.asarray(self.first + self.width * (np.arange(self.n_bins) + 0.5), np.float64)

    def overlap(self, time: Float, width: float) -> Float:
        """Which share of each bin of `width` about time (n,) is in each bin of the grid, (n_bins, n).

        >>> Clock(0.0, 1.0, 2).overlap(np.array([0.5, 1.25]), 1.0)
        array([[1.  , 0.25],
               [0.  , 0.75]])
        """
        edges = self.first + self.width * np.arange(self.n_bins + 1)
        low, high = time - width / 2, time + width / 2
        shared = np.minimum(edges[1:, None], high) - np.maximum(edges[:-1, None], low)
        return np.where(shared > 1e-6 * width, shared, 0.0) / width

    def holding(self, time: Float) -> Float:
        """1 where a time (n,) is in a bin of the grid, else 0, (n_bins, n)."""
        bins = np.floor((time - self.first) / self.width)
        return np.asarray(bins == np.arange(self.n_bins)[:, None], np.float64)

    def regrid(self, curves: Detrended, time: Float, width: float, *, whole: bool = False) -> Detrended:
        """Curves in bins about time (n,) as means in the bins of the grid (n_bins, channel), weighted with 1 / noise variance.

        A bin that is shared by two gives each its part of the information, so that the errors of means over many bins stay right. NaN
        where nothing overlaps. whole: bins that are not wider than the grid's go to the one that their mean time is in, unsplit.
        """
        share = self.holding(time) if whole and width <= self.width / _ROUNDING else self.overlap(time, width)
        seen = np.isfinite(curves.flux)
        information = np.where(seen, 1.0 / np.where(seen, curves.noise_var, 1.0), 0.0)
        total = product(share, information)
        known = np.where(total > 0, total, np.nan)

        def mean(values: Float) -> Float:
            return product(share, np.where(seen, values, 0.0) * information) / known

        return Detrended(mean(curves.flux), 1.0 / known, mean(curves.baseline_var))


def sampling(time: Float, width: float) -> float:
    """What one bin about time (n,) stands for [h]: their distance, or the width of a single one.

    >>> sampling(np.array([0.0, 0.5, 1.0, 2.0]), 0.4), sampling(np.zeros(1), 0.4)
    (0.5, 0.4)
    """
    return float(np.median(np.diff(time))) if time.size > 1 else width


def clock_of(first: float, last: float, width: float, n_bins: int | None, edge: float | None = None) -> Clock:
    """The grid from first to last [h] in n_bins, or in bins of the curves' own width, one of which begins at `edge` (default: first).

    Raises ConfigError for more bins than the curves have.

    >>> clock_of(0.0, 1.0, 0.3, None)
    Clock(first=0.0, width=0.3, n_bins=4)
    >>> clock_of(0.0, 1.0, 0.3, 7)
    Traceback (most recent call last):
    v50calib.errors.ConfigError: n_bins = 7 is finer than the light curves, which have bins of 1080 s: ask for 3 at most
    """
    if n_bins is None:
        edge = first if edge is None else edge
        # an edge that is off by a rounding error is no bin
        begin = edge - width * math.ceil((edge - first) / width - 0.01)
        return Clock(begin, width, max(1, math.ceil((last - begin) / width - 0.01)))
    most = max(1, math.floor((last - first) / (width * _ROUNDING)))
    if n_bins < 1 or n_bins > most:
        why = "is no number of bins" if n_bins < 1 else f"is finer than the light curves, which have bins of {3600 * width:.0f} s"
        raise ConfigError(f"n_bins = {n_bins} {why}: ask for {most} at most")
    return Clock(first, (last - first) / n_bins, n_bins)
