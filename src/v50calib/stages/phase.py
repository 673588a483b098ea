"""Phase: fold on the ephemeris, in/out of transit windows, bins."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from v50calib.dq import DQ
from v50calib.kernels import binned
from v50calib.kernels.series import bin_mean
from v50calib.stages.base import Section, StageConfig
from v50calib.stages.ephemeris import EphemerisConfig
from v50calib.stages.series_base import Ephemeris, Folded, Normalized, Series


class Windows(Section):
    """margin: T14 is widened by this fraction where pairs are called in transit."""

    margin: float = Field(default=0.0, ge=0, le=1)


class Binning(Section):
    nbins: int = Field(default=187, ge=1)
    strategy: Literal["uniform"] = "uniform"
    min_points: int = Field(default=1, ge=1)


class Outliers(Section):
    """Clip about a running level of the same bin, so a transit cannot be clipped."""

    sigma: float = Field(default=6.0, gt=0)
    max_iters: int = Field(default=2, ge=0)
    replace_with: Literal["none", "nan"] = "nan"


class DepthFit(Section):
    """enabled: fit (Rp/Rs)² of every channel with the orbit and limb darkening shared; the white depth is fitted always."""

    enabled: bool = True


class PhaseConfig(StageConfig):
    ephemeris: EphemerisConfig = EphemerisConfig()
    windows: Windows = Windows()
    binning: Binning = Binning()
    outliers: Outliers = Outliers()
    depths: DepthFit = DepthFit()


class Phase:
    """trace_norm (pair, …) -> phase_fold: phase of each pair and the light curve in phase bins.

    Phase is (t - t0)/P, in cycles; without a period (2024) it is (t - t0)/T14. The bins cover the visit. Empty bins: NaN and
    DO_NOT_USE. Variance of a bin: Σ var / n².
    """

    name: ClassVar[str] = "phase"
    input_key: ClassVar[str] = "trace_norm"
    output_key: ClassVar[str] = "phase_fold"

    def __init__(self, config: PhaseConfig) -> None:
        self.config = config

    def apply(self, series: Series, normalized: Normalized, ephemeris: Ephemeris) -> Folded:
        unit = ephemeris.period_h if np.isfinite(ephemeris.period_h) else ephemeris.duration_h
        time = series.time_h
        n_bins = min(self.config.binning.nbins, len(time))
        # bins are cut in time, of which phase is a linear function: a pair on an edge cannot change
        # its bin with the last digit of a fitted mid-transit time
        edges = np.linspace(time[0], time[-1], n_bins + 1)
        index = np.clip(np.searchsorted(edges, time, side="right") - 1, 0, n_bins - 1)
        flux = self._clipped(normalized.flux, index, n_bins)
        mean, count = bin_mean(flux, index, n_bins)
        mean_var, _ = bin_mean(normalized.var, index, n_bins)
        mean_var = mean_var + series.slow_var / np.square(bin_mean(normalized.baseline, index, n_bins)[0])
        enough = count >= self.config.binning.min_points
        return Folded(
            phase=(time - ephemeris.t0_h) / unit,
            in_transit=ephemeris.in_transit(series.time_h, self.config.windows.margin),
            bin_phase=(0.5 * (edges[1:] + edges[:-1]) - ephemeris.t0_h) / unit,
            flux=np.where(enough, mean, np.nan),
            var=np.where(enough, mean_var / np.maximum(count, 1), np.nan),
            count=count.astype(np.int64),
            dq=np.where(enough, np.uint32(0), np.uint32(DQ.DO_NOT_USE)),
        )

    def _clipped(self, flux: Any, index: np.ndarray, n_bins: int) -> Any:
        """Flux with samples far off their own bin's mean set to NaN."""
        cfg = self.config.outliers
        if cfg.replace_with == "none":
            return flux
        out, bins = flux.copy(), index.astype(np.int64)
        for _ in range(cfg.max_iters):
            mean, _ = bin_mean(out, bins, n_bins)
            total, count = np.zeros(out.shape[1]), np.zeros(out.shape[1])
            binned.square_residuals(out, bins, mean, total, count)
            limit = cfg.sigma * np.sqrt(total / np.maximum(count, 1.0))
            if binned.blank_residuals(out, bins, mean, limit) == 0:
                break
        return out
