"""Flat: divide by the pixel response."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from v50calib.dq import DQ
from v50calib.kernels.pixelwise import inverse_flat
from v50calib.stages.base import Float, PixelPolynomial, Section, StageConfig, Tile, VisitState


class FlatModel(Section):
    method: Literal["none", "auto"] = "auto"
    epsilon: float = Field(default=1e-3, ge=0)


class FlatConfig(StageConfig):
    flat_model: FlatModel = FlatModel()


class Flat:
    """dark_corrected -> flat_corrected [e-]: division by the flat, variances by its square.

    A flat that is not finite or <= epsilon is taken as 1 and the pixel gets NO_FLAT_FIELD|DO_NOT_USE and
    leaves every sum. The flat's own error is common to all times and stays out of light-curve scatter.
    """

    name: ClassVar[str] = "flat"
    input_key: ClassVar[str] = "dark_corrected"
    output_key: ClassVar[str] = "flat_corrected"

    def __init__(self, config: FlatConfig) -> None:
        self.config = config

    def prepare(self, state: VisitState) -> Float:
        if self.config.flat_model.method == "none":
            return np.ones_like(state.reference.flat)
        inverse, bad = inverse_flat(np.asarray(state.reference.flat, dtype=np.float64), self.config.flat_model.epsilon)
        state.pixel_dq[bad] |= np.uint32(DQ.NO_FLAT_FIELD | DQ.DO_NOT_USE)
        state.masked |= bad
        if state.folded is not None:
            state.folded = PixelPolynomial(state.folded.coef * inverse, state.folded.rate * inverse)
        return inverse

    def apply(self, tile: Tile, constants: Float) -> Tile:
        square = constants**2
        return Tile(tile.values * constants, tile.exposure_s, tile.var_poisson * square, tile.var_rnoise * square, tile.frame_dq)
