"""The frame domain in one compiled pass where hits and outliers are repaired in time: what profile `strict` asks for.

As `engine.one_pass`, of plans whose steps do not fold because some look at neighbours in time. A frame with more hits or outliers than
may be repaired keeps its values, which depends on all its pixels: a chunk that has one goes stage by stage instead.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from v50calib.dq import DQ
from v50calib.engine.constants import VisitConstants
from v50calib.engine.frames import with_halo
from v50calib.engine.plan import FramePlan
from v50calib.engine.result import ChunkResult, Wanted, local_bins
from v50calib.engine.steps import halo_of
from v50calib.kernels.arrays import Float
from v50calib.kernels.fused import code_flags, rounding_offset
from v50calib.kernels.repaired import Hits, Made, Outliers, PixelMaps, Sought, repaired_pairs
from v50calib.schema import LINEARITY_TERMS
from v50calib.stages.cds.stage import Cds
from v50calib.stages.dark import cosmic_rays
from v50calib.stages.dark.stage import Dark
from v50calib.stages.flat.stage import Flat
from v50calib.stages.photometry.stage import summed

#: pairs of a tile, and pixels that are worked on at once: their reads and differences, 1.5 MB, stay in the L2 cache
TILE_PAIRS, TILE_PIXELS = 512, 128
#: e-; whether values beyond stay finite is for the stages to say
LARGEST = 1e300
#: bits of `kernels.hits.HIT`, OUTLIER and FILLED in the flags of pairs
BITS = np.array([DQ.JUMP_DET, DQ.OUTLIER, DQ.FLUX_ESTIMATED], np.uint32)


class Repairs(NamedTuple):
    """What the compiled pass needs of the steps that do not fold.

    exposure (reads,) as the dark is scaled by it; most_hit, most_outlying: marked pixels from which on a frame is left as it is.
    """

    maps: PixelMaps
    hits: Hits
    outliers: Outliers
    exposure: Float
    most_hit: float
    most_outlying: float


def repairs_of(plan: FramePlan) -> Repairs | None:
    """What the steps of a plan that do not fold amount to; None where they are others than dark, hits, flat, difference and outliers."""
    polynomial = plan.polynomial
    if polynomial is None or polynomial.rate.any() or len(polynomial.coef) > LINEARITY_TERMS:
        return None
    left = {step.stage.name: step.stage for step in plan.left}
    constants = {stage.name: c for stage, c in zip(plan.stages, plan.constants, strict=True)}
    dark, flat, cds = left.get(Dark.name), left.get(Flat.name), left.get(Cds.name)
    if not (isinstance(dark, Dark) and isinstance(cds, Cds)) or not set(left) <= {Dark.name, Flat.name, Cds.name}:
        return None
    shape = plan.masked.size
    c = constants[Dark.name]
    hits, outliers = dark.compiled(c), cds.compiled(constants[Cds.name])
    inverse = np.ones(shape)
    if isinstance(flat, Flat):
        if constants[Flat.name].design is not None:
            return None
        inverse = constants[Flat.name].inverse.ravel()
    if hits is None or outliers is None:
        return None
    coef = np.zeros((LINEARITY_TERMS, shape))
    coef[: len(polynomial.coef)] = polynomial.coef.reshape(-1, shape)
    maps = PixelMaps(coef, c.rate.ravel(), c.still.ravel(), inverse, plan.masked.ravel())
    exposure = plan.exposure_s if c.scale is None else plan.exposure_s * c.scale
    if not _finite(maps, exposure):
        return None
    return Repairs(maps, hits, outliers[0], exposure, cosmic_rays.most_of(dark.config.cosmic_rays, c.masked), outliers[1])


def _finite(maps: PixelMaps, exposure: Float) -> bool:
    """Whether no code makes anything but a finite number of a usable pixel."""
    used = ~maps.masked
    powers = 65535.0 ** np.arange(len(maps.coef))
    largest = powers @ np.abs(maps.coef[:, used]) + np.abs(maps.rate[used]) * np.abs(exposure).max() + np.abs(maps.still[used])
    # NaN is not below
    return bool((largest * np.maximum(np.abs(maps.inverse_flat[used]), 1.0) < LARGEST).all())


def repaired_pass(
    visit: VisitConstants, repairs: Repairs, raw: NDArray[np.uint16], first: int, keep: tuple[int, int], wanted: Wanted
) -> ChunkResult | None:
    """Raw frames (2n, ny, nx) of pairs first … to sums, flags, bins and cube of pairs keep[0] … keep[1]; the others are halo.

    None where a frame has so many hits or outliers that it keeps its values.
    """
    ny, nx = visit.shape
    n, npix = keep[1] - keep[0], ny * nx
    constants = visit.photometry
    weights, rows = np.zeros((0, ny, nx)), (np.zeros(0, np.int64), np.zeros(0, np.int64))
    if constants is not None:
        weights, rows = constants.maps.weights, (constants.maps.first, constants.maps.last)
    used = constants.used if constants is not None else ~visit.state.masked
    first_bin, bins, binned = local_bins(visit, keep[0], n, binned=wanted.binned, shape=(npix,))
    sums, dq = np.zeros((n, len(weights), nx)), np.zeros((n, nx), np.uint32)
    cube = wanted.room(keep[0], n, visit.shape)
    rows_of_cube = np.empty((0, npix), wanted.dtype) if cube is None else cube.reshape(n, npix)
    codes, halo, offset = raw.reshape(len(raw), npix), halo_of(visit.plan.stages), rounding_offset(visit.grain)
    for start in range(0, n, TILE_PAIRS):
        stop = min(start + TILE_PAIRS, n)
        # in pairs of this chunk
        low, high = with_halo(start + keep[0] - first, stop + keep[0] - first, halo, len(raw) // 2)
        hit, outlying = np.zeros(2 * (high - low), np.int64), np.zeros(high - low, np.int64)
        repaired_pairs(
            codes[2 * low : 2 * high], repairs.exposure[2 * (first + low) : 2 * (first + high)], keep[0] + start - first - low,
            TILE_PIXELS, repairs.maps, repairs.hits, repairs.outliers,
            Sought(weights, *rows, used.ravel(), BITS, bins[start:stop], offset),
            Made(sums[start:stop], binned, dq[start:stop], rows_of_cube[start:stop], hit, outlying),
        )  # fmt: skip
        if (repairs.hits.fill and (hit > repairs.most_hit).any()) or (outlying > repairs.most_outlying).any():
            return None
    adc = visit.plan.adc
    flags = code_flags(
        raw[2 * (keep[0] - first) : 2 * (keep[1] - first)], used,
        saturation=int(np.min(adc.saturation_adu)), floor=adc.floor_adu, sat_bit=int(DQ.SATURATED), floor_bit=int(DQ.AD_FLOOR),
    )  # fmt: skip
    dq = dq if flags is None else dq | flags
    if constants is not None and not constants.spectral:
        dq = np.bitwise_or.reduce(dq, axis=1, keepdims=True)
    return ChunkResult(
        keep[0], summed(sums, constants.maps, wanted.dtype) if constants is not None else None, dq if dq.any() else None, first_bin,
        binned.reshape(-1, ny, nx), cube,
    )  # fmt: skip
