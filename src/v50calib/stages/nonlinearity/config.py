"""Config of `calib.nonlinearity`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from v50calib.stages.config import FrameStageConfig, Section, needs_its_key


class NonlinearityIo(Section):
    input_key: Literal["adc_corrected"] = "adc_corrected"
    output_key: Literal["adc_corrected"] = "adc_corrected"


class NonlinearityConfig(FrameStageConfig):
    io: NonlinearityIo = NonlinearityIo()
    method: Literal["none", "lut", "poly", "per_pixel", "auto"] = "auto"
    lut_path: str | None = None
    lut_interp: Literal["linear", "pchip"] = "linear"
    poly_coeffs: list[float] | None = Field(default=None, min_length=2, max_length=12)
    map_path: str | None = None
    valid_range: list[float] | None = Field(default=None, min_length=2, max_length=2)
    max_correction_frac: float | None = Field(default=None, gt=0)

    @model_validator(mode="after")
    def _has_its_key(self) -> NonlinearityConfig:
        needs_its_key(self, {"lut": "lut_path", "poly": "poly_coeffs", "per_pixel": "map_path"})
        if self.valid_range is not None and not self.valid_range[0] < self.valid_range[1]:
            raise ValueError(f"valid_range {self.valid_range} is [lowest, highest] in e-: the first must be smaller")
        return self
