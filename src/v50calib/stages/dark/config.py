"""Config of `calib.dark`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from v50calib.methods.choice import OPTIONS, Registered, options_of
from v50calib.stages.config import FrameStageConfig, Io, QualityChecks, Section, needs_its_key

_Io = Io[Literal["adc_corrected"], Literal["dark_corrected"]]


class DarkModel(Section):
    """Where the dark current comes from."""

    method: Literal["none", "master", "per_pixel_map", "auto"] = Field(
        default="auto", description="`auto`: the dataset's dark map; `master`, `per_pixel_map`: from files; `none`: 0"
    )


class Master(Section):
    """A master dark frame, with method=master."""

    path: str | None = Field(default=None, description="e- collected in `reference_exposure_s`, (y, x)")
    scale_exposure: bool = Field(default=True, description="false: subtracted from each read as it is, which cancels in CDS")
    reference_exposure_s: float | None = Field(default=None, gt=0, description="s, exposure of the master dark")


class PerPixelMap(Section):
    """A map of dark rates, with method=per_pixel_map."""

    map_path: str | None = Field(default=None, description="dark rate, (y, x)")
    units: Literal["e_per_s", "adu_per_s"] = Field(default="e_per_s", description="units of the map")
    scale_exposure: bool = Field(default=True, description="false: subtracted from each read as it is, which cancels in CDS")


class Temperature(Section):
    """Scaling of the dark rate with the detector's temperature."""

    enabled: bool | Literal["auto"] = Field(default=False, description="`auto`: where the visit has the telemetry")
    method: Literal["linear", "arrhenius"] = Field(
        default="linear", description="`linear`: 1 + slope (T - T0); `arrhenius`: exp(-Ea/k (1/T - 1/T0))"
    )
    slope_per_K: float = Field(default=0.0, description="relative change of the dark per K, with method=linear")
    ref_temp_K: float | None = Field(default=None, gt=0, description="K, temperature that the dark map holds at; null: the visit's median")
    activation_energy_eV: float = Field(default=0.6, gt=0, description="Ea of `arrhenius`")
    temp_key: str = Field(default="detector_temperature", description="temperature [K], a variable on the visit's time axis")


class HotPixelDetection(Section):
    """Outliers of the dark map."""

    enabled: bool = Field(default=True, description="look for hot pixels")
    sigma_threshold: float = Field(
        default=5.0, gt=0, description="clip of the science columns' dark map about its median, in standard deviations"
    )
    max_iters: int = Field(default=5, ge=1, description="iterations of the clip")
    dilate_radius_px: int = Field(default=0, ge=0, description="hot pixels grow by this radius")


class Replace(Section):
    """Filling of bad pixels from their neighbours in each frame."""

    mode: Literal["none", "median4", "median8", "gaussian3"] = Field(
        default="none", description="`none`: photometry fills bad pixels where it sums"
    )
    max_replace_fraction: float = Field(
        default=0.05, gt=0, le=1, description="largest share of the detector that may be filled; more is an error"
    )


class BadPixelHandling(Section):
    """Dead, listed and hot pixels."""

    bpm_path: str | None = Field(default=None, description="map that is nonzero on bad pixels, added to the dead ones")
    hot_pixel_detection: HotPixelDetection = HotPixelDetection()
    hot_pixels: Literal["flag", "mask"] = Field(
        default="flag", description="`flag`: its dark is subtracted and it stays; `mask`: it is left out, as in the challenge's procedure"
    )
    replace: Replace = Replace()


class CosmicRays(Section):
    """Detection and repair of cosmic-ray hits in each frame."""

    enabled: bool = Field(default=False, description="look for cosmic rays")
    detector: Literal["temporal", "astroscrappy"] | Annotated[str, Registered("dark.cosmic_rays")] = Field(
        default="temporal",
        description="`temporal`: against the pixel's neighbours in time; `astroscrappy`: L.A.Cosmic in each frame (optional package)",
    )
    options: Annotated[dict[str, Any], options_of("dark.cosmic_rays")] = Field(default={}, validate_default=True, description=OPTIONS)
    sigma_threshold: float = Field(
        default=20.0, gt=0, description="limit, in units of a pixel's own noise in time (`temporal`) or of the frame's (`astroscrappy`)"
    )
    grow_radius_px: int = Field(default=0, ge=0, description="hits grow by this radius")
    replace_mode: Literal["interpolate", "median", "none"] = Field(
        default="interpolate", description="`interpolate`: in time; `median`: of the neighbours in time; `none`: flag only"
    )
    max_replace_fraction: float = Field(
        default=0.01, gt=0, le=1, description="largest share of a frame's usable pixels that is filled; a frame with more keeps its values"
    )


class Pedestal(Section):
    """A level that is subtracted from every frame."""

    enabled: bool = Field(default=False, description="subtract `fixed_value` or the median in `roi`")
    roi: list[int] | None = Field(
        default=None, min_length=4, max_length=4, description="[y0,y1,x0,x1]: each frame's median there is subtracted"
    )
    fixed_value: float | None = Field(default=None, description="e-, in place of `roi`")

    @model_validator(mode="after")
    def _one_source(self) -> Pedestal:
        if self.enabled and (self.roi is None) == (self.fixed_value is None):
            raise ValueError("an enabled pedestal takes either roi=[y0,y1,x0,x1] or fixed_value [e-]: give one of them")
        return self


class DarkQuality(QualityChecks):
    """Bounds of the dark map and of the frames."""

    max_hot_fraction: float = Field(default=0.05, ge=0, le=1, description="largest share of the detector's pixels that are hot")


class DarkConfig(FrameStageConfig):
    """Dark current times each read's own time since reset; dead and hot pixels."""

    io: _Io = Field(default={}, validate_default=True)
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
        needs_its_key(self, "dark_model.method", {"master.path": ("master",), "per_pixel_map.map_path": ("per_pixel_map",)})
        if self.dark_model.method == "master" and self.master.scale_exposure and self.master.reference_exposure_s is None:
            raise ValueError("master.scale_exposure needs master.reference_exposure_s, the master dark's own exposure in s: give it")
        if self.temperature.enabled and self.temperature.method == "linear" and self.temperature.slope_per_K == 0.0:
            raise ValueError("temperature.method=linear with slope_per_K=0 changes nothing: give the relative slope of the dark per K")
        return self
