"""One compiled pass from raw codes to CDS electrons and their sums, with what stands off its neighbours in time repaired on the way.

A tile is a run of pairs times a few pixels: it goes through all steps while it stays in the CPU cache, and no temporary has a chunk's
size. Pixels without a hit or an outlier, nearly all, only see passes that vectorize; the others are repaired one by one
(`kernels.hits`). The arithmetic is that of the formulas (`kernels.pixelwise`, `stages.dark`, `stages.cds`), operation by
operation, so the digits are theirs.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from v50calib.kernels.arrays import Flags, Float, Index, Mask
from v50calib.kernels.compiler import nb
from v50calib.kernels.hits import OUTLIER, clipped, repair_hits, repair_outliers

_jit = nb.njit(cache=True, nogil=True)
#: as the passes of `kernels.fused`: a multiplication and an addition are rounded once; above, every operation is, as NumPy's are
_jit_contracted = nb.njit(cache=True, nogil=True, fastmath={"contract", "nsz"}, boundscheck=False)


class PixelMaps(NamedTuple):
    """coef (6, npix) of the reads, ascending powers of the code; rate (npix,) times a read's exposure and still (npix,) are subtracted.

    inverse_flat (npix,) 1/flat; masked (npix,): these pixels are 0 in all sums.
    """

    coef: Float
    rate: Float
    still: Float
    inverse_flat: Float
    masked: Mask


class Hits(NamedTuple):
    """Cosmic rays in the reads: sigma (2, npix) of first and of second reads, and how many of them a hit stands off its neighbours.

    fill: repair them, by the median of the neighbours in time or on a straight line.
    """

    sigma: Float
    threshold: float
    fill: bool
    use_median: bool


class Outliers(NamedTuple):
    """Outliers of the differences: clip (npix,), the limit of what is flagged, in `iterations`; limit (npix,) of what is also filled.

    iterations 0: nothing is clipped; fill False: nothing is filled.
    """

    clip: Float
    iterations: int
    limit: Float
    fill: bool
    use_median: bool


class Sought(NamedTuple):
    """weights (maps, ny, nx) over rows first[m] <= y < last[m]; used (npix,): pixels whose flags count; bits of HIT, OUTLIER, FILLED.

    bins (pairs,): bin of each kept pair, negative: left out; offset: `fused.rounding_offset` of its sums.
    """

    weights: Float
    first: Index
    last: Index
    used: Mask
    bits: Flags
    bins: Index
    offset: float


class Made(NamedTuple):
    """Of the kept pairs: sums (n, maps, nx) per column and binned (bins, npix), added to; dq (n, nx), OR-ed; cube (n, npix), or (0, npix).

    hit (2n,), outlying (n,): how many pixels of each frame and of each difference were marked, of the pairs that are not kept too.
    """

    sums: Float
    binned: Float
    dq: Flags
    cube: NDArray[np.floating]
    hit: Index
    outlying: Index


@_jit_contracted
def _polynomials(raw: NDArray[np.uint16], start: int, coef: Float, out: Float) -> None:
    """Codes raw[:, start:] to ``Σ_k coef[k]·raw^k``, in the order of `fused.read_polynomial`."""
    n, width = out.shape
    c0, c1, c2, c3, c4, c5 = coef[0], coef[1], coef[2], coef[3], coef[4], coef[5]
    for i in range(n):
        row, codes = out[i], raw[i, start : start + width]
        for p in range(width):
            a = np.float64(codes[p])
            row[p] = ((((c5[p] * a + c4[p]) * a + c3[p]) * a + c2[p]) * a + c1[p]) * a + c0[p]


@_jit
def _less_dark(reads: Float, exposure: Float, rate: Float, still: Float, any_still: bool) -> None:
    """Take ``rate·exposure``, then what is still, from reads (n, width) in place."""
    n, width = reads.shape
    for i in range(n):
        row, t = reads[i], exposure[i]
        for p in range(width):
            row[p] = row[p] - t * rate[p]
        if any_still:
            for p in range(width):
                row[p] = row[p] - still[p]


@_jit
def _differences(reads: Float, inverse_flat: Float, out: Float) -> None:
    """Second less first reads, each divided by the flat."""
    n, width = out.shape
    for k in range(n):
        first, second, row = reads[2 * k], reads[2 * k + 1], out[k]
        for p in range(width):
            row[p] = second[p] * inverse_flat[p] - first[p] * inverse_flat[p]


@_jit
def _highest(reads: Float, out: Float) -> None:
    """By how much first and second reads at most stand above both nearest neighbours, (2, width): what `find_spikes` asks first."""
    n, width = reads.shape
    out[:] = -np.inf
    for i in range(n):
        row, most = reads[i], out[i % 2]
        left = reads[i - 2] if i >= 2 else reads[min(i + 2, n - 1)]
        right = reads[i + 2] if i + 2 < n else left
        for p in range(width):
            most[p] = max(most[p], row[p] - max(left[p], right[p]))


@_jit
def _furthest(series: Float, out: Float) -> None:
    """By how much differences at most stand off both nearest neighbours, (width,): what `find_isolated` asks.

    The first and the last one, whose limit is wider there, as all others.
    """
    n, width = series.shape
    out[:] = -np.inf
    if n < 3:
        return
    for i in range(n):
        row = series[i]
        left = series[i - 1] if i > 0 else series[2]
        right = series[i + 1] if i < n - 1 else series[n - 3]
        for p in range(width):
            low, high = min(left[p], right[p]), max(left[p], right[p])
            out[p] = max(out[p], max(row[p] - high, low - row[p]))


@_jit_contracted
def _add_weighted(values: Float, first: int, weights: Float, out: Float, m: int, x0: int) -> None:
    """Add ``weights·values[:, first:]`` to out[:, m, x0:], as `fused.weighted_column_sums`."""
    # no views of the rows: of a narrow detector they would cost more than the sums
    for k in range(len(values)):
        for x in range(weights.size):
            out[k, m, x0 + x] += weights[x] * values[k, first + x]


@_jit
def _add_rounded(values: Float, bins: Index, offset: float, out: Float, start: int) -> None:
    """Add differences, rounded, to out[bins, start:], as `fused.extract_pairs`."""
    n, width = values.shape
    for k in range(n):
        b = bins[k]
        if b >= 0:
            for p in range(width):
                out[b, start + p] += (values[k, p] + offset) - offset


@_jit
def _store(values: Float, start: int, masked: Mask, cube: NDArray[np.floating]) -> None:
    """Differences into cube[:, start:], masked pixels NaN."""
    n, width = values.shape
    for k in range(n):
        for p in range(width):
            cube[k, start + p] = values[k, p]
    for p in range(width):
        if masked[start + p]:
            cube[:, start + p] = np.nan


@_jit
def _repair_reads(reads: Float, start: int, maps: PixelMaps, hits: Hits, most: Float, marks: NDArray[np.uint8], marked: Index) -> bool:
    """Hits of reads (2n, width) of the pixels from `start` on; marks (width, n). Returns whether there may be any."""
    width = reads.shape[1]
    _highest(reads, most)
    any_hit = False
    for p in range(width):
        at = start + p
        sigma = hits.sigma[:, at]
        if maps.masked[at]:
            continue
        if most[0, p] > 0.5 * (hits.threshold * sigma[0]) or most[1, p] > 0.5 * (hits.threshold * sigma[1]):
            any_hit = True
            series = reads[:, p].copy().reshape(-1, 1)
            repair_hits(series, sigma.copy(), hits.threshold, hits.fill, hits.use_median, marks[p], marked)
            reads[:, p] = series[:, 0]
    return any_hit


@_jit
def _repair_differences(
    values: Float, start: int, maps: PixelMaps, outliers: Outliers, most: Float, marks: NDArray[np.uint8], marked: Index
) -> bool:  # fmt: skip
    """Outliers of differences (n, width), likewise."""
    n, width = values.shape
    _furthest(values, most)
    any_outlier = False
    for p in range(width):
        at = start + p
        if maps.masked[at]:
            continue
        flag = outliers.iterations > 0 and most[p] > outliers.clip[at]
        fill = outliers.fill and most[p] > outliers.limit[at]
        if not (flag or fill):
            continue
        any_outlier = True
        series = values[:, p].copy().reshape(-1, 1)
        if flag:
            found = clipped(series, outliers.clip[at : at + 1], outliers.iterations)
            for k in range(n):
                if found[k, 0]:
                    marks[p, k] |= OUTLIER
        if fill:
            repair_outliers(series, outliers.limit[at], outliers.use_median, marks[p], marked)
            values[:, p] = series[:, 0]
    return any_outlier


@_jit
def _keep(values: Float, start: int, rows: int, maps: PixelMaps, sought: Sought, made: Made) -> None:
    """Sums, bins and cube of the kept differences (n, width) of `rows` detector rows, or of a part of one; pixels from `start`."""
    width = values.shape[1]
    y0, x0 = divmod(start, made.dq.shape[1])
    part = width // rows
    for p in range(width):
        if maps.masked[start + p]:
            values[:, p] = 0.0
    for r in range(rows):
        y = y0 + r
        for m in range(len(sought.first)):
            if sought.first[m] <= y and y < sought.last[m]:
                _add_weighted(values, r * part, sought.weights[m, y, x0 : x0 + part], made.sums, m, x0)
    _add_rounded(values, sought.bins, sought.offset, made.binned, start)
    if len(made.cube):
        _store(values, start, maps.masked, made.cube)


@_jit
def _flag(marks: NDArray[np.uint8], low: int, start: int, sought: Sought, dq: Flags) -> None:
    """OR the bits of marks (width, pairs), the kept pairs from `low` on, into dq (kept, nx); marks are cleared."""
    n, nx = dq.shape
    for p in range(marks.shape[0]):
        at = start + p
        if sought.used[at]:
            for k in range(n):
                mark = marks[p, low + k]
                if mark:
                    x = at % nx
                    for b in range(3):
                        if mark & (1 << b):
                            dq[k, x] |= sought.bits[b]
        marks[p] = 0


@_jit
def repaired_pairs(
    raw: NDArray[np.uint16], exposure: Float, low: int, block: int, maps: PixelMaps, hits: Hits, outliers: Outliers, sought: Sought,
    made: Made,
) -> None:  # fmt: skip
    """Raw codes (2n, npix) of a tile's pairs through all steps; pairs low … of them are kept, as many as `made` holds.

    exposure (2n,) s of the reads, as the dark is scaled by it; block: pixels that are worked on at once, about.
    """
    n, npix = len(raw) // 2, raw.shape[1]
    kept, nx = made.dq.shape
    any_still = bool(maps.still.any())
    rows = max(1, block // nx)
    part = nx if rows > 1 else min(block, nx)
    store, differences = np.empty(2 * n * rows * part), np.empty(n * rows * part)
    most, furthest = np.empty(2 * rows * part), np.empty(rows * part)
    marks = np.zeros((rows * part, n), np.uint8)
    for start_row in range(0, npix // nx, rows):
        high = min(rows, npix // nx - start_row)
        for x in range(0, nx, part):
            width = high * min(part, nx - x)
            start = start_row * nx + x
            stop = start + width
            reads, values = store[: 2 * n * width].reshape(2 * n, width), differences[: n * width].reshape(n, width)
            _polynomials(raw, start, maps.coef[:, start:stop].copy(), reads)
            _less_dark(reads, exposure, maps.rate[start:stop], maps.still[start:stop], any_still)
            marked = _repair_reads(reads, start, maps, hits, most[: 2 * width].reshape(2, width), marks, made.hit)
            _differences(reads, maps.inverse_flat[start:stop], values)
            marked |= _repair_differences(values, start, maps, outliers, furthest[:width], marks, made.outlying)
            if marked:
                _flag(marks[:width], low, start, sought, made.dq)
            _keep(values[low : low + kept], start, high, maps, sought, made)
