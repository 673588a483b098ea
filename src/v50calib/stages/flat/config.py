"""Config of the flat stage."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from v50calib.stages.config import FrameStageConfig, QualityChecks, Section


class FlatIo(Section):
    input_key: Literal["dark_corrected"] = "dark_corrected"
    output_key: Literal["flat_corrected"] = "flat_corrected"


class ClampGain(Section):
    min_gain: float | None = Field(default=None, gt=0)
    max_gain: float | None = Field(default=None, gt=0)

    @model_validator(mode="after")
    def _ordered(self) -> ClampGain:
        if self.min_gain is not None and self.max_gain is not None and self.min_gain >= self.max_gain:
            raise ValueError(f"min_gain={self.min_gain} must be smaller than max_gain={self.max_gain}")
        return self


class FlatModel(Section):
    method: Literal["none", "master", "spectral", "hybrid", "auto"] = "auto"
    renormalize_to_mean_one: bool = False
    epsilon: float = Field(default=1e-3, ge=0)
    clamp_gain: ClampGain = ClampGain()
    valid_mask_path: str | None = None


class SurfaceRobust(Section):
    sigma_clip: float | None = Field(default=4.0, gt=0)
    max_iters: int = Field(default=3, ge=1)


class IlluminationNormalization(Section):
    """degree: of poly2d; knots: inner knots each way of spline2d; sigma_px: of gaussian."""

    enabled: bool = False
    method: Literal["poly2d", "spline2d", "gaussian"] = "poly2d"
    degree: int = Field(default=2, ge=0, le=8)
    knots: int = Field(default=2, ge=1, le=16)
    sigma_px: float = Field(default=8.0, gt=0)
    robust: SurfaceRobust = SurfaceRobust()


class MasterFlat(Section):
    path: str | None = None
    illumination_normalization: IlluminationNormalization = IlluminationNormalization()


class Spectral(Section):
    path: str | None = None
    channel_remap: list[int] | None = None
    spectral_smoothing: int = Field(default=1, ge=1)
    per_channel_norm: bool = False


class IlluminationCorrection(Section):
    enabled: bool = False
    degree: int = Field(default=1, ge=1, le=4)
    mask_path: str | None = None
    min_level_e: float = Field(default=100.0, gt=0)

    @model_validator(mode="after")
    def _needs_its_pixels(self) -> IlluminationCorrection:
        if self.enabled and self.mask_path is None:
            raise ValueError(
                "an illumination pattern can only be seen on pixels without the source: give mask_path, a map that is nonzero on them"
            )
        return self


class FlatQuality(QualityChecks):
    max_unusable_fraction: float = Field(default=0.05, ge=0, le=1)


class FlatConfig(FrameStageConfig):
    io: FlatIo = FlatIo()
    flat_model: FlatModel = FlatModel()
    master: MasterFlat = MasterFlat()
    spectral: Spectral = Spectral()
    illumination_correction: IlluminationCorrection = IlluminationCorrection()
    quality_checks: FlatQuality = FlatQuality()

    @model_validator(mode="after")
    def _has_its_files(self) -> FlatConfig:
        method = self.flat_model.method
        for key, value, takers in (
            ("master.path", self.master.path, ("master", "hybrid")),
            ("spectral.path", self.spectral.path, ("spectral", "hybrid")),
        ):
            if (method in takers) != (value is not None):
                raise ValueError(
                    f"{key} goes with flat_model.method={' or '.join(takers)}, and the method is {method}: give both or neither"
                )
        return self
