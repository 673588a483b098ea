"""A chunk of a visit's frames, tile by tile: what one Dask task does.

Raw uint16 in; weighted sums, flags and cube bins out, in tiles small enough to stay in the CPU cache. No full-chunk temporary is
made. What holds for the whole visit comes prepared (`preparation`).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from v50calib.dq import DQ
from v50calib.engine.constants import FrameConstants
from v50calib.engine.one_pass import TILE_BYTES, _full_cube, _local_bins, _plan, _tiles, fold_pairs
from v50calib.engine.result import ChunkResult, chunk_of_tile
from v50calib.engine.steps import cds_tile
from v50calib.kernels.fused import code_flags, extract_pairs
from v50calib.stages.photometry.constants import Sums, joined
from v50calib.stages.photometry.stage import Photometry
from v50calib.stages.tile import cut


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
    tile = cds_tile(frame.chain, raw, start_pair, fold=fold)
    if keep is not None:
        tile = cut(tile, keep[0] - start_pair, keep[1] - start_pair)
    return chunk_of_tile(frame, tile, photometry, binned=binned, cube=cube, dtype=dtype)
