"""How a visit's raw frames become CDS frames: leading steps as one polynomial per pixel, then the steps that are left."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from v50calib.engine.steps import BoundStep, bound_steps, through
from v50calib.errors import DataError
from v50calib.kernels.arrays import Float, Mask
from v50calib.kernels.fused import cds_polynomial, read_polynomial
from v50calib.stages.adc.stage import AdcConstants, code_flags
from v50calib.stages.base import FrameStage
from v50calib.stages.cds.stage import Cds
from v50calib.stages.tile import PixelPolynomial, Tile, VisitState, raw_tile


@dataclass(frozen=True)
class FramePlan:
    """The frame stages of a visit with their constants, and how many of their steps fold; picklable.

    folded      leading steps (`bound_steps`) that `polynomial` stands for; the CDS difference may be the last of them
    polynomial  what they make of a raw code, per pixel; not looked at where folded is 0
    masked      (ny, nx) pixels that no sum may use
    exposure_s  (reads,) s since reset; between (pairs,) s between the reads of a pair
    """

    stages: list[FrameStage]
    constants: list[Any]
    masked: Mask
    exposure_s: Float
    between: Float
    folded: int = 0
    polynomial: PixelPolynomial | None = None

    @property
    def steps(self) -> list[BoundStep]:
        """All steps of all stages in order."""
        return bound_steps(self.stages, self.constants)

    @property
    def left(self) -> list[BoundStep]:
        """The steps that do not fold, and all after the first of them."""
        return self.steps[self.folded :]

    @property
    def paired(self) -> bool:
        """Whether the CDS difference is among the folded steps."""
        return any(isinstance(step.stage, Cds) for step in self.steps[: self.folded])

    @property
    def adc(self) -> AdcConstants:
        """Constants of the converter: gain, offset, the ends of its range."""
        return next(c for c in self.constants if isinstance(c, AdcConstants))

    def cds(self, raw: NDArray[np.uint16], start_pair: int) -> Tile:
        """CDS frames of raw frames (2n, ny, nx), pairs start_pair …, without variances; masked pixels may hold anything, also NaN."""
        exposure = self.exposure_s[2 * start_pair : 2 * start_pair + len(raw)]
        if not self.folded:
            return through(self.steps, raw_tile(raw, exposure, 2 * start_pair, variance=False), self.masked)
        flags = self._code_flags(raw)
        if not self.paired:
            tile = replace(raw_tile(raw, exposure, 2 * start_pair, variance=False), values=self.reads(raw, exposure), frame_dq=flags)
        else:
            values = self.differences(raw, start_pair)
            nothing = np.broadcast_to(0.0, values.shape)
            between = self.between[start_pair : start_pair + len(values)]
            tile = Tile(values, between, nothing, nothing, flags[0::2] | flags[1::2], start_pair, variance=False)
        return through(self.left, tile, self.masked)

    def unfolded(self, raw: NDArray[np.uint16], start_pair: int) -> Tile:
        """The same by every stage's own formula, with variances."""
        exposure = self.exposure_s[2 * start_pair : 2 * start_pair + len(raw)]
        return through(self.steps, raw_tile(raw, exposure, 2 * start_pair, variance=True), self.masked)

    def reads(self, raw: NDArray[np.uint16], exposure: Float) -> Float:
        """Single reads (n, ny, nx) of raw frames by the polynomial."""
        assert self.polynomial is not None
        npix = raw[0].size
        out = np.empty((len(raw), npix))
        coef, rate = self.polynomial.coef.reshape(-1, npix), self.polynomial.rate.reshape(npix)
        read_polynomial(raw.reshape(len(raw), npix), coef, rate, exposure, out)
        return out.reshape(raw.shape)

    def differences(self, raw: NDArray[np.uint16], start_pair: int) -> Float:
        """CDS electrons (n, ny, nx) of raw frames (2n, ny, nx) by the polynomial; masked pixels finite."""
        assert self.polynomial is not None
        n, npix = len(raw) // 2, raw[0].size
        out = np.empty((n, npix))
        coef, rate = self.polynomial.coef.reshape(-1, npix), self.polynomial.rate.reshape(npix)
        codes = raw.reshape(2 * n, npix)
        between = self.between[start_pair : start_pair + n]
        if (between == between[0]).all():
            cds_polynomial(codes, coef, rate * between[0], out)
        else:
            for i in range(n):
                cds_polynomial(codes[2 * i : 2 * i + 2], coef, rate * between[i], out[i : i + 1])
        return out.reshape(n, *raw.shape[1:])

    def _code_flags(self, raw: NDArray[np.uint16]) -> NDArray[np.uint8]:
        """SATURATED and AD_FLOOR of raw codes; looked at one by one only where a code reaches an end of the converter."""
        if raw.min() > self.adc.floor_adu and raw.max() < np.min(self.adc.saturation_adu):
            return np.zeros(raw.shape, np.uint8)
        return code_flags(raw, self.adc)


def plan_of(stages: list[FrameStage], constants: list[Any], state: VisitState) -> FramePlan:
    """The plan that folds as many leading stages as compose into one polynomial per pixel, the CDS difference included."""
    between = state.exposure_s[1::2] - state.exposure_s[0::2]
    plan = FramePlan(stages, constants, state.masked, state.exposure_s, between)
    done, polynomial = leading(state)
    if polynomial is None:
        return plan
    # of the cds stage the difference alone is folded: what it may do to the differences looks at neighbours in time
    folded = sum(1 if isinstance(stage, Cds) else len(stage.steps()) for stage in stages[:done])
    whole = PixelPolynomial(np.ascontiguousarray(polynomial.coef), np.ascontiguousarray(polynomial.rate))
    return replace(plan, folded=folded, polynomial=whole)


def leading(state: VisitState) -> tuple[int, PixelPolynomial | None]:
    """How many stages from the first on fold, and the polynomial that they make (None: not even the first does)."""
    done = next((i for i, polynomial in enumerate(state.prefixes) if polynomial is None), len(state.prefixes))
    return done, state.prefixes[done - 1] if done else None


def check_folded(stages: list[FrameStage], folded: PixelPolynomial | None, masked: Mask) -> None:
    """`assert_finite_output` of stages that fold: finite codes through finite coefficients give finite values. Raises DataError."""
    asking = [stage.name for stage in stages if stage.config.assert_finite_output]
    if folded is None or not asking:
        return
    bad = ~(np.isfinite(folded.coef).all(axis=0) & np.isfinite(folded.rate)) & ~masked
    if bad.any():
        y, x = np.argwhere(bad)[0]
        raise DataError(
            f"calib.{asking[0]}.assert_finite_output: the correction of {int(bad.sum())} usable pixels is not finite, the first at "
            f"(y, x) = ({y}, {x}); look at the calibration maps there"
        )
