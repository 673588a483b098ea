"""Config of `calib.adc`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from v50calib.stages.config import FrameStageConfig, Io, QualityChecks, Section, in_order, needs_its_key

_Io = Io[Literal["raw_frames"], Literal["adc_corrected"]]
MapMethod = Literal["none", "global", "per_channel", "per_pixel", "auto"]
#: the key that each method reads
_NEEDS = {"value": ("global",), "table_path": ("per_channel",), "map_path": ("per_pixel",)}


class Detector(Section):
    """The converter."""

    bit_depth_in: int = Field(
        default=16, ge=8, le=16, description="bits of the converter, at most the detector's own; its full scale is saturation"
    )
    conversion_gain_e_per_adu: float | None = Field(default=None, gt=0, description="e-/ADU, in place of a gain: e = ADU · g + offset")
    saturation_level_e: float | None = Field(default=None, gt=0, description="e-; null: the converter's full scale")
    mask_saturating: bool = Field(
        default=True, description="a pixel that saturates in the visit's sample pairs is masked for all of it, where light curves are made"
    )


class OffsetCorrection(Section):
    """The offset in e = ADU / gain + offset."""

    method: MapMethod = Field(
        default="auto", description="`auto`: the dataset's; `global`: `value`; `per_channel`, `per_pixel`: from files; `none`: 0"
    )
    value: float | None = Field(default=None, description="e-, with method=global")
    table_path: str | None = Field(default=None, description="e-, one for each detector column, with method=per_channel")
    map_path: str | None = Field(default=None, description="e-, (y, x), with method=per_pixel")
    offset_sign: Literal[1, -1] = Field(default=1, description="-1 flips the offset's sign")

    @model_validator(mode="after")
    def _has_its_key(self) -> OffsetCorrection:
        needs_its_key(self, "method", _NEEDS)
        return self


class GainCorrection(Section):
    """The gain in e = ADU / gain + offset."""

    method: MapMethod = Field(
        default="auto", description="`auto`: the dataset's; `global`: `value`; `per_channel`, `per_pixel`: from files; `none`: 1"
    )
    value: float | None = Field(default=None, gt=0, description="ADU/e-, with method=global")
    table_path: str | None = Field(default=None, description="ADU/e-, one for each detector column, with method=per_channel")
    map_path: str | None = Field(default=None, description="ADU/e-, (y, x), with method=per_pixel")
    renormalize_to_mean_one: bool = Field(default=False, description="the map is relative: its mean becomes the dataset's gain")
    epsilon: float = Field(
        default=1e-6, ge=0, description="ADU/e-; a gain at or below this is none: the pixel is flagged and leaves every sum"
    )

    @model_validator(mode="after")
    def _has_its_key(self) -> GainCorrection:
        needs_its_key(self, "method", _NEEDS)
        if self.renormalize_to_mean_one and self.method not in ("per_channel", "per_pixel"):
            raise ValueError(
                f"renormalize_to_mean_one goes with method=per_channel or per_pixel, not {self.method}: one number has no mean"
            )
        return self


class Border(Section):
    """Width of the border of reference pixels on each side."""

    top: int = Field(default=4, ge=0, description="rows at the top")
    bottom: int = Field(default=4, ge=0, description="rows at the bottom")
    left: int = Field(default=4, ge=0, description="columns at the left")
    right: int = Field(default=4, ge=0, description="columns at the right")


class Robust(Section):
    """Clipping of the reference pixels before their mean."""

    sigma_clip: float | None = Field(default=3.0, gt=0, description="about the median, in standard deviations; null: plain mean")
    max_iters: int = Field(default=3, ge=1, description="iterations of the clip")


class ReferencePixel(Section):
    """Subtraction of pixels that see no light."""

    use: bool = Field(default=False, description="subtract them; the challenge's detectors have no reference pixels")
    strategy: Literal["border_mean", "mask_mean", "per_row", "per_col"] = Field(
        default="border_mean", description="one number a frame (`border_mean`, `mask_mean`), a row or a column"
    )
    mask_path: str | None = Field(default=None, description="map that is nonzero on reference pixels, with strategy=mask_mean")
    border: Border = Border()
    robust: Robust = Robust()

    @model_validator(mode="after")
    def _has_pixels(self) -> ReferencePixel:
        b = self.border
        widths = {"border_mean": b.top + b.bottom + b.left + b.right, "per_row": b.left + b.right, "per_col": b.top + b.bottom}
        needs_its_key(self, "strategy", {"mask_path": ("mask_mean",)})
        if widths.get(self.strategy, 1) == 0:
            raise ValueError(f"strategy={self.strategy} finds no reference pixels: all its border widths are 0")
        return self


class FpnCleanup(Section):
    """Removal of fixed-pattern stripes."""

    enabled: bool = Field(default=False, description="subtract the medians of rows or columns from every frame")
    mode: Literal["col_median", "row_median", "both"] = Field(
        default="col_median", description="which medians are subtracted; the frame's own level is kept"
    )
    valid_mask_path: str | None = Field(default=None, description="map that is nonzero where medians may be taken: no source")


class Linearization(Section):
    """Linearity in ADU, for detectors calibrated that way; excludes calib.nonlinearity."""

    method: Literal["none", "lut", "poly"] = Field(default="none", description="correction of the codes, before gain and offset")
    lut_path: str | None = Field(default=None, description="(n, 2): ADU in, ADU out, both increasing, with method=lut")
    lut_interp: Literal["linear", "pchip"] = Field(default="linear", description="straight lines, or a monotonic cubic")
    poly_coeffs: list[float] | None = Field(
        default=None, min_length=2, max_length=12, description="ascending, of ADU / `poly_norm_adu`, with method=poly"
    )
    poly_norm_adu: float = Field(default=1.0, gt=0, description="ADU that the polynomial's variable is divided by")

    @model_validator(mode="after")
    def _has_its_key(self) -> Linearization:
        needs_its_key(self, "method", {"lut_path": ("lut",), "poly_coeffs": ("poly",)})
        return self


class Clip(Section):
    """Limits of the output, which rectify read noise."""

    min: float | None = Field(default=None, description="e-; smaller values become this; null: no limit")
    max: float | None = Field(default=None, description="e-; larger values become this; null: no limit")

    @model_validator(mode="after")
    def _ordered(self) -> Clip:
        in_order(self, "min", "max")
        return self


class HistogramAfter(Section):
    """Histogram of the sample frames after the conversion, and bounds on the codes they came from."""

    bins: int = Field(default=64, ge=2, description="bins of the histogram in the QC record")
    max_zero_frac: float = Field(default=0.01, ge=0, le=1, description="largest share of samples at code 0")
    max_saturated_frac: float = Field(default=0.01, ge=0, le=1, description="largest share of samples at saturation")


class AdcQuality(QualityChecks):
    """Bounds of the converted sample frames."""

    histogram_after: HistogramAfter = HistogramAfter()


class AdcConfig(FrameStageConfig):
    """Raw codes to electrons: e = ADU / gain + offset."""

    enabled: bool = Field(default=True, description="must stay on: later stages take electrons")
    io: _Io = Field(default={}, validate_default=True)
    detector: Detector = Detector()
    offset_correction: OffsetCorrection = OffsetCorrection()
    gain_correction: GainCorrection = GainCorrection()
    reference_pixel: ReferencePixel = ReferencePixel()
    fpn_cleanup: FpnCleanup = FpnCleanup()
    linearization: Linearization = Linearization()
    clip: Clip = Clip()
    units_out: Literal["ADU", "e"] = Field(default="e", description="`ADU`: only where no later stage takes electrons")
    quality_checks: AdcQuality = AdcQuality()

    @model_validator(mode="after")
    def _one_gain(self) -> AdcConfig:
        if self.detector.conversion_gain_e_per_adu is not None and self.gain_correction.method != "auto":
            raise ValueError(
                f"detector.conversion_gain_e_per_adu={self.detector.conversion_gain_e_per_adu} and gain_correction.method="
                f"{self.gain_correction.method} both state the gain: give one (gain = 1 / conversion gain)"
            )
        return self
