"""Dark: subtract the dark current for each read's time since reset; hot and dead pixels are named here."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from v50calib.dq import DQ
from v50calib.kernels.pixelwise import dark_signal, sigma_clip_mask
from v50calib.stages.base import Float, PixelPolynomial, Section, StageConfig, Tile, VisitState


class DarkModel(Section):
    method: Literal["none", "auto"] = "auto"


class HotPixelDetection(Section):
    enabled: bool = True
    sigma_threshold: float = Field(default=5.0, gt=0)
    max_iters: int = Field(default=5, ge=1)


class BadPixelHandling(Section):
    """hot_pixels: `flag` keeps a hot pixel (its dark is subtracted); `mask` leaves it out as the host does."""

    hot_pixel_detection: HotPixelDetection = HotPixelDetection()
    hot_pixels: Literal["flag", "mask"] = "flag"


class DarkConfig(StageConfig):
    dark_model: DarkModel = DarkModel()
    bad_pixel_handling: BadPixelHandling = BadPixelHandling()


class Dark:
    """adc_corrected -> dark_corrected [e-]: ``e - dark·t_exposure``.

    Sets DEAD|DO_NOT_USE (dead map), HOT (dark is a 5-sigma outlier of the science columns' dark map),
    UNRELIABLE_DARK (dark not finite: 0 is used), NON_SCIENCE (columns outside the science range). Dark
    electrons keep their own photon term in var_poisson.
    """

    name: ClassVar[str] = "dark"
    input_key: ClassVar[str] = "adc_corrected"
    output_key: ClassVar[str] = "dark_corrected"

    def __init__(self, config: DarkConfig) -> None:
        self.config = config

    def prepare(self, state: VisitState) -> Float:
        ref, cfg = state.reference, self.config
        rate = np.array(ref.dark, dtype=np.float64) if cfg.dark_model.method == "auto" else np.zeros_like(ref.dark)
        missing = ~np.isfinite(rate)
        rate[missing] = 0.0
        dead = ref.dead.astype(bool)
        hot = self._hot(state)
        for where, flag in ((missing, DQ.UNRELIABLE_DARK), (dead, DQ.DEAD | DQ.DO_NOT_USE), (hot, DQ.HOT)):
            state.pixel_dq[where] |= np.uint32(flag)
        state.masked |= dead
        if cfg.bad_pixel_handling.hot_pixels == "mask":
            state.masked |= hot
            state.pixel_dq[hot] |= np.uint32(DQ.DO_NOT_USE)
        if state.folded is not None:
            state.folded = PixelPolynomial(state.folded.coef, state.folded.rate + rate)
        return rate

    def _hot(self, state: VisitState) -> np.ndarray:
        """Hot pixels of the science columns (the host cuts to them before it clips)."""
        detection = self.config.bad_pixel_handling.hot_pixel_detection
        hot = np.zeros_like(state.reference.dark, dtype=np.bool_)
        science = state.instrument.science
        columns = science if science is not None else slice(None)
        if science is not None:
            outside = np.ones(hot.shape[1], np.bool_)
            outside[science] = False
            state.pixel_dq[:, outside] |= np.uint32(DQ.NON_SCIENCE)
        if detection.enabled:
            dark = np.asarray(state.reference.dark[:, columns], dtype=np.float64)
            found = sigma_clip_mask(dark, sigma=detection.sigma_threshold, max_iters=detection.max_iters)
            hot[:, columns] = found & np.isfinite(dark)
        return hot

    def apply(self, tile: Tile, constants: Float) -> Tile:
        values = tile.values - dark_signal(constants, tile.exposure_s)
        return Tile(values, tile.exposure_s, tile.var_poisson, tile.var_rnoise, tile.frame_dq)
