"""Nonlinearity: per-pixel polynomial in electrons, ``e_lin = Σ_k c_k e^k`` (coefficients ascending)."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np

from v50calib.dq import DQ
from v50calib.errors import ConfigError
from v50calib.kernels.pixelwise import evaluate_derivative, evaluate_polynomial, photon_variance, substitute_affine
from v50calib.stages.base import Float, PixelPolynomial, StageConfig, Tile, VisitState


class NonlinearityConfig(StageConfig):
    method: Literal["none", "auto"] = "auto"


class Nonlinearity:
    """adc_corrected [e-] -> adc_corrected [e-], linearized; must come before CDS.

    A pixel whose coefficients are not finite keeps its value and gets NO_LIN_CORR. Never clips at 0:
    that would rectify the read noise of short reads. Variances: read noise times (dF/de)², photons
    ``max(e_lin, 0)``.
    """

    name: ClassVar[str] = "nonlinearity"
    input_key: ClassVar[str] = "adc_corrected"
    output_key: ClassVar[str] = "adc_corrected"

    def __init__(self, config: NonlinearityConfig) -> None:
        self.config = config

    def prepare(self, state: VisitState) -> Float:
        coef = np.array(state.reference.linear_corr, dtype=np.float64)
        if self.config.method == "none":
            coef = np.zeros_like(coef)
            coef[1] = 1.0
        bad = ~np.isfinite(coef).all(axis=0)
        coef[:, bad] = 0.0
        coef[1, bad] = 1.0
        state.pixel_dq |= np.where(bad, np.uint32(DQ.NO_LIN_CORR), np.uint32(0))
        if state.folded is not None:
            if len(state.folded.coef) != 2:
                raise ConfigError("nonlinearity must directly follow adc: its polynomial is in electrons of the plain ADC conversion")
            offset, inv_gain = state.folded.coef
            state.folded = PixelPolynomial(substitute_affine(coef, inv_gain[0, 0], offset[0, 0]), state.folded.rate)
        return coef

    def apply(self, tile: Tile, constants: Float) -> Tile:
        linear = evaluate_polynomial(tile.values, constants)
        slope = evaluate_derivative(tile.values, constants)
        return Tile(linear, tile.exposure_s, photon_variance(linear), tile.var_rnoise * slope**2, tile.frame_dq)
