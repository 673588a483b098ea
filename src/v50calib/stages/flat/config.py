"""Config of `calib.flat`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from v50calib.stages.config import FrameStageConfig, Io, QualityChecks, Section, in_order, needs_its_key

_Io = Io[Literal["dark_corrected"], Literal["flat_corrected"]]


class ClampGain(Section):
    """Limits of 1/flat; a pixel held at one is flagged."""

    min_gain: float | None = Field(default=None, gt=0, description="smallest 1/flat; null: no limit")
    max_gain: float | None = Field(default=None, gt=0, description="largest 1/flat; null: no limit")

    @model_validator(mode="after")
    def _ordered(self) -> ClampGain:
        in_order(self, "min_gain", "max_gain")
        return self


class FlatModel(Section):
    """Where the pixel response comes from."""

    method: Literal["none", "master", "spectral", "hybrid", "auto"] = Field(
        default="auto", description="`auto`: the dataset's flat map; `hybrid`: master times spectral; `none`: 1"
    )
    renormalize_to_mean_one: bool = Field(default=False, description="the mean over usable pixels becomes 1")
    epsilon: float = Field(default=1e-3, ge=0, description="a flat at or below this is no flat: the pixel is flagged and leaves every sum")
    clamp_gain: ClampGain = ClampGain()
    valid_mask_path: str | None = Field(default=None, description="map that is 0 where the flat must not be used")


class SurfaceRobust(Section):
    """Clipping of the surface's fit."""

    sigma_clip: float | None = Field(default=4.0, gt=0, description="residuals in 1.4826·MAD; null: one fit with all pixels")
    max_iters: int = Field(default=3, ge=1, description="iterations of the clip")


class IlluminationNormalization(Section):
    """The lamp's large-scale pattern, divided out of a master flat."""

    enabled: bool = Field(default=False, description="divide it out")
    method: Literal["poly2d", "spline2d", "gaussian"] = Field(default="poly2d", description="surface that stands for the pattern")
    degree: int = Field(default=2, ge=0, le=8, description="degree of `poly2d`")
    knots: int = Field(default=2, ge=1, le=16, description="inner knots along each axis, of `spline2d`")
    sigma_px: float = Field(default=8.0, gt=0, description="px, width of `gaussian`")
    robust: SurfaceRobust = SurfaceRobust()


class MasterFlat(Section):
    """A master flat, with method=master or hybrid."""

    path: str | None = Field(default=None, description="response, (y, x)")
    illumination_normalization: IlluminationNormalization = IlluminationNormalization()


class Spectral(Section):
    """A spectral flat, with method=spectral or hybrid."""

    path: str | None = Field(default=None, description="one value for each column or channel, or (y, x)")
    channel_remap: list[int] | None = Field(default=None, description="channel of each detector column")
    spectral_smoothing: int = Field(default=1, ge=1, description="columns in a running mean; 1: none")
    per_channel_norm: bool = Field(default=False, description="a map: each column's mean becomes 1; a list: its mean becomes 1")


class IlluminationCorrection(Section):
    """A surface fitted to each frame on pixels without the source, and divided out."""

    enabled: bool = Field(default=False, description="divide every frame by its surface")
    degree: int = Field(default=1, ge=1, le=4, description="total degree of the surface's polynomial in y and x")
    mask_path: str | None = Field(default=None, description="map that is nonzero on pixels without the source")
    min_level_e: float = Field(default=100.0, gt=0, description="e-; fainter frames are left as they are")

    @model_validator(mode="after")
    def _needs_its_pixels(self) -> IlluminationCorrection:
        if self.enabled and self.mask_path is None:
            raise ValueError(
                "an illumination pattern can only be seen on pixels without the source: give mask_path, a map that is nonzero on them"
            )
        return self


class FlatQuality(QualityChecks):
    """Bounds of the flat and of the frames."""

    max_unusable_fraction: float = Field(default=0.05, ge=0, le=1, description="largest share of the detector's pixels without a flat")


class FlatConfig(FrameStageConfig):
    """Division by the pixel response."""

    io: _Io = Field(default={}, validate_default=True)
    flat_model: FlatModel = FlatModel()
    master: MasterFlat = MasterFlat()
    spectral: Spectral = Spectral()
    illumination_correction: IlluminationCorrection = IlluminationCorrection()
    quality_checks: FlatQuality = FlatQuality()

    @model_validator(mode="after")
    def _has_its_files(self) -> FlatConfig:
        needs_its_key(self, "flat_model.method", {"master.path": ("master", "hybrid"), "spectral.path": ("spectral", "hybrid")})
        return self
