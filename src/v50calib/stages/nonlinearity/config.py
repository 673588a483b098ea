"""Config of `calib.nonlinearity`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from v50calib.stages.config import FrameStageConfig, Io, needs_its_key

_Io = Io[Literal["adc_corrected"], Literal["adc_corrected"]]


class NonlinearityConfig(FrameStageConfig):
    """The detector's response: measured to true electrons."""

    io: _Io = Field(default={}, validate_default=True)
    method: Literal["none", "lut", "poly", "per_pixel", "auto"] = Field(
        default="auto", description="`auto`: the dataset's linear_corr; `poly`: one for all pixels"
    )
    lut_path: str | None = Field(default=None, description="(n, 2): e- in, e- out, both increasing, with method=lut")
    lut_interp: Literal["linear", "pchip"] = Field(default="linear", description="straight lines, or a monotonic cubic")
    poly_coeffs: list[float] | None = Field(
        default=None, min_length=2, max_length=12, description="ascending, for all pixels, with method=poly"
    )
    map_path: str | None = Field(default=None, description="(terms, y, x) ascending, with method=per_pixel")
    valid_range: list[float] | None = Field(
        default=None, min_length=2, max_length=2, description="[lowest, highest] e-; beyond, the correction at the range's end is kept"
    )
    max_correction_frac: float | None = Field(
        default=None, gt=0, description="pixels that correct some level by more, or do not rise, get identity and NO_LIN_CORR"
    )

    @model_validator(mode="after")
    def _has_its_key(self) -> NonlinearityConfig:
        needs_its_key(self, "method", {"lut_path": ("lut",), "poly_coeffs": ("poly",), "map_path": ("per_pixel",)})
        if self.valid_range is not None and not self.valid_range[0] < self.valid_range[1]:
            raise ValueError(f"valid_range {self.valid_range} is [lowest, highest] in e-: the first must be smaller")
        return self

    @property
    def corrects(self) -> bool:
        """Whether the method changes anything."""
        return self.method != "none"
