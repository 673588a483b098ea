"""Phase: fold on the ephemeris, in/out of transit windows, bins."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from v50calib.dq import DQ
from v50calib.kernels import binned, folding
from v50calib.kernels.arrays import Float, Mask, Real
from v50calib.kernels.series import bin_mean, interpolate_in_time
from v50calib.stages.phase.config import PhaseConfig
from v50calib.stages.series.curves import Ephemeris, Folded, Normalized, Series

#: adaptive bins are this many times denser about ingress and egress, which they cover with half an ingress to spare
DENSER = 4.0


def within(windows: list[list[float]], since_h: Float) -> Mask:
    """Samples inside any of the windows, both in hours from mid-transit."""
    out = np.zeros(since_h.shape, bool)
    for low, high in windows:
        out |= (since_h >= low) & (since_h <= high)
    return out


class Phase:
    """trace_norm (pair, wavelength) -> phase_fold (phase_bin, wavelength): phase of each pair and the light curve in phase bins.

    Phase is (t - t0)/P, in cycles; without a period (2024) it is (t - t0)/T14. The bins cover the visit.

    Variance of a bin: Σ var / n²; weighted by inverse variance: 1 / Σ (1/var); and what neighbours share of the background.
    Flags: DO_NOT_USE where a bin has fewer than min_points pairs (it is NaN), FLUX_ESTIMATED where samples in it were replaced.
    Raises nothing.
    """

    name: ClassVar[str] = "phase"
    input_key: ClassVar[str] = "trace_norm"
    output_key: ClassVar[str] = "phase_fold"

    def __init__(self, config: PhaseConfig) -> None:
        self.config = config

    def allowed(self, series: Series, ephemeris: Ephemeris) -> Mask | None:
        """Pairs (pair,) that windows.out_of_transit allows a baseline to be fitted on; None: not restricted."""
        windows = self.config.windows.out_of_transit
        if windows is None or not ephemeris.found:
            return None
        return within(windows, ephemeris.since_transit(series.time_h))

    def apply(self, series: Series, normalized: Normalized, ephemeris: Ephemeris) -> Folded:
        time, binning = series.time_h, self.config.binning
        n_bins = min(binning.nbins, len(time))
        position, middle = self._position(time, ephemeris)
        edges = self._edges(position, middle, ephemeris, n_bins)
        index = np.clip(np.searchsorted(edges, position, side="right") - 1, 0, n_bins - 1)
        flux, replaced = self._clipped(normalized.flux, index, n_bins)
        if series.used is not None:
            flux = np.where(series.used[:, None], flux, np.nan)
        extra = series.slow_var / np.square(bin_mean(normalized.baseline, index, n_bins)[0])
        mean, variance, count = self._mean(flux, normalized.var, extra, index, n_bins)
        if normalized.trend_var is not None:
            # a trend's error is that of all pairs of a bin
            variance = variance + np.square(mean) * bin_mean(normalized.trend_var[:, None], index, n_bins)[0]
        enough = count >= binning.min_points
        dq = np.where(enough, np.uint32(0), np.uint32(DQ.DO_NOT_USE))
        if replaced is not None:
            dq |= np.where(bin_mean(replaced.astype(np.float32), index, n_bins)[0] > 0, np.uint32(DQ.FLUX_ESTIMATED), np.uint32(0))
        return Folded(
            phase=self._phase(time, ephemeris),
            in_transit=self._in_transit(time, ephemeris),
            bin_phase=(0.5 * (edges[1:] + edges[:-1]) - middle) / self._unit(ephemeris),
            flux=np.where(enough, mean, np.nan),
            var=np.where(enough, variance, np.nan),
            count=count.astype(np.int64),
            dq=dq,
        )

    def _unit(self, ephemeris: Ephemeris) -> float:
        """Hours in a unit of phase."""
        if not self.config.fold.enabled:
            return 1.0
        return ephemeris.period_h if np.isfinite(ephemeris.period_h) else ephemeris.duration_h

    def _wraps(self, ephemeris: Ephemeris) -> bool:
        return self.config.fold.enabled and self.config.fold.wrap and bool(np.isfinite(ephemeris.period_h))

    def _stacked(self, time: Float, ephemeris: Ephemeris) -> bool:
        """A visit that reaches beyond half an orbit from mid-transit has parts that fall on one another."""
        return self._wraps(ephemeris) and bool(np.abs(time - ephemeris.t0_h).max() > 0.5 * ephemeris.period_h)

    def _phase(self, time: Float, ephemeris: Ephemeris) -> Float:
        phase = (time - ephemeris.t0_h) / self._unit(ephemeris)
        return folding.wrapped(phase) if self._stacked(time, ephemeris) else phase

    def _position(self, time: Float, ephemeris: Ephemeris) -> tuple[Float, float]:
        """What the bins are cut in [h], and where mid-transit is in it. Time, of which phase is a linear function: a
        pair on an edge cannot change its bin with the last digit of a fitted mid-transit time. Hours from
        mid-transit where orbits are stacked."""
        return (ephemeris.since_transit(time), 0.0) if self._stacked(time, ephemeris) else (time, ephemeris.t0_h)

    def _edges(self, position: Float, middle: float, ephemeris: Ephemeris, n_bins: int) -> Float:
        low, high = float(position.min()), float(position.max())
        if self.config.binning.strategy != "adaptive" or not ephemeris.found:
            return np.linspace(low, high, n_bins + 1)
        half, reach = 0.5 * ephemeris.duration_h, ephemeris.ingress_h
        contacts = [(middle - half - 0.5 * reach, middle - half + 1.5 * reach), (middle + half - 1.5 * reach, middle + half + 0.5 * reach)]
        return folding.dense_edges(low, high, n_bins, contacts, DENSER)

    def _in_transit(self, time: Float, ephemeris: Ephemeris) -> Mask:
        windows = self.config.windows.in_transit
        if windows is None or not ephemeris.found:
            return ephemeris.in_transit(time, self.config.windows.margin)
        return within(windows, ephemeris.since_transit(time))

    def _mean(self, flux: Real, var: Real, extra: Float, index: NDArray[np.int64], n_bins: int) -> tuple[Float, Float, Float]:
        """Mean, variance and number of the finite samples of each bin; extra: variance that neighbours share, per pair."""
        if self.config.binning.strategy != "snr_weighted":
            mean, count = bin_mean(flux, index, n_bins)
            mean_var, _ = bin_mean(var, index, n_bins)
            return mean, (mean_var + extra) / np.maximum(count, 1), count
        good = np.isfinite(flux) & (var > 0)
        weight = np.where(good, 1.0 / np.where(good, var, 1.0), np.nan)
        sum_weight, count = bin_mean(weight, index, n_bins)
        mean, _ = bin_mean(weight * flux, index, n_bins)
        n = np.maximum(count, 1)
        return mean / sum_weight, 1.0 / (sum_weight * n) + extra / n, count

    def _clipped(self, flux: Real, index: NDArray[np.int64], n_bins: int) -> tuple[Real, Mask | None]:
        """Flux with samples far off their own bin's mean set to NaN, or replaced; the samples replaced."""
        cfg = self.config.outliers
        if cfg.replace_with == "none":
            return flux, None
        out: Any = flux.copy()
        bins = index.astype(np.int64)
        for _ in range(cfg.max_iters):
            mean, _ = bin_mean(out, bins, n_bins)
            total, count = np.zeros(out.shape[1]), np.zeros(out.shape[1])
            binned.square_residuals(out, bins, mean, total, count)
            limit = cfg.sigma * np.sqrt(total / np.maximum(count, 1.0))
            if binned.blank_residuals(out, bins, mean, limit) == 0:
                break
        if cfg.replace_with == "nan":
            return out, None
        bad = np.isnan(out) & np.isfinite(flux)
        if not bad.any():
            return flux, bad
        return (interpolate_in_time(out, bad) if cfg.replace_with == "interpolate" else _with_medians(out, bad, bins)), bad


def _with_medians(values: Real, bad: Mask, bins: NDArray[np.int64]) -> Real:
    """Bad samples (time, channel) replaced by the median of the good ones in their bin."""
    out = values.copy()
    for i, c in np.argwhere(bad):
        out[i, c] = np.nanmedian(values[bins == bins[i], c])
    return out
