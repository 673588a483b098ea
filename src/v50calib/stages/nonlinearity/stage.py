"""Nonlinearity: per-pixel polynomial in electrons, ``e_lin = Σ_k c_k e^k`` (coefficients ascending), or a table."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from v50calib.array_files import load_array, load_table
from v50calib.dq import DQ
from v50calib.errors import DataError
from v50calib.kernels.adc import frozen_polynomial
from v50calib.kernels.arrays import Float
from v50calib.kernels.pixelwise import evaluate_derivative, evaluate_polynomial, photon_variance, substitute_affine
from v50calib.schema import LINEARITY_TERMS
from v50calib.stages.base import PlainStage
from v50calib.stages.lookup import Table, make_table
from v50calib.stages.nonlinearity.config import NonlinearityConfig
from v50calib.stages.tile import PixelPolynomial, Tile, VisitState

#: e-; levels at which max_correction_frac is judged, from a read well above the noise to a full well
_JUDGED_FROM_E, _JUDGED_TO_E, _LEVELS = 1e3, 1e5, 16

#: a response is nearly linear: the coefficient of e¹ is 1 within this factor
SLOPE = 2.0


@dataclass(frozen=True)
class LinearityConstants:
    """coef (terms, ny, nx) ascending, or a table for all pixels; low, high: the range [e-] that the correction holds in."""

    coef: Float
    table: Table | None
    low: float
    high: float

    @property
    def bounded(self) -> bool:
        return bool(np.isfinite(self.low) or np.isfinite(self.high))


class Nonlinearity(PlainStage[NonlinearityConfig]):
    """adc_corrected (time, y, x) [e-] -> adc_corrected (time, y, x) [e-], linearized; must come before CDS.

    ``e_lin = Σ_k c_k e^k`` with the dataset's coefficients (Ariel Data Challenge, linear_corr), or the config's polynomial, maps
    or table. Outside `valid_range` the correction of the range's end is kept. Never clips at 0: that would rectify the read
    noise of short reads.

    Variances: read noise times (dF/de)², photons ``max(e_lin, 0)``.
    Flags: NO_LIN_CORR where coefficients are not finite, or correct by more than `max_correction_frac` anywhere between 1e3 e-
    and the top of the range (the pixel keeps its value); NONLINEAR where the sample frames leave the range.
    Raises DataError for coefficients that are not of this detector, or not in ascending powers of e-.
    """

    name: ClassVar[str] = "nonlinearity"
    input_key: ClassVar[str] = "adc_corrected"
    output_key: ClassVar[str] = "adc_corrected"
    file_keys: ClassVar[tuple[str, ...]] = ("lut_path", "map_path")

    @property
    def needs_measure(self) -> bool:
        return self.config.valid_range is not None or self.config.method == "lut"

    def prepare(self, state: VisitState) -> LinearityConstants:
        coef, table = self._correction(state)
        if self.config.method != "none" and table is None and "linear_corr" not in state.reference.absent:
            check_slope(coef, state.reference.dead, f"{state.instrument}: {self._source()}")
        low, high = self.config.valid_range or (-np.inf, np.inf)
        if table is not None:
            low, high = max(low, float(table.knots[0])), min(high, float(table.knots[-1]))
        bad = np.asarray(~np.isfinite(coef).all(axis=0))
        coef[:, bad] = 0.0
        coef[1, bad] = 1.0
        if self.config.max_correction_frac is not None and table is None:
            bad |= _too_much(coef, self.config.max_correction_frac, min(high, _JUDGED_TO_E))
            coef[:, bad] = 0.0
            coef[1, bad] = 1.0
        state.flag(bad, DQ.NO_LIN_CORR)
        constants = LinearityConstants(coef, table, low, high)
        if state.folded is not None and self.config.corrects:
            state.folded = None if table is not None or constants.bounded else _compose(coef, state.folded)
        return constants

    def _source(self) -> str:
        """Where the coefficients are from, in words."""
        cfg = self.config
        given = {"poly": "calib.nonlinearity.poly_coeffs", "per_pixel": f"calib.nonlinearity.map_path='{cfg.map_path}'"}
        return given.get(cfg.method, "the visit's map 'linear_corr'")

    def _correction(self, state: VisitState) -> tuple[Float, Table | None]:
        cfg = self.config
        identity = np.zeros((2, *state.shape))
        identity[1] = 1.0
        if cfg.method == "none":
            return identity, None
        if cfg.method == "lut":
            return identity, make_table(load_table(str(cfg.lut_path), key="calib.nonlinearity.lut_path"), cfg.lut_interp)
        if cfg.method == "poly":
            coef = np.asarray(cfg.poly_coeffs, dtype=np.float64)
            return np.array(np.broadcast_to(coef[:, None, None], (len(coef), *state.shape))), None
        if cfg.method == "per_pixel":
            return self._per_pixel(str(cfg.map_path), state), None
        return cfg.validation.dataset_map(state.reference.linear_corr, "linear_corr"), None

    def _per_pixel(self, path: str, state: VisitState) -> Float:
        """Coefficient maps (terms, ny, nx) of the user's file."""
        values = load_array(path, key="calib.nonlinearity.map_path")
        check = self.config.validation
        good = values.ndim == 3 and len(values) >= 2 and (values.shape[1:] == state.shape or not check.check_shape_compatibility)
        if not good or values.dtype.kind not in "iuf":
            raise DataError(
                f"calib.nonlinearity.map_path='{path}' has the shape {values.shape}: coefficients are (terms, {state.shape[0]}, "
                f"{state.shape[1]}), ascending powers, at least 2 terms"
            )
        if check.require_finite_inputs and not np.isfinite(values).all():
            raise DataError(f"calib.nonlinearity.map_path='{path}' is not finite everywhere and validation.require_finite_inputs is on")
        try:
            return np.array(np.broadcast_to(values, (len(values), *state.shape)), dtype=np.float64)
        except ValueError as exc:
            raise DataError(f"calib.nonlinearity.map_path='{path}' of shape {values.shape} does not broadcast to {state.shape}") from exc

    def measure(self, tiles: list[Tile], constants: LinearityConstants, state: VisitState) -> LinearityConstants:
        """Flag NONLINEAR where sample frames leave the range of the correction."""
        for tile in tiles:
            outside = (tile.values < constants.low) | (tile.values > constants.high)
            state.flag(np.asarray(outside.any(axis=0)), DQ.NONLINEAR)
        return constants

    def apply(self, tile: Tile, constants: LinearityConstants) -> Tile:
        c = constants
        if c.table is not None:
            inside = np.clip(tile.values, c.low, c.high)
            linear, slope = c.table(inside)
            linear += tile.values - inside
            slope = np.where(inside == tile.values, slope, 1.0)
        elif c.bounded:
            linear, slope = frozen_polynomial(tile.values, c.coef, c.low, c.high)
        else:
            linear = evaluate_polynomial(tile.values, c.coef)
            slope = evaluate_derivative(tile.values, c.coef) if tile.variance else linear
        out = replace(tile, values=linear)
        return replace(out, var_poisson=photon_variance(linear), var_rnoise=tile.var_rnoise * slope**2) if tile.variance else out

    def inspect(self, tiles: list[Tile], constants: LinearityConstants, state: VisitState) -> tuple[dict[str, Any], list[str]]:
        uncorrected = float((state.pixel_dq & np.uint32(DQ.NO_LIN_CORR)).astype(bool).mean())
        return {"uncorrected_fraction": uncorrected}, []


