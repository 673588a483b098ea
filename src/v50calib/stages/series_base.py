"""Light curves on their way through the series stages, and the ephemeris they share."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from v50calib.stages.base import Float, Real

Flags = NDArray[np.uint32]


@dataclass(frozen=True)
class Series:
    """Light curves of one visit and instrument.

    time_h (pair,) mid-time of each pair; flux, var (pair, channel); dq (pair, channel) uint32;
    x, y (pair,) pointing, px; wavelength_um (channel,); star: star parameters by name;
    slow_var (channel,) e-²: extra variance of a pair for slow signals (see `LightCurves`).
    """

    time_h: Float
    flux: Real
    var: Real
    dq: Flags
    x: Float
    y: Float
    wavelength_um: Float
    star: dict[str, float]
    slow_var: Float


@dataclass(frozen=True)
class Ephemeris:
    """Where the transit is: mid-time, T14 and period in hours; how it was found; its white-light fit.

    source `given`, `fit` or `none` (no transit was found: everything counts as out of transit).
    """

    t0_h: float
    duration_h: float
    period_h: float
    source: str
    snr: float = np.inf
    t0_sigma_h: float = 0.0
    depth: float = np.nan
    depth_sigma: float = np.nan
    a: float = np.nan
    b: float = np.nan
    u1: float = np.nan
    u2: float = np.nan
    chi2_reduced: float = np.nan

    def in_transit(self, time_h: Float, margin: float) -> NDArray[np.bool_]:
        """Samples within T14·(1 + margin) of mid-transit."""
        if self.source == "none":
            return np.zeros(time_h.shape, bool)
        return np.abs(time_h - self.t0_h) <= 0.5 * self.duration_h * (1.0 + margin)


@dataclass(frozen=True)
class Normalized:
    """Out-of-transit normalized light curves: flux and its variance, the baseline that was divided out (e-)."""

    flux: Real
    var: Real
    baseline: Real
    out_of_transit: NDArray[np.bool_]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Folded:
    """Phase of each pair, and the folded, binned light curve (NaN and DO_NOT_USE in empty bins)."""

    phase: Float
    in_transit: NDArray[np.bool_]
    bin_phase: Float
    flux: Float
    var: Float
    count: NDArray[np.int64]
    dq: Flags
