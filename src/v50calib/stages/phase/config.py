"""Config of `calib.phase`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from v50calib.stages.config import QualityChecks, Section, SeriesStageConfig, ordered_windows
from v50calib.stages.phase.ephemeris import EphemerisConfig


class Fold(Section):
    """enabled: phase is (t - t0)/P; false: hours since mid-transit. wrap: phases to [-0.5, 0.5), orbits stacked."""

    enabled: bool = True
    wrap: bool = True


class Windows(Section):
    """margin: T14 is widened by this fraction where pairs are called in transit.

    in_transit, out_of_transit: windows [[from, to], …] in hours from mid-transit, instead of T14 and of all the rest.
    """

    in_transit: list[list[float]] | None = None
    out_of_transit: list[list[float]] | None = None
    margin: float = Field(default=0.0, ge=0, le=1)

    @field_validator("in_transit", "out_of_transit")
    @classmethod
    def _ordered(cls, value: list[list[float]] | None) -> list[list[float]] | None:
        return None if value is None else ordered_windows(value, "h")


class Binning(Section):
    """adaptive: denser about ingress and egress; snr_weighted: inverse-variance mean in equal bins."""

    nbins: int = Field(default=187, ge=1)
    strategy: Literal["uniform", "adaptive", "snr_weighted"] = "uniform"
    min_points: int = Field(default=1, ge=1)


class Outliers(Section):
    """Clip about a running level of the same bin, so a transit cannot be clipped."""

    sigma: float = Field(default=6.0, gt=0)
    max_iters: int = Field(default=2, ge=0)
    replace_with: Literal["none", "median", "nan", "interpolate"] = "nan"


class DepthFit(Section):
    """enabled: fit (Rp/Rs)² of every channel with the orbit and limb darkening shared; the white depth is fitted always."""

    enabled: bool = True


class PhaseIO(Section):
    """Variables that the stage reads and writes."""

    input_key: Literal["trace_norm"] = "trace_norm"
    output_key: Literal["phase_fold"] = "phase_fold"


class PhaseQuality(QualityChecks):
    """Bounds of the folded curves and of the transit found; null: any, or none at all."""

    max_nonfinite_fraction: float = Field(default=0.05, ge=0, le=1)
    max_empty_fraction: float = Field(default=0.1, ge=0, le=1)
    min_transit_snr: float | None = Field(default=None, gt=0)


class PhaseConfig(SeriesStageConfig):
    io: PhaseIO = PhaseIO()
    ephemeris: EphemerisConfig = EphemerisConfig()
    fold: Fold = Fold()
    windows: Windows = Windows()
    binning: Binning = Binning()
    outliers: Outliers = Outliers()
    depths: DepthFit = DepthFit()
    quality_checks: PhaseQuality = PhaseQuality()
