"""All frame stages and photometry in one pass over the raw frames, where they fold into one polynomial per pixel."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from v50calib.engine.constants import FrameConstants
from v50calib.kernels.arrays import Float
from v50calib.kernels.fused import cds_polynomial
from v50calib.schema import LINEARITY_TERMS
from v50calib.stages.photometry.constants import PhotometryConstants

#: pairs of a tile, as float64 bytes: their codes and sums stay in the L2 cache while the detector's rows pass by once
TILE_BYTES = 1536 * 1024


#: terms of the fused kernel's polynomial (the linearity's 6; a plain ADC conversion is padded with zeros)
FUSED_TERMS = LINEARITY_TERMS


#: columns up to which short detector rows are joined
LONG_ROW = 128


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


def fold_pairs(frame: FrameConstants, raw: NDArray[np.uint16], start_pair: int, out: Float | None = None) -> Float:
    """CDS electrons (n, ny, nx) of raw frames (2n, ny, nx) by the folded polynomial; masked pixels finite."""
    assert frame.folded is not None
    n = len(raw) // 2
    ny, nx = frame.shape
    buffer = np.empty((n, ny * nx)) if out is None else out[:n].reshape(n, ny * nx)
    coef = frame.folded.coef.reshape(len(frame.folded.coef), -1)
    rate = frame.folded.rate.reshape(-1)
    flat_raw = raw.reshape(2 * n, ny * nx)
    between = frame.between[start_pair : start_pair + n]
    if (between == between[0]).all():
        cds_polynomial(flat_raw, coef, rate * between[0], buffer)
    else:
        for i in range(n):
            cds_polynomial(flat_raw[2 * i : 2 * i + 2], coef, rate * between[i], buffer[i : i + 1])
    return buffer.reshape(n, ny, nx)
