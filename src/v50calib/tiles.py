"""A chunk of a visit's frames, tile by tile: what one Dask task does.

Raw uint16 in; weighted sums, flags and cube bins out, in tiles small enough to stay in the CPU cache. No full-chunk temporary is
made. What holds for the whole visit comes prepared (`preparation`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from v50calib import general
from v50calib.dq import DQ
from v50calib.kernels.fused import code_flags, extract_pairs
from v50calib.preparation import FrameConstants, fold_pairs
from v50calib.schema import LINEARITY_TERMS
from v50calib.stages.base import Float, Tile
from v50calib.stages.photometry import Photometry, PhotometryConstants, Sums, joined

#: pairs of a tile, as float64 bytes: their codes and sums stay in the L2 cache while the detector's rows pass by once
TILE_BYTES = 1536 * 1024
#: terms of the fused kernel's polynomial (the linearity's 6; a plain ADC conversion is padded with zeros)
FUSED_TERMS = LINEARITY_TERMS
#: columns up to which short detector rows are joined
LONG_ROW = 128


@dataclass
class ChunkResult:
    """What one chunk of pairs leaves behind; small unless full-cadence cubes were asked for.

    start        first pair
    sums         photometry's weighted sums, or None
    dq           (n, nx) or, of a photometric band, (n, 1) uint32 flags of pairs; None where no sample has any
    first_bin    first time bin the chunk has a part of
    bins         (bins, ny, nx) float64 sums of CDS frames; bins at the chunk's ends may be partial
    cube         (n, ny, nx) CDS frames with masked pixels NaN, or None
    """

    start: int
    sums: Sums | None
    dq: NDArray[np.uint32] | None
    first_bin: int
    bins: Float
    cube: NDArray[np.floating] | None = None


def run_chunk(
    frame: FrameConstants,
    raw: NDArray[np.uint16],
    start_pair: int,
    photometry: Photometry | None,
    *,
    binned: bool,
    cube: str | None,
    dtype: str = "float32",
    keep: tuple[int, int] | None = None,
) -> ChunkResult:
    """Raw frames (2n, ny, nx) of pairs start_pair … through adc … photometry, tile by tile; sums stored as `dtype`.

    keep  (first, end) of the pairs that are wanted; the others are the halo of the general path (default: all)
    """
    if frame.chain is not None:
        return run_general(frame, raw, start_pair, photometry, binned=binned, cube=cube, dtype=dtype, keep=keep)
    assert keep is None or keep == (start_pair, start_pair + len(raw) // 2)
    n = len(raw) // 2
    ny, nx = frame.shape
    constants = frame.photometry if photometry is not None else None
    spectral = constants is None or constants.spectral
    # photometry that needs the frames measures them itself: the fused kernel then makes the time bins alone
    frames = photometry if photometry is not None and constants is not None and constants.frame is not None else None
    plan = _plan(frame, constants if frames is None else None)
    first_bin, local_bins, acc = _local_bins(frame, start_pair, n, binned=binned, shape=plan.shape)
    columns = np.empty((plan.per_column, n, nx), dtype)
    totals = np.zeros((n, len(plan.weights) - plan.per_column))
    dq: NDArray[np.uint32] | None = None
    used = constants.used if constants is not None else ~frame.state.masked
    step = max(1, TILE_BYTES // (8 * ny * nx))
    part = np.empty((step, plan.per_column, plan.shape[1]))
    for i, j, dark in _tiles(frame.between[start_pair : start_pair + n], plan.rate, step):
        tile = raw[2 * i : 2 * j]
        part[:] = 0.0
        extract_pairs(
            tile.reshape(-1, *plan.shape), plan.coef, dark, plan.weights, plan.first, plan.last,
            local_bins[i:j], part[: j - i], totals[i:j], acc,
        )  # fmt: skip
        if plan.per_column:
            columns[:, i:j] = part[: j - i].swapaxes(0, 1)
        flags = code_flags(
            tile, used, saturation=frame.saturation_adu, floor=frame.floor_adu,
            sat_bit=int(DQ.SATURATED), floor_bit=int(DQ.AD_FLOOR),
        )  # fmt: skip
        if flags is not None:
            dq = np.zeros((n, nx if spectral else 1), np.uint32) if dq is None else dq
            dq[i:j] = flags if spectral else np.bitwise_or.reduce(flags, axis=1, keepdims=True)
    full = _full_cube(frame, raw, start_pair, cube, step) if cube is not None else None
    sums = Sums(columns, totals) if constants is not None else None
    if frames is not None and constants is not None:
        tiles = (fold_pairs(frame, raw[2 * i : 2 * (i + step)], start_pair + i) for i in range(0, n, step))
        sums = joined([frames.measure(tile, constants, dtype if spectral else "float64") for tile in tiles])
    return ChunkResult(start_pair, sums, dq, first_bin, acc.reshape(-1, ny, nx), full)


def _local_bins(
    frame: FrameConstants, start_pair: int, n: int, *, binned: bool, shape: tuple[int, int]
) -> tuple[int, NDArray[np.int64], Float]:
    """First time bin of a chunk, the bins of its pairs counted from there (-1: none), and their zeroed sums."""
    bins = frame.pair_bins[start_pair : start_pair + n]
    real = bins[bins >= 0] if binned else bins[:0]
    first_bin = int(real[0]) if real.size else 0
    local = np.where(bins >= 0, bins - first_bin, -1) if binned else np.full(n, -1)
    return first_bin, local, np.zeros((int(real[-1]) - first_bin + 1 if real.size else 0, *shape))


def _full_cube(frame: FrameConstants, raw: NDArray[np.uint16], start_pair: int, dtype: str, step: int) -> NDArray[np.floating]:
    """Every CDS frame of a chunk, (n, ny, nx), masked pixels NaN."""
    full = np.empty((len(raw) // 2, *frame.shape), np.dtype(dtype))
    for i in range(0, len(full), step):
        full[i : i + step] = fold_pairs(frame, raw[2 * i : 2 * (i + step)], start_pair + i)
    full[:, frame.state.masked] = np.nan
    return full


def run_general(
    frame: FrameConstants,
    raw: NDArray[np.uint16],
    start_pair: int,
    photometry: Photometry | None,
    *,
    binned: bool,
    cube: str | None,
    dtype: str,
    keep: tuple[int, int] | None,
) -> ChunkResult:
    """`run_chunk` on the general path."""
    assert frame.chain is not None
    fold = (lambda frames, start: fold_pairs(frame, frames, start)) if frame.chain.quick else None
    tile = general.cds_tile(frame.chain, raw, start_pair, fold=fold)
    if keep is not None:
        tile = general.cut(tile, keep[0] - start_pair, keep[1] - start_pair)
    return chunk_of_tile(frame, tile, photometry, binned=binned, cube=cube, dtype=dtype)


def chunk_of_tile(
    frame: FrameConstants, tile: Tile, photometry: Photometry | None, *, binned: bool, cube: str | None, dtype: str
) -> ChunkResult:
    """Sums, flags, bins and cube of a tile of CDS frames."""
    constants = frame.photometry if photometry is not None else None
    values = general.usable_values(tile, frame.state.masked)
    dq = general.pair_flags(tile, constants.used if constants is not None else ~frame.state.masked)
    bins = frame.pair_bins[tile.start : tile.start + len(values)] if binned else np.full(len(values), -1)
    first_bin, acc = general.bin_sums(values, bins)
    sums = photometry.measure(values, constants, dtype) if photometry is not None and constants is not None else None
    if constants is not None and not constants.spectral:
        dq = np.bitwise_or.reduce(dq, axis=1, keepdims=True)
    full = None
    if cube is not None:
        full = values.astype(cube)
        full[:, frame.state.masked] = np.nan
    return ChunkResult(tile.start, sums, dq, first_bin, acc, full)


@dataclass(frozen=True)
class _Plan:
    """Arrays of the fused kernel. A narrow detector (FGS1: 32 columns) is seen as fewer, longer rows."""

    shape: tuple[int, int]
    coef: Float
    rate: Float
    weights: Float
    per_column: int
    first: NDArray[np.int64]
    last: NDArray[np.int64]


def _plan(frame: FrameConstants, constants: PhotometryConstants | None) -> _Plan:
    ny, nx = frame.shape
    group = 1
    if constants is not None and not constants.spectral:
        while ny % (2 * group) == 0 and nx * 2 * group <= LONG_ROW:
            group *= 2
    shape = (ny // group, nx * group)
    assert frame.folded is not None
    coef = np.zeros((FUSED_TERMS, *shape))
    coef[: len(frame.folded.coef)] = frame.folded.coef.reshape(-1, *shape)
    if constants is None:
        none = np.zeros(0, np.int64)
        return _Plan(shape, coef, frame.folded.rate.reshape(shape), np.zeros((0, *shape)), 0, none, none)
    weights = constants.weights.reshape(-1, *shape)
    first, last = constants.first // group, -(-constants.last // group)
    return _Plan(shape, coef, frame.folded.rate.reshape(shape), weights, constants.per_column, first, last)


def _tiles(between: Float, rate: Float, step: int) -> Iterator[tuple[int, int, Float]]:
    """(start, stop, dark electrons between the reads) of tiles of at most `step` pairs of one exposure."""
    edges = np.flatnonzero(np.diff(between)) + 1
    for low, high in pairwise([0, *edges.tolist(), len(between)]):
        dark = rate * between[low]
        for i in range(low, high, step):
            yield i, min(high, i + step), dark


def stage_by_stage(frame: FrameConstants, raw: NDArray[np.uint16], start_frame: int, last: str) -> Tile:
    """The same frames through each stage's own kernel up to and including `last`; nothing folded."""
    tile = raw_tile(raw, frame.exposure_s[start_frame : start_frame + len(raw)], start_frame)
    for stage, constants in zip(frame.stages, frame.constants, strict=True):
        tile = stage.apply(tile, constants)
        if stage.name == last:
            break
    return tile


def raw_tile(raw: NDArray[np.uint16], exposure_s: Float, start: int = 0) -> Tile:
    """Raw frames as the tile the first stage takes: codes as float64, no variance, no flags."""
    zeros = np.zeros(raw.shape)
    return Tile(raw.astype(np.float64), exposure_s, zeros, zeros, np.zeros(raw.shape, np.uint8), start)


def assemble_bins(results: list[ChunkResult], n_bins: int, shape: tuple[int, int]) -> Float:
    """Binned CDS cube (bins, ny, nx): partial bins of neighbouring chunks added in order of time."""
    out = np.zeros((n_bins, *shape))
    for result in sorted(results, key=lambda r: r.start):
        if len(result.bins):
            out[result.first_bin : result.first_bin + len(result.bins)] += result.bins
    return out
