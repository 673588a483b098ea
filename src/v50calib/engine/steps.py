"""The general frame path: stage by stage on tiles, for methods that cannot be folded into one polynomial per pixel.

Slower than `tiles`' one-pass kernel and equal to it where both apply. Methods that look at neighbours in time get
their chunk with a halo of pairs on either side, cut at the visit's ends, so results do not depend on the chunking.
What they need to know of the whole visit is measured once, on the fixed sample pairs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from v50calib.engine.constants import Chain, FrameConstants
from v50calib.errors import DataError
from v50calib.kernels.arrays import Float
from v50calib.kernels.fused import read_polynomial
from v50calib.stages.adc.stage import AdcConstants, code_flags
from v50calib.stages.base import FrameStage
from v50calib.stages.cds.stage import Cds
from v50calib.stages.tile import PixelPolynomial, Tile, VisitState, cut, join, raw_tile

#: frames of a piece that runs through the pointwise stages at once: it stays in the cache
PIECE_BYTES = 1536 * 1024

Fold = Callable[[NDArray[np.uint16], int], Float]


def halo_of(stages: Sequence[FrameStage]) -> int:
    """Pairs on either side of a chunk that all temporal methods together look at."""
    return sum(stage.halo for stage in stages)


def chain_of(stages: list[FrameStage], constants: list[Any], state: VisitState) -> Chain | None:
    """The general path of a visit; None where the folded polynomial does all."""
    refines = any(isinstance(stage, Cds) and stage.refines for stage in stages)
    if state.folded is not None and not refines:
        return None
    foldable = [i for i, polynomial in enumerate(state.prefixes) if polynomial is not None]
    # cds itself works on pairs of reads, not on one
    last = max((i for i in foldable if not isinstance(stages[i], Cds)), default=None)
    prefix = None
    if last is not None:
        polynomial = state.prefixes[last]
        assert polynomial is not None
        prefix = (last + 1, PixelPolynomial(np.ascontiguousarray(polynomial.coef), np.ascontiguousarray(polynomial.rate)))
    return Chain(stages, constants, state.masked, state.exposure_s, halo_of(stages), quick=state.folded is not None, prefix=prefix)


# tiles


def through(stages: Sequence[FrameStage], constants: Sequence[Any], tile: Tile, masked: NDArray[np.bool_]) -> Tile:
    """A tile through stages: pointwise steps piece by piece, those that look at neighbours in time on the whole tile."""
    work = [
        (step, constant, stage if step is stage_steps[-1] else None)
        for stage, constant in zip(stages, constants, strict=True)
        for stage_steps in [stage.steps()]
        for step in stage_steps
    ]
    for over_time, group in groupby(work, key=lambda item: item[0].over_time):
        members = list(group)
        length = len(tile.values) if over_time else max(2, PIECE_BYTES // (8 * masked.size) // 2 * 2)
        parts = []
        for i in range(0, len(tile.values), length):
            part = cut(tile, i, i + length)
            part.values = np.asarray(part.values, dtype=np.float64)
            for step, constant, finished in members:
                part = step.run(part, constant)
                if finished is not None:
                    check_finite(finished, part, masked)
            parts.append(part)
        tile = join(parts)
    return tile


def check_finite(stage: FrameStage, tile: Tile, masked: NDArray[np.bool_]) -> None:
    """The stage's `assert_finite_output`. Raises DataError."""
    # one sum tells of any NaN or infinity; only then are masked pixels told apart
    if not stage.config.assert_finite_output or np.isfinite(tile.values.sum()):
        return
    bad = np.argwhere(~np.isfinite(tile.values) & ~masked)
    if len(bad):
        raise DataError(
            f"calib.{stage.name}.assert_finite_output: {len(bad)} values that are not finite, the first at frame "
            f"{tile.start + int(bad[0][0])}, pixel (y, x) = ({bad[0][1]}, {bad[0][2]}); look at the maps of that stage, or turn the check "
            "off to have such values flagged only"
        )