def _compose(coef: Float, folded: PixelPolynomial) -> PixelPolynomial | None:
    """The correction of a plain (affine) conversion as one polynomial of the code; None where it is too long for the kernel."""
    if len(folded.coef) != 2 or len(coef) > LINEARITY_TERMS:
        return None
    offset, inv_gain = folded.coef
    return PixelPolynomial(substitute_affine(coef, inv_gain, offset), folded.rate)


def check_slope(coef: Float, dead: NDArray[np.bool_], what: str) -> None:
    """Refuse coefficients (terms, ny, nx) whose usual slope is not about 1: they are in another order or unit (DataError).

    >>> check_slope(np.array([0.0, 1.0, 1e-7]).reshape(3, 1, 1), np.zeros((1, 1), bool), "cam")
    >>> check_slope(np.array([1e-9, 1e-7, 1.0, 0.0]).reshape(4, 1, 1), np.zeros((1, 1), bool), "cam")
    Traceback (most recent call last):
    v50calib.errors.DataError: cam has 1e-07 as the usual coefficient of e¹, about 1 is expected (1 is that of e^2: ...
    """
    good = np.isfinite(coef).all(axis=0) & ~dead
    if not good.any():
        return
    usual = np.median(coef[:, good], axis=1)
    near = [k for k, value in enumerate(usual) if 1.0 / SLOPE <= value <= SLOPE]
    if 1 in near:
        return
    other = f" ({usual[near[0]]:.3g} is that of e^{near[0]}: highest order first?)" if near else ""
    raise DataError(
        f"{what} has {usual[1]:.3g} as the usual coefficient of e¹, about 1 is expected{other}: give coefficients of electrons in "
        "ascending powers, or set calib.nonlinearity.method=none"
    )


def _too_much(coef: Float, fraction: float, high: float) -> np.ndarray:
    """Pixels whose polynomial changes some level between 1e3 e- and `high` by more than `fraction` of it, or does not rise."""
    levels = np.linspace(min(_JUDGED_FROM_E, high), high, _LEVELS)
    bad = np.zeros(coef.shape[1:], np.bool_)
    previous = np.full(coef.shape[1:], -np.inf)
    for level in levels:
        value = evaluate_polynomial(np.full((1, *coef.shape[1:]), level), coef)[0]
        bad |= (np.abs(value - level) > fraction * abs(level)) | ~(value > previous)
        previous = value
    return bad
