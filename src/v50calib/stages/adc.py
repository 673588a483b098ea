"""ADC: raw codes to electrons, ``e = ADU / gain + offset``; saturation and A/D-floor flags."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field, model_validator

from v50calib.dq import DQ
from v50calib.errors import ConfigError
from v50calib.kernels.pixelwise import adu_to_electrons, photon_variance
from v50calib.stages.base import PixelPolynomial, Section, StageConfig, Tile, VisitState


class Detector(Section):
    bit_depth_in: int = Field(default=16, ge=8, le=16)
    saturation_level_e: float | None = Field(default=None, gt=0)


class OffsetCorrection(Section):
    method: Literal["none", "global", "auto"] = "auto"
    value: float | None = None
    offset_sign: Literal[1, -1] = 1

    @model_validator(mode="after")
    def _global_needs_value(self) -> OffsetCorrection:
        if (self.method == "global") != (self.value is not None):
            raise ValueError("offset_correction.value [e-] goes with method=global: give both or neither")
        return self


class GainCorrection(Section):
    method: Literal["none", "global", "auto"] = "auto"
    value: float | None = Field(default=None, gt=0)

    @model_validator(mode="after")
    def _global_needs_value(self) -> GainCorrection:
        if (self.method == "global") != (self.value is not None):
            raise ValueError("gain_correction.value [ADU/e-] goes with method=global: give both or neither")
        return self


class AdcConfig(StageConfig):
    detector: Detector = Detector()
    offset_correction: OffsetCorrection = OffsetCorrection()
    gain_correction: GainCorrection = GainCorrection()
    units_out: Literal["e"] = "e"


@dataclass(frozen=True)
class AdcConstants:
    gain: float
    offset: float
    saturation_adu: int
    floor_adu: int
    read_variance: np.ndarray


class Adc:
    """raw_frames [ADU] -> adc_corrected [e-].

    Sets SATURATED where the code is at the converter's full scale or above `saturation_level_e`, AD_FLOOR
    where it is 0. Variances: photon ``max(e, 0)``, read noise ``read²`` of one read.
    """

    name: ClassVar[str] = "adc"
    input_key: ClassVar[str] = "raw_frames"
    output_key: ClassVar[str] = "adc_corrected"

    def __init__(self, config: AdcConfig) -> None:
        self.config = config

    def prepare(self, state: VisitState) -> AdcConstants:
        cfg, ref = self.config, state.reference
        gain = {"none": 1.0, "global": cfg.gain_correction.value, "auto": ref.adc_gain}[cfg.gain_correction.method]
        offset = {"none": 0.0, "global": cfg.offset_correction.value, "auto": ref.adc_offset}[cfg.offset_correction.method]
        if gain is None or not gain > 0:
            raise ConfigError(
                f"ADC gain of {state.instrument} is {gain}: it must be positive; check adc_info.csv or give calib.adc.gain_correction.value"
            )
        offset = float(offset or 0.0) * cfg.offset_correction.offset_sign
        full_scale = 2 ** min(cfg.detector.bit_depth_in, state.instrument.bit_depth) - 1
        level = cfg.detector.saturation_level_e
        saturation = full_scale if level is None else min(full_scale, int(np.ceil((level - offset) * gain)))
        ny, nx = ref.dark.shape
        state.folded = PixelPolynomial(coef=np.stack([np.full((ny, nx), offset), np.full((ny, nx), 1.0 / gain)]), rate=np.zeros((ny, nx)))
        return AdcConstants(gain, offset, saturation, 0, np.square(ref.read))

    def apply(self, tile: Tile, constants: AdcConstants) -> Tile:
        codes = tile.values
        electrons = adu_to_electrons(codes, constants.gain, constants.offset)
        flags = np.where(codes >= constants.saturation_adu, np.uint8(DQ.SATURATED), np.uint8(0))
        flags |= np.where(codes <= constants.floor_adu, np.uint8(DQ.AD_FLOOR), np.uint8(0))
        return Tile(
            values=electrons,
            exposure_s=tile.exposure_s,
            var_poisson=photon_variance(electrons),
            var_rnoise=np.broadcast_to(constants.read_variance, electrons.shape),
            frame_dq=tile.frame_dq | flags,
        )
