"""Config of `calib.phase`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from v50calib.stages.config import Io, Section, SeriesQualityChecks, SeriesStageConfig, ordered_windows
from v50calib.stages.phase.ephemeris import EphemerisConfig
from v50calib.stages.phase.limb_darkening import LimbDarkening

_Io = Io[Literal["trace_norm"], Literal["phase_fold"]]


class Fold(Section):
    """From time to phase."""

    enabled: bool = Field(default=True, description="phase is (t - t0)/P; false: hours from mid-transit")
    wrap: bool = Field(default=True, description="phases to [-0.5, 0.5), orbits of one visit stacked")


class Windows(Section):
    """Pairs in and out of transit, in place of those of T14."""

    in_transit: list[list[float]] | None = Field(default=None, description="h from mid-transit, `[[from, to], …]`, instead of T14")
    out_of_transit: list[list[float]] | None = Field(default=None, description="h from mid-transit: the only pairs a baseline is fitted on")
    margin: float = Field(default=0.0, ge=0, le=1, description="widens T14 by this fraction for `in_transit`")

    @field_validator("in_transit", "out_of_transit")
    @classmethod
    def _ordered(cls, value: list[list[float]] | None) -> list[list[float]] | None:
        return None if value is None else ordered_windows(value, "h")


class Binning(Section):
    """The phase bins."""

    nbins: int = Field(default=187, ge=1, description="bins over the whole visit")
    strategy: Literal["uniform", "adaptive", "snr_weighted"] = Field(
        default="uniform", description="`adaptive`: denser about ingress and egress; `snr_weighted`: inverse-variance means"
    )
    min_points: int = Field(default=1, ge=1, description="fewer samples leave the bin empty")


class Outliers(Section):
    """Clip about a running level of the same bin, so a transit cannot be clipped."""

    sigma: float = Field(default=6.0, gt=0, description="clip about the bin's own mean, in standard deviations of the channel's residuals")
    max_iters: int = Field(default=2, ge=0, description="iterations of the clip")
    replace_with: Literal["none", "median", "nan", "interpolate"] = Field(
        default="nan", description="`nan`: out of the bin; `median` of the bin; `interpolate` in time; the last two flag the bin"
    )


class DepthFit(Section):
    """The fit of (Rp/Rs)² with orbit and limb darkening shared by all channels."""

    enabled: bool = Field(default=True, description="depth of every channel; false: white depth only")
    planet: bool = Field(
        default=True, description="at the end of a run, one fit a planet of all its visits and instruments, into RUN_DIR/spectra.zarr"
    )


class PhaseQuality(SeriesQualityChecks):
    """Bounds of the folded curves and of the transit found."""

    max_empty_fraction: float = Field(default=0.1, ge=0, le=1, description="largest share of the phase bins that are empty")
    min_transit_snr: float | None = Field(
        default=None, gt=0, description="smallest signal-to-noise of the transit; null: a visit without a transit passes"
    )


class PhaseConfig(SeriesStageConfig):
    """Mid-transit time, phases, bins and depths."""

    io: _Io = Field(default={}, validate_default=True)
    ephemeris: EphemerisConfig = EphemerisConfig()
    fold: Fold = Fold()
    windows: Windows = Windows()
    binning: Binning = Binning()
    outliers: Outliers = Outliers()
    limb_darkening: LimbDarkening = LimbDarkening()
    depths: DepthFit = DepthFit()
    quality_checks: PhaseQuality = PhaseQuality()
