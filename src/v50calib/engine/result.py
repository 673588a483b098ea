"""What is wanted of one chunk of pairs, and what it leaves behind."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from v50calib.dq import frame_to_pixel_dq
from v50calib.engine.constants import VisitConstants
from v50calib.kernels.arrays import Flags, Float, Index, Mask
from v50calib.kernels.fused import rounding_offset
from v50calib.stages.photometry.stage import Photometry
from v50calib.stages.photometry.weight_maps import Sums
from v50calib.stages.tile import Tile


@dataclass(frozen=True)
class Wanted:
    """binned: sums of the time bins; cube: dtype of the full cube, None: not made; dtype of the series.

    whole: the visit's full cube (pairs, ny, nx), where one process makes it: chunks write into it instead of being joined afterwards.
    """

    binned: bool
    cube: str | None = None
    dtype: str = "float32"
    whole: NDArray[np.floating] | None = None

    def room(self, start: int, n: int, shape: tuple[int, ...]) -> NDArray[np.floating] | None:
        """What the full cube of pairs start … is written into, (n, ny, nx); None where it is not made."""
        if self.cube is None:
            return None
        return np.empty((n, *shape), self.cube) if self.whole is None else self.whole[start : start + n]


@dataclass
class ChunkResult:
    """What one chunk of pairs leaves behind; small unless full-cadence cubes were asked for.

    start        first pair
    sums         photometry's weighted sums, or None
    dq           (n, nx) or, of a photometric band, (n, 1) uint32 flags of pairs; None where no sample has any
    first_bin    first time bin the chunk has a part of
    bins         (bins, ny, nx) float64 sums of CDS frames; bins at the chunk's ends may be partial
    cube         (n, ny, nx) CDS frames with masked pixels NaN, or None
    prints       (n,) fingerprints of the pairs' raw codes (`lost.fingerprints`)
    blank        (n,) pairs with a read of one code all over (`lost.blank_pairs`)
    """

    start: int
    sums: Sums | None
    dq: Flags | None
    first_bin: int
    bins: Float
    cube: NDArray[np.floating] | None = None
    prints: NDArray[np.uint64] | None = None
    blank: Mask | None = None


def assemble_bins(results: list[ChunkResult], n_bins: int, shape: tuple[int, int]) -> Float:
    """Binned CDS cube (bins, ny, nx): partial bins of neighbouring chunks added; exact, as they are multiples of `VisitConstants.grain`."""
    out = np.zeros((n_bins, *shape))
    for result in sorted(results, key=lambda r: r.start):
        if len(result.bins):
            out[result.first_bin : result.first_bin + len(result.bins)] += result.bins
    return out


def chunk_of_tile(visit: VisitConstants, tile: Tile, photometry: Photometry | None, wanted: Wanted) -> ChunkResult:
    """Sums, flags, bins and cube of a tile of CDS frames."""
    constants = visit.photometry if photometry is not None else None
    values = usable_values(tile, visit.state.masked)
    dq = pair_flags(tile, constants.used if constants is not None else ~visit.state.masked)
    bins = visit.pair_bins[tile.start : tile.start + len(values)] if wanted.binned else np.full(len(values), -1)
    first_bin, total = bin_sums(values, bins, visit.grain)
    sums = photometry.measure(values, constants, wanted.dtype) if photometry is not None and constants is not None else None
    if constants is not None and not constants.spectral:
        dq = np.bitwise_or.reduce(dq, axis=1, keepdims=True)
    cube = wanted.room(tile.start, len(values), visit.shape)
    if cube is not None:
        cube[:] = values
        cube[:, visit.state.masked] = np.nan
    return ChunkResult(tile.start, sums, dq, first_bin, total, cube)


def local_bins(visit: VisitConstants, start_pair: int, n: int, *, binned: bool, shape: tuple[int, ...]) -> tuple[int, Index, Float]:
    """First time bin of a chunk, the bins of its pairs counted from there (-1: none), and their zeroed sums."""
    bins = visit.pair_bins[start_pair : start_pair + n]
    real = bins[bins >= 0] if binned else bins[:0]
    first_bin = int(real[0]) if real.size else 0
    local = np.where(bins >= 0, bins - first_bin, -1) if binned else np.full(n, -1)
    return first_bin, local, np.zeros((int(real[-1]) - first_bin + 1 if real.size else 0, *shape))


def joined_cubes(results: list[ChunkResult]) -> NDArray[np.floating]:
    """The full cube of all chunks in order of time; itself where they have written into one (`Wanted.whole`)."""
    cubes = [r.cube for r in sorted(results, key=lambda r: r.start) if r.cube is not None]
    whole = cubes[0].base
    if whole is not None and whole.shape == (sum(map(len, cubes)), *cubes[0].shape[1:]) and all(c.base is whole for c in cubes):
        return whole
    return np.concatenate(cubes)


def usable_values(tile: Tile, masked: Mask) -> Float:
    """Values with masked pixels at 0, so that no NaN of theirs reaches a sum with weight 0."""
    values = np.array(tile.values)
    values[:, masked] = 0.0
    return values


def pair_flags(tile: Tile, used: Mask) -> Flags:
    """Flags (n, nx) of pairs: OR over the used pixels (ny, nx) of each column."""
    flags = np.where(used, tile.frame_dq, np.uint8(0))
    return frame_to_pixel_dq(np.bitwise_or.reduce(flags, axis=1))


def bin_sums(values: Float, bins: Index, grain: float) -> tuple[int, Float]:
    """First bin and sums (bins, ny, nx) of frames whose bin (n,) is not negative; their values are rounded to multiples of `grain`.

    >>> first, total = bin_sums(np.ones((5, 1, 1)), np.array([2, 2, 3, 3, -1]), 2.0**-30)
    >>> first, total.ravel().tolist()
    (2, [2.0, 2.0])
    """
    real = bins[bins >= 0]
    first = int(real[0]) if real.size else 0
    out, offset = np.zeros((int(real[-1]) - first + 1 if real.size else 0, *values.shape[1:])), rounding_offset(grain)
    for b in np.unique(real):
        out[b - first] = ((values[bins == b] + offset) - offset).sum(axis=0)
    return first, out
