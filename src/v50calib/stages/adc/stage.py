"""ADC: raw codes to electrons, ``e = ADU / gain + offset``; saturation and A/D-floor flags."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from v50calib.array_files import load_table
from v50calib.dq import DQ
from v50calib.errors import ConfigError
from v50calib.kernels import adc as kernels
from v50calib.kernels.arrays import Float
from v50calib.kernels.pixelwise import adu_to_electrons, photon_variance
from v50calib.schema import INSTRUMENT, LINEARITY_TERMS
from v50calib.stages.adc.config import AdcConfig, GainCorrection, OffsetCorrection
from v50calib.stages.base import PlainStage
from v50calib.stages.lookup import Curve, Table, make_table
from v50calib.stages.tile import PixelPolynomial, Tile, VisitState


class ReferenceStrategy(NamedTuple):
    """along: what has one reference level, a frame, a row or a column; unused: borders that cannot say it."""

    along: str
    unused: tuple[str, ...] = ()


#: calib.adc.reference_pixel.strategy
STRATEGIES = {
    "border_mean": ReferenceStrategy("frame"),
    "mask_mean": ReferenceStrategy("frame"),
    "per_row": ReferenceStrategy("row", ("top", "bottom")),
    "per_col": ReferenceStrategy("column", ("left", "right")),
}
#: calib.adc.fpn_cleanup.mode -> axes in turn; columns and rows disturb each other's medians: two rounds, as in Tukey's median polish
STRIPES = {"col_median": (1,), "row_median": (2,), "both": (1, 2, 1, 2)}


@dataclass(frozen=True)
class AdcConstants:
    """gain [ADU/e-] and offset [e-]: numbers, or maps (ny, nx); saturation_adu: a code, or a map of codes.

    read_variance (ny, nx) of one read, e-²; linear: ADU to linearized ADU with its slope; reference (ny, nx)
    reference pixels; valid (ny, nx) pixels that stripes are measured on; scale: e- to the output's units.
    """

    gain: float | Float
    offset: float | Float
    saturation_adu: int | NDArray[np.int64]
    floor_adu: int
    read_variance: Float
    linear: Table | Curve | None = None
    reference: NDArray[np.bool_] | None = None
    valid: NDArray[np.bool_] | None = None
    scale: float | Float = 1.0


class Adc(PlainStage[AdcConfig]):
    """raw_frames (time, y, x) [ADU] -> adc_corrected (time, y, x) [e-, or ADU by `units_out`].

    ``e = linear(ADU) / gain + offset`` with the dataset's gain [ADU/e-] and offset [e-] (Ariel Data Challenge, adc_info), or
    the config's; then reference pixels, stripes and clip.

    Variances: photon ``max(e, 0)``, read noise ``read²`` of one read times the linearization's slope².
    Flags: SATURATED where the code is at the converter's full scale or above `saturation_level_e`, AD_FLOOR where it is 0;
    NO_GAIN_VALUE|DO_NOT_USE where a gain or offset map has no usable value (its median is taken); NON_SCIENCE at reference pixels.
    Raises ConfigError where no value of a gain is usable or no pixel is a reference or valid pixel, DataError for a map that is
    not of this detector.
    """

    name: ClassVar[str] = "adc"
    input_key: ClassVar[str] = "raw_frames"
    output_key: ClassVar[str] = "adc_corrected"
    file_keys: ClassVar[tuple[str, ...]] = (
        "offset_correction.table_path",
        "offset_correction.map_path",
        "gain_correction.table_path",
        "gain_correction.map_path",
        "reference_pixel.mask_path",
        "fpn_cleanup.valid_mask_path",
        "linearization.lut_path",
    )

    def prepare(self, state: VisitState) -> AdcConstants:
        cfg, ref = self.config, state.reference
        gain = self._gain(state)
        offset = self._level(cfg.offset_correction, "offset_correction", ref.adc_offset, state)
        offset = offset * cfg.offset_correction.offset_sign
        linear = self._linear()
        constants = AdcConstants(
            gain=gain,
            offset=offset,
            saturation_adu=self._saturation(gain, offset, linear, state.instrument.bit_depth),
            floor_adu=0,
            read_variance=np.square(ref.read),
            linear=linear,
            reference=self._reference(state),
            valid=self._valid(state) if cfg.fpn_cleanup.enabled else None,
            scale=gain if cfg.units_out == "ADU" else 1.0,
        )
        if cfg.clip.min is not None or cfg.clip.max is not None:
            state.notes.append(
                f"adc.clip min={cfg.clip.min} max={cfg.clip.max}: clipping rectifies read noise (min=0 adds 3.5 e- to a blank pixel's "
                "short read on these detectors) and inflates depths"
            )
        state.folded = self._folded(constants, state)
        return constants

    def _gain(self, state: VisitState) -> float | Float:
        """ADU/e-: a number, or a map whose unusable pixels are flagged and filled with its median."""
        cfg = self.config.gain_correction
        conversion = self.config.detector.conversion_gain_e_per_adu
        auto = 1.0 / conversion if conversion is not None else state.reference.adc_gain
        gain = self._level(cfg, "gain_correction", auto, state)
        if isinstance(gain, float):
            if not gain > 0:
                raise ConfigError(
                    f"ADC gain of {state.instrument} is {gain}: it must be positive; check adc_info.csv or give "
                    "calib.adc.gain_correction.value"
                )
            return gain
        bad = ~np.isfinite(gain) | (gain <= cfg.epsilon)
        if bad.all():
            raise ConfigError(f"calib.adc.gain_correction: no value of the map is above epsilon={cfg.epsilon}: gains are in ADU per e-")
        gain[bad] = np.median(gain[~bad])
        self._lost(bad, state)
        return gain / gain.mean() * auto if cfg.renormalize_to_mean_one else gain

    def _level(self, cfg: OffsetCorrection | GainCorrection, name: str, auto: float, state: VisitState) -> float | Float:
        """One of the two constants of the conversion by its method; unusable offsets are flagged and filled."""
        neutral = 1.0 if isinstance(cfg, GainCorrection) else 0.0
        number = {"none": neutral, "auto": auto, "global": cfg.value or 0.0}.get(cfg.method)
        if number is not None:
            return float(number)
        key, shape = {"per_channel": ("table_path", state.shape[1:]), "per_pixel": ("map_path", state.shape)}[cfg.method]
        values = self.config.validation.user_map(getattr(cfg, key), f"calib.adc.{name}.{key}", shape)
        full = np.array(np.broadcast_to(values, state.shape))
        if isinstance(cfg, OffsetCorrection):
            bad = ~np.isfinite(full)
            full[bad] = np.median(full[~bad]) if not bad.all() else 0.0
            self._lost(bad, state)
        return full

    @staticmethod
    def _lost(bad: NDArray[np.bool_], state: VisitState) -> None:
        state.flag(bad, DQ.NO_GAIN_VALUE | DQ.DO_NOT_USE)
        state.masked |= bad

    def _linear(self) -> Table | Curve | None:
        cfg = self.config.linearization
        if cfg.method == "lut":
            return make_table(load_table(str(cfg.lut_path), key="calib.adc.linearization.lut_path"), cfg.lut_interp)
        if cfg.method == "poly":
            coef = np.asarray(cfg.poly_coeffs, dtype=np.float64)
            return Curve(coef * cfg.poly_norm_adu ** (1.0 - np.arange(len(coef))))
        return None

    def _saturation(self, gain: float | Float, offset: float | Float, linear: Table | Curve | None, bits: int) -> int | NDArray[np.int64]:
        """Lowest code that counts as saturated."""
        full_scale = 2 ** min(self.config.detector.bit_depth_in, bits) - 1
        level = self.config.detector.saturation_level_e
        if level is None:
            return full_scale
        codes = np.arange(full_scale + 1, dtype=np.float64)
        reached = np.searchsorted(linear(codes)[0] if linear is not None else codes, (level - offset) * gain)
        lowest = np.minimum(reached, full_scale)
        return int(lowest) if np.ndim(lowest) == 0 else np.asarray(lowest, dtype=np.int64)

    def _reference(self, state: VisitState) -> NDArray[np.bool_] | None:
        cfg = self.config.reference_pixel
        if not cfg.use:
            return None
        if cfg.mask_path is not None:
            mask = self.config.validation.user_map(cfg.mask_path, "calib.adc.reference_pixel.mask_path", state.shape) != 0
        else:
            widths = cfg.border.model_dump() | dict.fromkeys(STRATEGIES[cfg.strategy].unused, 0)
            mask = kernels.border_mask(state.shape, **widths)
        if not mask.any() or mask.all():
            raise ConfigError(
                f"calib.adc.reference_pixel: {int(mask.sum())} of {mask.size} pixels would be reference pixels: check the border"
            )
        state.flag(mask, DQ.NON_SCIENCE)
        if state.instrument.name in INSTRUMENT:
            state.notes.append(
                f"adc.reference_pixel: {state.instrument} has no reference pixels, its borders see light: subtracting them takes "
                "starlight and background from every pixel"
            )
        return mask

    def _valid(self, state: VisitState) -> NDArray[np.bool_]:
        path = self.config.fpn_cleanup.valid_mask_path
        if path is None:
            state.notes.append(
                "adc.fpn_cleanup without valid_mask_path takes its medians over the source too: it removes the spectrum's background and, "
                "in the rows or columns that the source fills, the source"
            )
            return ~state.reference.dead.astype(bool)
        valid = self.config.validation.user_map(path, "calib.adc.fpn_cleanup.valid_mask_path", state.shape) != 0
        if not valid.any():
            raise ConfigError(f"calib.adc.fpn_cleanup.valid_mask_path='{path}' has no valid pixel (nonzero = valid): give another mask")
        return valid

    def _folded(self, constants: AdcConstants, state: VisitState) -> PixelPolynomial | None:
        """The conversion as a polynomial of the code, where it is one."""
        cfg = self.config
        terms = len(constants.linear.coef) if isinstance(constants.linear, Curve) else 2
        if (
            cfg.reference_pixel.use
            or cfg.fpn_cleanup.enabled
            or cfg.clip.min is not None
            or cfg.clip.max is not None
            or isinstance(constants.linear, Table)
            or terms > LINEARITY_TERMS
            or not isinstance(constants.saturation_adu, int)
        ):
            return None
        base = constants.linear.coef if isinstance(constants.linear, Curve) else np.array([0.0, 1.0])
        coef = base[:, None, None] / np.broadcast_to(constants.gain, state.shape)
        coef[0] += constants.offset
        return PixelPolynomial(coef=coef * constants.scale, rate=np.zeros(state.shape))

    def apply(self, tile: Tile, constants: AdcConstants) -> Tile:
        codes, cfg, c = tile.values, self.config, constants
        adu, slope = c.linear(codes) if c.linear is not None else (codes, None)
        electrons = adu_to_electrons(adu, c.gain, c.offset)
        if c.reference is not None:
            robust = cfg.reference_pixel.robust
            electrons -= kernels.reference_level(
                electrons, c.reference, STRATEGIES[cfg.reference_pixel.strategy].along, sigma=robust.sigma_clip, max_iters=robust.max_iters
            )
        if c.valid is not None:
            for axis in STRIPES[cfg.fpn_cleanup.mode]:
                electrons = kernels.remove_stripes(electrons, c.valid, axis)
        if cfg.clip.min is not None or cfg.clip.max is not None:
            electrons = np.clip(electrons, cfg.clip.min, cfg.clip.max)
        out = replace(tile, values=electrons * c.scale, frame_dq=tile.frame_dq | code_flags(codes, c))
        if tile.variance:
            read = np.broadcast_to(c.read_variance, electrons.shape) * (1.0 if slope is None else slope**2)
            square = np.square(c.scale)
            out = replace(out, var_poisson=photon_variance(electrons) * square, var_rnoise=read * square)
        return out

    def inspect(self, tiles: list[Tile], constants: AdcConstants, state: VisitState) -> tuple[dict[str, Any], list[str]]:
        """Histogram of the converted sample, and the shares of codes at the ends of the converter."""
        bounds = self.config.quality_checks.histogram_after
        size = sum(t.values.size for t in tiles)
        zero = sum(int((t.frame_dq & np.uint8(DQ.AD_FLOOR)).astype(bool).sum()) for t in tiles) / size
        full = sum(int((t.frame_dq & np.uint8(DQ.SATURATED)).astype(bool).sum()) for t in tiles) / size
        edges = np.linspace(min(t.values.min() for t in tiles), max(t.values.max() for t in tiles), bounds.bins + 1)
        counts = sum(np.histogram(t.values, edges)[0] for t in tiles)
        numbers = {
            "zero_fraction": zero, "saturated_fraction": full,
            "histogram_edges": edges.tolist(), "histogram_counts": np.asarray(counts).tolist(),
        }  # fmt: skip
        faults = [
            f"{share:.3%} of the samples are {what}, more than calib.adc.quality_checks.histogram_after.{key}={limit}"
            for share, what, key, limit in (
                (zero, "at code 0", "max_zero_frac", bounds.max_zero_frac),
                (full, "saturated", "max_saturated_frac", bounds.max_saturated_frac),
            )
            if share > limit
        ]
        return numbers, faults


def code_flags(codes: NDArray[Any], constants: AdcConstants) -> NDArray[np.uint8]:
    """SATURATED and AD_FLOOR of raw codes (n, ny, nx)."""
    flags = np.where(codes >= constants.saturation_adu, np.uint8(DQ.SATURATED), np.uint8(0))
    flags |= np.where(codes <= constants.floor_adu, np.uint8(DQ.AD_FLOOR), np.uint8(0))
    return flags
