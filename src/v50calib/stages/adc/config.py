"""Config of the ADC stage."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from v50calib.stages.config import FrameStageConfig, QualityChecks, Section, needs_its_key

MapMethod = Literal["none", "global", "per_channel", "per_pixel", "auto"]
#: the key that each method reads
_NEEDS = {"global": "value", "per_channel": "table_path", "per_pixel": "map_path"}


class AdcIo(Section):
    input_key: Literal["raw_frames"] = "raw_frames"
    output_key: Literal["adc_corrected"] = "adc_corrected"


class Detector(Section):
    bit_depth_in: int = Field(default=16, ge=8, le=16)
    conversion_gain_e_per_adu: float | None = Field(default=None, gt=0)
    saturation_level_e: float | None = Field(default=None, gt=0)


class OffsetCorrection(Section):
    method: MapMethod = "auto"
    value: float | None = None
    table_path: str | None = None
    map_path: str | None = None
    offset_sign: Literal[1, -1] = 1

    @model_validator(mode="after")
    def _has_its_key(self) -> OffsetCorrection:
        needs_its_key(self, _NEEDS)
        return self


class GainCorrection(Section):
    method: MapMethod = "auto"
    value: float | None = Field(default=None, gt=0)
    table_path: str | None = None
    map_path: str | None = None
    renormalize_to_mean_one: bool = False
    epsilon: float = Field(default=1e-6, ge=0)

    @model_validator(mode="after")
    def _has_its_key(self) -> GainCorrection:
        needs_its_key(self, _NEEDS)
        if self.renormalize_to_mean_one and self.method not in ("per_channel", "per_pixel"):
            raise ValueError(
                f"renormalize_to_mean_one goes with method=per_channel or per_pixel, not {self.method}: one number has no mean"
            )
        return self


class Border(Section):
    top: int = Field(default=4, ge=0)
    bottom: int = Field(default=4, ge=0)
    left: int = Field(default=4, ge=0)
    right: int = Field(default=4, ge=0)


class Robust(Section):
    sigma_clip: float | None = Field(default=3.0, gt=0)
    max_iters: int = Field(default=3, ge=1)


class ReferencePixel(Section):
    use: bool = False
    strategy: Literal["border_mean", "mask_mean", "per_row", "per_col"] = "border_mean"
    mask_path: str | None = None
    border: Border = Border()
    robust: Robust = Robust()

    @model_validator(mode="after")
    def _has_pixels(self) -> ReferencePixel:
        b = self.border
        widths = {"border_mean": b.top + b.bottom + b.left + b.right, "per_row": b.left + b.right, "per_col": b.top + b.bottom}
        if (self.strategy == "mask_mean") != (self.mask_path is not None):
            raise ValueError(f"'mask_path' goes with strategy=mask_mean, and strategy is {self.strategy}: give both or neither")
        if widths.get(self.strategy, 1) == 0:
            raise ValueError(f"strategy={self.strategy} finds no reference pixels: all its border widths are 0")
        return self


class FpnCleanup(Section):
    enabled: bool = False
    mode: Literal["col_median", "row_median", "both"] = "col_median"
    valid_mask_path: str | None = None


class Linearization(Section):
    method: Literal["none", "lut", "poly"] = "none"
    lut_path: str | None = None
    lut_interp: Literal["linear", "pchip"] = "linear"
    poly_coeffs: list[float] | None = Field(default=None, min_length=2, max_length=12)
    poly_norm_adu: float = Field(default=1.0, gt=0)

    @model_validator(mode="after")
    def _has_its_key(self) -> Linearization:
        needs_its_key(self, {"lut": "lut_path", "poly": "poly_coeffs"})
        return self


class Clip(Section):
    min: float | None = None
    max: float | None = None

    @model_validator(mode="after")
    def _ordered(self) -> Clip:
        if self.min is not None and self.max is not None and self.min >= self.max:
            raise ValueError(f"min={self.min} must be smaller than max={self.max}")
        return self


class HistogramAfter(Section):
    bins: int = Field(default=64, ge=2)
    max_zero_frac: float = Field(default=0.01, ge=0, le=1)
    max_saturated_frac: float = Field(default=0.01, ge=0, le=1)


class AdcQuality(QualityChecks):
    histogram_after: HistogramAfter = HistogramAfter()


class AdcConfig(FrameStageConfig):
    io: AdcIo = AdcIo()
    detector: Detector = Detector()
    offset_correction: OffsetCorrection = OffsetCorrection()
    gain_correction: GainCorrection = GainCorrection()
    reference_pixel: ReferencePixel = ReferencePixel()
    fpn_cleanup: FpnCleanup = FpnCleanup()
    linearization: Linearization = Linearization()
    clip: Clip = Clip()
    units_out: Literal["ADU", "e"] = "e"
    quality_checks: AdcQuality = AdcQuality()

    @model_validator(mode="after")
    def _one_gain(self) -> AdcConfig:
        if self.detector.conversion_gain_e_per_adu is not None and self.gain_correction.method != "auto":
            raise ValueError(
                f"detector.conversion_gain_e_per_adu={self.detector.conversion_gain_e_per_adu} and gain_correction.method="
                f"{self.gain_correction.method} both state the gain: give one (gain = 1 / conversion gain)"
            )
        return self
