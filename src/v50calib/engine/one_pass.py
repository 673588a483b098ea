"""Frame stages and photometry in one compiled pass over the raw frames: for what folds into one polynomial per pixel.

Tiles are small enough to stay in the CPU cache; no temporary of a chunk's size is made unless a full cube is wanted.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from v50calib.dq import DQ
from v50calib.engine.constants import VisitConstants
from v50calib.engine.result import ChunkResult, Wanted, local_bins
from v50calib.kernels.arrays import Flags, Float, Index
from v50calib.kernels.fused import code_flags, extract_pairs, rounding_offset
from v50calib.schema import LINEARITY_TERMS
from v50calib.stages.photometry.constants import PhotometryConstants
from v50calib.stages.photometry.weight_maps import Sums

#: pairs of a tile, as float64 bytes: their codes and sums stay in the L2 cache while the detector's rows pass by once
TILE_BYTES = 1536 * 1024
#: terms of the compiled polynomial (the linearity's 6; a plain ADC conversion is padded with zeros)
FUSED_TERMS = LINEARITY_TERMS
#: columns up to which short detector rows are joined
LONG_ROW = 128


def one_pass(visit: VisitConstants, raw: NDArray[np.uint16], start_pair: int, wanted: Wanted) -> ChunkResult:
    """Raw frames (2n, ny, nx) of pairs start_pair … to sums, flags, bins and cube; of a plan without steps left."""
    n = len(raw) // 2
    ny, nx = visit.shape
    constants = visit.photometry
    spectral = constants is None or constants.spectral
    maps = _maps(visit, constants)
    first_bin, in_bins, bins = local_bins(visit, start_pair, n, binned=wanted.binned, shape=maps.shape)
    columns = np.empty((maps.per_column, n, nx), wanted.dtype)
    totals = np.zeros((n, len(maps.weights) - maps.per_column))
    dq: Flags | None = None
    adc = visit.plan.adc
    saturation, floor = int(np.min(adc.saturation_adu)), adc.floor_adu
    used = constants.used if constants is not None else ~visit.state.masked
    step, offset = max(1, TILE_BYTES // (8 * ny * nx)), rounding_offset(visit.grain)
    part = np.empty((step, maps.per_column, maps.shape[1]))
    for i, j, dark in _tiles(visit.between[start_pair : start_pair + n], maps.rate, step):
        tile = raw[2 * i : 2 * j]
        part[:] = 0.0
        extract_pairs(
            tile.reshape(-1, *maps.shape), maps.coef, dark, maps.weights, maps.first, maps.last,
            in_bins[i:j], part[: j - i], totals[i:j], bins, offset,
        )  # fmt: skip
        if maps.per_column:
            columns[:, i:j] = part[: j - i].swapaxes(0, 1)
        flags = code_flags(tile, used, saturation=saturation, floor=floor, sat_bit=int(DQ.SATURATED), floor_bit=int(DQ.AD_FLOOR))
        if flags is not None:
            dq = np.zeros((n, nx if spectral else 1), np.uint32) if dq is None else dq
            dq[i:j] = flags if spectral else np.bitwise_or.reduce(flags, axis=1, keepdims=True)
    cube = wanted.room(start_pair, n, visit.shape)
    if cube is not None:
        _write_cube(visit, raw, start_pair, cube, step)
    sums = Sums(columns, totals) if constants is not None else None
    return ChunkResult(start_pair, sums, dq, first_bin, bins.reshape(-1, ny, nx), cube)


@dataclass(frozen=True)
class _Maps:
    """Arrays of the compiled pass. A narrow detector (FGS1: 32 columns) is seen as fewer, longer rows."""

    shape: tuple[int, int]
    coef: Float
    rate: Float
    weights: Float
    per_column: int
    first: Index
    last: Index


def _maps(visit: VisitConstants, constants: PhotometryConstants | None) -> _Maps:
    ny, nx = visit.shape
    group = 1
    if constants is not None and not constants.spectral:
        while ny % (2 * group) == 0 and nx * 2 * group <= LONG_ROW:
            group *= 2
    shape = (ny // group, nx * group)
    polynomial = visit.plan.polynomial
    assert polynomial is not None
    coef = np.zeros((FUSED_TERMS, *shape))
    coef[: len(polynomial.coef)] = polynomial.coef.reshape(-1, *shape)
    rate = polynomial.rate.reshape(shape)
    if constants is None:
        none = np.zeros(0, np.int64)
        return _Maps(shape, coef, rate, np.zeros((0, *shape)), 0, none, none)
    maps = constants.maps
    first, last = maps.first // group, -(-maps.last // group)
    return _Maps(shape, coef, rate, maps.weights.reshape(-1, *shape), maps.per_column, first, last)


def _tiles(between: Float, rate: Float, step: int) -> Iterator[tuple[int, int, Float]]:
    """(start, stop, dark electrons between the reads) of tiles of at most `step` pairs of one exposure."""
    edges = np.flatnonzero(np.diff(between)) + 1
    for low, high in pairwise([0, *edges.tolist(), len(between)]):
        dark = rate * between[low]
        for i in range(low, high, step):
            yield i, min(high, i + step), dark


def _write_cube(visit: VisitConstants, raw: NDArray[np.uint16], start_pair: int, cube: NDArray[np.floating], step: int) -> None:
    """Every CDS frame of a chunk into its cube (n, ny, nx), masked pixels NaN."""
    for i in range(0, len(cube), step):
        cube[i : i + step] = visit.plan.differences(raw[2 * i : 2 * (i + step)], start_pair + i)
    cube[:, visit.state.masked] = np.nan
