"""Config of `calib.trace`."""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field, field_validator, model_validator

from v50calib.errors import ConfigError
from v50calib.kernels.arrays import Float, Mask
from v50calib.stages.config import InstrumentWord, Io, Section, SeriesQualityChecks, SeriesStageConfig, ordered_windows
from v50calib.stages.trace.along_time import AlongTime
from v50calib.stages.trace.along_wavelength import AlongWavelength

_Io = Io[Literal["photometry"], Literal["trace_norm"]]


class TraceInstrument(Section):
    """The instrument, as photometry has it."""

    name: InstrumentWord = Field(default="all", description="as calib.photometry.instrument.name")
    per_channel: bool | None = Field(default=None, description="null, or what photometry does: channels are summed there")


class Weights(Section):
    """Weights of channels."""

    use_variance: bool = Field(default=True, description="fits along wavelength weight channels by the variance of their level")


class TimeExclude(Section):
    """Pairs that are left out."""

    windows: list[list[float]] = Field(default=[], description="h since the start, `[[from, to], …]`: no fit and no bin uses these pairs")

    @field_validator("windows")
    @classmethod
    def _ordered(cls, value: list[list[float]]) -> list[list[float]]:
        return ordered_windows(value, "h")


class TraceQuality(SeriesQualityChecks):
    """Bounds of the normalized curves."""

    max_noise_over_limit: float = Field(
        default=2.0, gt=0, description="largest white scatter out of transit over photon, dark, background and read noise"
    )
    min_out_of_transit_fraction: float = Field(default=0.2, ge=0, le=1, description="smallest share of the pairs that are out of transit")


class TraceConfig(SeriesStageConfig):
    """Each channel over its out-of-transit level, with a slow trend in time and in pointing."""

    io: _Io = Field(default={}, validate_default=True)
    instrument: TraceInstrument = TraceInstrument()
    along_wavelength: AlongWavelength = AlongWavelength()
    along_time: AlongTime = AlongTime()
    weights: Weights = Weights()
    exclude: TimeExclude = TimeExclude()
    quality_checks: TraceQuality = TraceQuality()

    @model_validator(mode="after")
    def _common_mode_needs_channels(self) -> TraceConfig:
        chosen = self.along_time.decorrelate
        if self.instrument.name == "FGS1" and (chosen.common_mode or chosen.pca_components):
            raise ValueError(
                "along_time.decorrelate.common_mode and pca_components compare channels, and FGS1 has one: leave them off, or use AIRS"
            )
        return self

    @property
    def vectors(self) -> tuple[str, ...]:
        use = self.along_time.enabled and self.along_time.decorrelate.enabled
        return tuple(dict.fromkeys(self.along_time.decorrelate.vectors)) if use else ()

    @property
    def additive(self) -> bool:
        return self.along_time.target == "subtract"

    def used_pairs(self, time_h: Float) -> Mask | None:
        """Pairs outside the excluded windows; None where there is none. Raises ConfigError if hardly any is left."""
        if not self.exclude.windows:
            return None
        out = np.zeros(time_h.shape, bool)
        for low, high in self.exclude.windows:
            out |= (time_h >= low) & (time_h <= high)
        if (~out).sum() < 10:
            raise ConfigError(
                f"calib.trace.exclude.windows leaves {int((~out).sum())} of {out.size} pairs: exclude less (windows are in h)"
            )
        return ~out
