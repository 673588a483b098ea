"""Dark: subtract the dark current for each read's time since reset; hot and dead pixels are named and repaired here."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from v50calib.dq import DQ, FRAME_FLUX_ESTIMATED
from v50calib.errors import ConfigError, DataError
from v50calib.kernels.arrays import Float
from v50calib.kernels.map_checks import below_zero, negative_dark
from v50calib.kernels.pixelwise import dark_signal, sigma_clip_mask
from v50calib.kernels.repair import Mode, fill_pixels, fillable, grow
from v50calib.kernels.repaired import Hits
from v50calib.kernels.temporal import SPIKE_HALO
from v50calib.stages.base import PlainStage, Step
from v50calib.stages.dark import cosmic_rays as cosmic
from v50calib.stages.dark.config import DarkConfig
from v50calib.stages.tile import PixelPolynomial, Tile, VisitState

#: Boltzmann constant, eV/K (CODATA 2018, exact by definition)
BOLTZMANN_EV = 8.617333262e-5
#: share of the science pixels from which a negative dark is the whole map's fault, not that of single pixels
MOST_NEGATIVE = 0.05


@dataclass(frozen=True)
class DarkConstants:
    """rate (ny, nx) e-/s; still (ny, nx) e- subtracted from every read whatever its exposure.

    scale (time,) factor on the rate by temperature, or None; region of the pedestal; fill: pixels filled from their
    neighbours; spikes (2, ny, nx) noise that cosmic rays are judged by; masked pixels; read_noise e-.
    """

    rate: Float
    still: Float
    scale: Float | None
    region: tuple[slice, slice] | None
    fill: NDArray[np.bool_] | None
    masked: NDArray[np.bool_]
    read_noise: Float
    spikes: Float | None = None


class UserDark(NamedTuple):
    """A user's dark map: its config key and path, whether it is scaled by the exposure, and what divides it.

    per_rate, per_electron   its units in e-/s, where it is scaled, and in e-, where it is not
    """

    key: str
    path: str | None
    scaled: bool
    per_rate: float
    per_electron: float


class Dark(PlainStage[DarkConfig]):
    """adc_corrected (time, y, x) [e-] -> dark_corrected (time, y, x) [e-]: dark current, pedestal, cosmic rays, bad pixels.

    ``e - dark·t`` with t [s] since reset and the dataset's dark map [e-/s] (Ariel Data Challenge), or the config's.

    Variances: unchanged; the dark's electrons keep their own photon term in var_poisson.
    Flags of pixels: DEAD|DO_NOT_USE (dead map), DO_NOT_USE (bad-pixel mask), HOT (dark is an outlier of the science columns'
    dark map), UNRELIABLE_DARK (dark not finite: 0 is used), UNRELIABLE_DARK|DO_NOT_USE (dark negative beyond its noise),
    NON_SCIENCE (columns outside the science range), FLUX_ESTIMATED (filled from neighbours). Flags of samples: JUMP_DET (hit),
    FLUX_ESTIMATED (filled).
    Raises ConfigError where telemetry or region are not as the config says, DataError for a map that is not of this detector or
    negative on many pixels, temperatures that are none, and a visit whose bad pixels fill the region or are more than may be filled.
    """

    name: ClassVar[str] = "dark"
    input_key: ClassVar[str] = "adc_corrected"
    output_key: ClassVar[str] = "dark_corrected"
    file_keys: ClassVar[tuple[str, ...]] = ("master.path", "per_pixel_map.map_path", "bad_pixel_handling.bpm_path")

    @property
    def halo(self) -> int:
        return SPIKE_HALO if self.config.cosmic_rays.enabled else 0

    @property
    def needs_measure(self) -> bool:
        return self.config.cosmic_rays.enabled

    @property
    def fill_mode(self) -> Mode | None:
        """How masked pixels are filled in every frame; None: they are not."""
        mode = self.config.bad_pixel_handling.replace.mode
        return None if mode == "none" else mode

    def prepare(self, state: VisitState) -> DarkConstants:
        cfg = self.config
        rate, still = self._model(state)
        missing = ~np.isfinite(rate) | ~np.isfinite(still)
        rate[missing] = still[missing] = 0.0
        state.flag(missing, DQ.UNRELIABLE_DARK)
        negative = self._negative(state, rate)
        rate[negative] = 0.0
        self._bad_pixels(state, negative)
        scale = self._temperature(state)
        region = self._region(state)
        if cfg.pedestal.enabled and cfg.pedestal.fixed_value is not None:
            still = still + cfg.pedestal.fixed_value
        fill = self._fill(state)
        state.dark_rate = state.dark_rate + rate * (1.0 if scale is None else float(np.median(scale)))
        if scale is not None or region is not None or fill is not None or cfg.cosmic_rays.enabled:
            state.folded = None
        elif state.folded is not None:
            coef = state.folded.coef.copy()
            coef[0] -= still
            state.folded = PixelPolynomial(coef, state.folded.rate + rate)
        return DarkConstants(rate, still, scale, region, fill, state.masked.copy(), np.asarray(state.reference.read, dtype=np.float64))

    def _model(self, state: VisitState) -> tuple[Float, Float]:
        """Dark rate [e-/s] and the part subtracted from every read alike [e-]."""
        cfg, zeros = self.config, np.zeros(state.shape)
        method = cfg.dark_model.method
        if method == "auto":
            return cfg.validation.dataset_map(state.reference.dark, "dark"), zeros
        if method == "none":
            return zeros, zeros.copy()
        gain = {"e_per_s": 1.0, "adu_per_s": state.reference.adc_gain}[cfg.per_pixel_map.units]
        files = {
            "master": UserDark("master.path", cfg.master.path, cfg.master.scale_exposure, cfg.master.reference_exposure_s or 1.0, 1.0),
            "per_pixel_map": UserDark("per_pixel_map.map_path", cfg.per_pixel_map.map_path, cfg.per_pixel_map.scale_exposure, gain, gain),
        }
        dark = files[method]
        values = cfg.validation.user_map(str(dark.path), f"calib.dark.{dark.key}", state.shape)
        if dark.scaled:
            return values / dark.per_rate, zeros
        state.notes.append(
            f"dark.{method} with scale_exposure=false subtracts the same map from both reads: it cancels in every CDS pair, the dark "
            "current between the reads stays in"
        )
        return zeros, values / dark.per_electron

    def _negative(self, state: VisitState, rate: Float) -> NDArray[np.bool_]:
        """Pixels with a negative dark, flagged and masked. Raises DataError where they are so many that the map is wrong."""
        between = float(np.median(state.exposure_s[1::2] - state.exposure_s[0::2]))
        negative = negative_dark(rate, np.asarray(state.reference.read, dtype=np.float64), between)
        columns = state.instrument.science if state.instrument.science is not None else slice(None)
        share = float(negative[:, columns].mean())
        state.checks["dark_negative"] = max(share, below_zero(rate[:, columns]))
        if share > MOST_NEGATIVE:
            raise DataError(
                f"{state.instrument}: {self._source()} is negative beyond its noise on {share:.0%} of the pixels, its median is "
                f"{float(np.median(rate[:, columns])):.3g} e-/s: a dark current is positive; correct the map's sign, zero point or "
                "units, or set calib.dark.dark_model.method=none"
            )
        if negative.any():
            state.flag(negative, DQ.UNRELIABLE_DARK | DQ.DO_NOT_USE)
            state.masked |= negative
            lowest = float(rate[negative].min())
            state.notes.append(
                f"dark: {int(negative.sum())} pixels have a negative dark current, down to {lowest:.3g} e-/s: they are left out"
            )
        return negative

    def _source(self) -> str:
        """Where the dark map is from, in words."""
        cfg, method = self.config, self.config.dark_model.method
        paths = {"master": ("master.path", cfg.master.path), "per_pixel_map": ("per_pixel_map.map_path", cfg.per_pixel_map.map_path)}
        return f"the map of calib.dark.{paths[method][0]}='{paths[method][1]}'" if method in paths else "the visit's map 'dark'"

    def _bad_pixels(self, state: VisitState, negative: NDArray[np.bool_]) -> None:
        """Dead, listed and hot pixels into the flags and the mask; a pixel with a negative dark is not hot."""
        cfg = self.config.bad_pixel_handling
        dead = state.reference.dead.astype(bool)
        state.flag(dead, DQ.DEAD | DQ.DO_NOT_USE)
        state.masked |= dead
        if cfg.bpm_path is not None:
            listed = self.config.validation.user_map(cfg.bpm_path, "calib.dark.bad_pixel_handling.bpm_path", state.shape) != 0
            state.flag(listed, DQ.DO_NOT_USE)
            state.masked |= listed
        hot = self._hot(state) & ~negative
        state.flag(hot, DQ.HOT)
        if cfg.hot_pixels == "mask":
            state.masked |= hot
            state.flag(hot, DQ.DO_NOT_USE)

    def _hot(self, state: VisitState) -> NDArray[np.bool_]:
        """Hot pixels of the science columns (the challenge's procedure cuts to them before it clips)."""
        detection = self.config.bad_pixel_handling.hot_pixel_detection
        hot = np.zeros_like(state.reference.dark, dtype=np.bool_)
        science = state.instrument.science
        columns = science if science is not None else slice(None)
        if science is not None:
            outside = np.ones(hot.shape, np.bool_)
            outside[:, science] = False
            state.flag(outside, DQ.NON_SCIENCE)
        if detection.enabled:
            dark = np.asarray(state.reference.dark[:, columns], dtype=np.float64)
            found = sigma_clip_mask(dark, sigma=detection.sigma_threshold, max_iters=detection.max_iters)
            hot[:, columns] = grow(found & np.isfinite(dark), detection.dilate_radius_px)
        return hot

    def _temperature(self, state: VisitState) -> Float | None:
        """Factor on the dark rate at each frame; None where it is off or, with enabled=auto, has no telemetry."""
        cfg = self.config.temperature
        if cfg.enabled is False:
            return None
        if cfg.temp_key not in state.telemetry:
            what = f"the visit has no '{cfg.temp_key}' on its time axis (there is: {', '.join(sorted(state.telemetry)) or 'no telemetry'})"
            if cfg.enabled == "auto":
                state.notes.append(f"dark.temperature is off: {what}")
                return None
            raise ConfigError(
                f"calib.dark.temperature.enabled=true but {what}: name the variable in calib.dark.temperature.temp_key, or use "
                "enabled=auto, which works without"
            )
        kelvin = np.asarray(state.telemetry[cfg.temp_key], dtype=np.float64)
        if not np.isfinite(kelvin).all() or (kelvin <= 0).any():
            raise DataError(
                f"'{cfg.temp_key}' must be a finite temperature in K at every frame; it reaches from {kelvin.min()} to {kelvin.max()}"
            )
        reference = cfg.ref_temp_K
        if reference is None:
            reference = float(np.median(kelvin))
            state.notes.append(f"dark.temperature: the dark map is taken to hold at the visit's median temperature, {reference:.2f} K")
        return temperature_factor(kelvin, cfg.method, cfg.slope_per_K, reference, cfg.activation_energy_eV)

    def _region(self, state: VisitState) -> tuple[slice, slice] | None:
        cfg = self.config.pedestal
        if not cfg.enabled or cfg.roi is None:
            return None
        y0, y1, x0, x1 = cfg.roi
        ny, nx = state.shape
        if not (0 <= y0 < y1 <= ny and 0 <= x0 < x1 <= nx):
            raise ConfigError(f"calib.dark.pedestal.roi={cfg.roi} is not inside the detector: [y0,y1,x0,x1] within {ny} rows, {nx} columns")
        region = (slice(y0, y1), slice(x0, x1))
        if state.masked[region].all():
            raise DataError(
                f"calib.dark.pedestal.roi={cfg.roi} holds bad pixels only in this visit of {state.instrument}: take another region"
            )
        state.notes.append("dark.pedestal.roi subtracts each frame's median over the region: whatever light falls there is subtracted too")
        return region

    def _fill(self, state: VisitState) -> NDArray[np.bool_] | None:
        """Masked pixels that are filled in every frame; they leave the mask."""
        cfg = self.config.bad_pixel_handling.replace
        if self.fill_mode is None or not state.masked.any():
            return None
        share = float(state.masked.mean())
        if share > cfg.max_replace_fraction:
            raise DataError(
                f"calib.dark.bad_pixel_handling.replace would fill {share:.2%} of {state.instrument}'s pixels, more than "
                f"max_replace_fraction={cfg.max_replace_fraction}: check the bad-pixel maps or raise the limit"
            )
        state.repaired = fillable(state.masked, self.fill_mode)
        state.flag(state.repaired, DQ.FLUX_ESTIMATED)
        state.masked &= ~state.repaired
        return state.repaired

    def measure(self, tiles: list[Tile], constants: DarkConstants, state: VisitState) -> DarkConstants:
        """Noise of the reads in time, from the sample frames with their dark subtracted."""
        subtracted = [self._subtract(t, constants) for t in tiles]
        return replace(constants, spikes=cosmic.spike_sigma(subtracted, constants.read_noise))

    def steps(self) -> list[Step]:
        steps = [Step(self._subtract, False)]
        if self.config.cosmic_rays.enabled:
            steps.append(Step(self._clean, True))
        if self.fill_mode is not None:
            steps.append(Step(self._fill_in, False))
        return steps

    def compiled(self, c: DarkConstants) -> Hits | None:
        """How `kernels.repaired` finds and repairs hits after the dark is subtracted; None where anything else is asked for."""
        if not self.config.cosmic_rays.enabled or c.region is not None or self.fill_mode is not None or c.spikes is None:
            return None
        return cosmic.compiled(self.config.cosmic_rays, c.spikes)

    def _clean(self, tile: Tile, c: DarkConstants) -> Tile:
        sigma = c.spikes if c.spikes is not None else np.zeros((2, *c.masked.shape))
        return cosmic.clean(tile, self.config.cosmic_rays, sigma, c.masked, float(np.nanmedian(c.read_noise)))

    def _fill_in(self, tile: Tile, c: DarkConstants) -> Tile:
        if c.fill is None or self.fill_mode is None:
            return tile
        # what is still masked has no neighbours and must not become one
        values = fill_pixels(tile.values, c.fill | c.masked, self.fill_mode)
        return replace(tile, values=values, frame_dq=tile.frame_dq | np.where(c.fill, FRAME_FLUX_ESTIMATED, np.uint8(0)))

    def _subtract(self, tile: Tile, c: DarkConstants) -> Tile:
        exposure = tile.exposure_s if c.scale is None else tile.exposure_s * c.scale[tile.start : tile.start + len(tile.values)]
        values = tile.values - dark_signal(c.rate, exposure)
        if c.still.any():
            values -= c.still
        if c.region is not None:
            part = values[(slice(None), *c.region)][:, ~c.masked[c.region]]
            values -= np.median(part, axis=1)[:, None, None]
        return replace(tile, values=values)

    def inspect(self, tiles: list[Tile], constants: DarkConstants, state: VisitState) -> tuple[dict[str, Any], list[str]]:
        hot = float((state.pixel_dq & np.uint32(DQ.HOT)).astype(bool).mean())
        jumps = [float((t.frame_dq & np.uint8(DQ.JUMP_DET)).astype(bool).mean()) for t in tiles]
        numbers = {"hot_fraction": hot, "cosmic_ray_fraction": float(np.mean(jumps)) if jumps else 0.0}
        limit = self.config.quality_checks.max_hot_fraction
        faults = [f"{hot:.2%} of the pixels are hot, more than calib.dark.quality_checks.max_hot_fraction={limit}"] if hot > limit else []
        return numbers, faults


def temperature_factor(kelvin: Float, method: str, slope_per_K: float, ref_K: float, activation_eV: float) -> Float:
    """Dark rate relative to the reference temperature.

    linear     1 + slope (T - T0), not below 0
    arrhenius  exp(-Ea/k (1/T - 1/T0)): thermally activated generation, with the activation energy Ea
    """
    if method == "linear":
        return np.maximum(1.0 + slope_per_K * (kelvin - ref_K), 0.0)
    return np.exp(-activation_eV / BOLTZMANN_EV * (1.0 / kelvin - 1.0 / ref_K))
