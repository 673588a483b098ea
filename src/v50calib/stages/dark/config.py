"""Config of the dark stage."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from v50calib.stages.config import FrameStageConfig, QualityChecks, Section


class DarkIo(Section):
    input_key: Literal["adc_corrected"] = "adc_corrected"
    output_key: Literal["dark_corrected"] = "dark_corrected"


class DarkModel(Section):
    method: Literal["none", "master", "per_pixel_map", "auto"] = "auto"


class Master(Section):
    path: str | None = None
    scale_exposure: bool = True
    reference_exposure_s: float | None = Field(default=None, gt=0)


class PerPixelMap(Section):
    map_path: str | None = None
    units: Literal["e_per_s", "adu_per_s"] = "e_per_s"
    scale_exposure: bool = True


class Temperature(Section):
    enabled: bool | Literal["auto"] = False
    method: Literal["linear", "arrhenius"] = "linear"
    slope_per_K: float = 0.0
    ref_temp_K: float | None = Field(default=None, gt=0)
    activation_energy_eV: float = Field(default=0.6, gt=0)
    temp_key: str = "detector_temperature"


class HotPixelDetection(Section):
    enabled: bool = True
    sigma_threshold: float = Field(default=5.0, gt=0)
    max_iters: int = Field(default=5, ge=1)
    dilate_radius_px: int = Field(default=0, ge=0)


class Replace(Section):
    mode: Literal["none", "median4", "median8", "gaussian3"] = "none"
    max_replace_fraction: float = Field(default=0.05, gt=0, le=1)


class BadPixelHandling(Section):
    """hot_pixels: `flag` keeps a hot pixel (its dark is subtracted); `mask` leaves it out as the host does."""

    bpm_path: str | None = None
    hot_pixel_detection: HotPixelDetection = HotPixelDetection()
    hot_pixels: Literal["flag", "mask"] = "flag"
    replace: Replace = Replace()


class CosmicRays(Section):
    enabled: bool = False
    detector: Literal["temporal", "astroscrappy"] = "temporal"
    sigma_threshold: float = Field(default=20.0, gt=0)
    grow_radius_px: int = Field(default=0, ge=0)
    replace_mode: Literal["interpolate", "median", "none"] = "interpolate"
    max_replace_fraction: float = Field(default=0.01, gt=0, le=1)


class Pedestal(Section):
    enabled: bool = False
    roi: list[int] | None = Field(default=None, min_length=4, max_length=4)
    fixed_value: float | None = None

    @model_validator(mode="after")
    def _one_source(self) -> Pedestal:
        if self.enabled and (self.roi is None) == (self.fixed_value is None):
            raise ValueError("an enabled pedestal takes either roi=[y0,y1,x0,x1] or fixed_value [e-]: give one of them")
        return self


class DarkQuality(QualityChecks):
    max_hot_fraction: float = Field(default=0.05, ge=0, le=1)


class DarkConfig(FrameStageConfig):
    io: DarkIo = DarkIo()
    dark_model: DarkModel = DarkModel()
    master: Master = Master()
    per_pixel_map: PerPixelMap = PerPixelMap()
    temperature: Temperature = Temperature()
    bad_pixel_handling: BadPixelHandling = BadPixelHandling()
    cosmic_rays: CosmicRays = CosmicRays()
    pedestal: Pedestal = Pedestal()
    quality_checks: DarkQuality = DarkQuality()

    @model_validator(mode="after")
    def _has_its_files(self) -> DarkConfig:
        method = self.dark_model.method
        for name, key, value in (
            ("master", "master.path", self.master.path),
            ("per_pixel_map", "per_pixel_map.map_path", self.per_pixel_map.map_path),
        ):
            if (method == name) != (value is not None):
                raise ValueError(f"{key} goes with dark_model.method={name}, and the method is {method}: give both or neither")
        if method == "master" and self.master.scale_exposure and self.master.reference_exposure_s is None:
            raise ValueError("master.scale_exposure needs master.reference_exposure_s, the master dark's own exposure in s: give it")
        if self.temperature.enabled and self.temperature.method == "linear" and self.temperature.slope_per_K == 0.0:
            raise ValueError("temperature.method=linear with slope_per_K=0 changes nothing: give the relative slope of the dark per K")
        return self