def cds_tile(chain: Chain, raw: NDArray[np.uint16], start_pair: int, *, variance: bool = False, fold: Fold | None = None) -> Tile:
    """CDS differences of raw frames (2n, ny, nx), pairs start_pair …; masked pixels may hold anything, also NaN.

    fold  gives the plain differences of frames by the folded polynomial, taken where the chain is `quick`
    """
    exposure = chain.exposure_s[2 * start_pair : 2 * start_pair + len(raw)]
    if variance:
        return through(chain.stages, chain.constants, raw_tile(raw, exposure, 2 * start_pair, variance=True), chain.masked)
    flags = _flags_of(chain, raw)
    if chain.quick and fold is not None:
        cds, constants = next((s, c) for s, c in zip(chain.stages, chain.constants, strict=True) if isinstance(s, Cds))
        values = fold(raw, start_pair)
        nothing = np.broadcast_to(0.0, values.shape)
        tile = Tile(values, exposure[1::2] - exposure[0::2], nothing, nothing, flags[0::2] | flags[1::2], start_pair, variance=False)
        assert isinstance(cds, Cds)
        out = cds.refine(tile, constants)
        check_finite(cds, out, chain.masked)
        return out
    tile = raw_tile(raw, exposure, 2 * start_pair, variance=False)
    if chain.prefix is None:
        return through(chain.stages, chain.constants, tile, chain.masked)
    done, polynomial = chain.prefix
    tile = replace(tile, values=_reads(raw, polynomial, exposure), frame_dq=flags)
    return through(chain.stages[done:], chain.constants[done:], tile, chain.masked)


def _flags_of(chain: Chain, raw: NDArray[np.uint16]) -> NDArray[np.uint8]:
    """SATURATED and AD_FLOOR of raw codes; looked at one by one only where a code reaches an end of the converter."""
    adc = next(c for c in chain.constants if isinstance(c, AdcConstants))
    if raw.min() > adc.floor_adu and raw.max() < np.min(adc.saturation_adu):
        return np.zeros(raw.shape, np.uint8)
    return code_flags(raw, adc)


def _reads(raw: NDArray[np.uint16], polynomial: PixelPolynomial, exposure: Float) -> Float:
    """Single reads (n, ny, nx) by the polynomial of the stages that fold."""
    npix = raw[0].size
    out = np.empty((len(raw), npix))
    read_polynomial(raw.reshape(len(raw), npix), polynomial.coef.reshape(-1, npix), polynomial.rate.reshape(npix), exposure, out)
    return out.reshape(raw.shape)


# once a visit


def check_folded(stages: Sequence[FrameStage], folded: PixelPolynomial | None, masked: NDArray[np.bool_]) -> None:
    """`assert_finite_output` on the folded path: finite codes through finite coefficients give finite values."""
    asking = [stage.name for stage in stages if stage.config.assert_finite_output]
    if folded is None or not asking:
        return
    bad = ~(np.isfinite(folded.coef).all(axis=0) & np.isfinite(folded.rate)) & ~masked
    if bad.any():
        y, x = np.argwhere(bad)[0]
        raise DataError(
            f"calib.{asking[0]}.assert_finite_output: the correction of {int(bad.sum())} usable pixels is not finite, the first at (y, "
            "x) = "
            f"({y}, {x}); look at the calibration maps there"
        )


# one chunk


# reading


def stage_by_stage(frame: FrameConstants, raw: NDArray[np.uint16], start_frame: int, last: str) -> Tile:
    """The same frames through each stage's own kernel up to and including `last`; nothing folded."""
    exposure = frame.exposure_s[start_frame : start_frame + len(raw)]
    tile = raw_tile(raw.astype(np.float64), exposure, start_frame, variance=True)
    for stage, constants in zip(frame.stages, frame.constants, strict=True):
        tile = stage.apply(tile, constants)
        if stage.name == last:
            break
    return tile
