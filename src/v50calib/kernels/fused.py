"""Compiled kernels of the frame domain: one pass from raw codes to CDS electrons, and weighted sums.

Form (measured, docs/explanation/performance): one flat loop with a single output array per pair into
a buffer that stays in the CPU cache, then one loop per reduction. Float64 arithmetic throughout.
`nnan` assumes no NaN inside: bad pixels carry zero weights here and become NaN on the way out.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from v50calib.kernels.arrays import Float
from v50calib.kernels.compiler import nb

_FAST = {"contract", "nnan", "ninf", "nsz", "arcp"}
_jit = nb.njit(cache=True, nogil=True, fastmath=_FAST, boundscheck=False)
#: sums to one number may be split over vector lanes; each is over one detector row, so chunks and tiles do not matter
_jit_sum = nb.njit(cache=True, nogil=True, fastmath=_FAST | {"reassoc"}, boundscheck=False)

#: as `_jit`, but a NaN of a bad pixel stays one
_jit_nan = nb.njit(cache=True, nogil=True, fastmath={"contract", "nsz", "arcp"})


@_jit_nan
def read_polynomial(raw: NDArray[np.uint16], coef: Float, rate: Float, exposure: Float, out: Float) -> None:
    """``out = Σ_k coef[k]·raw^k - rate·exposure`` for reads raw (n, npix); coef (terms, npix) ascending, rate (npix,), exposure (n,).

    >>> raw, out = np.array([[10]], np.uint16), np.empty((1, 1))
    >>> read_polynomial(raw, np.array([[1.0], [2.0], [0.5]]), np.array([3.0]), np.array([2.0]), out)
    >>> out  # 1 + 2·10 + 0.5·10² - 3·2
    array([[65.]])
    """
    n, npix = out.shape
    terms = coef.shape[0]
    for i in range(n):
        row, codes, t = out[i], raw[i], exposure[i]
        for p in range(npix):
            row[p] = coef[terms - 1, p]
        for k in range(terms - 2, -1, -1):
            c = coef[k]
            for p in range(npix):
                row[p] = row[p] * np.float64(codes[p]) + c[p]
        for p in range(npix):
            row[p] -= rate[p] * t


@_jit
def cds_polynomial(raw: NDArray[np.uint16], coef: Float, dark: Float, out: Float) -> None:
    """CDS of folded pixel polynomials: ``out = Σ_{k>=1} coef[k] (odd^k - even^k) - dark``.

    raw (2n, npix) uint16, even rows first reads; coef (terms, npix) ascending powers of ADU;
    dark (npix,) electrons between the reads; out (n, npix). The constant term cancels.

    >>> raw, out = np.array([[10], [20]], np.uint16), np.empty((1, 1))
    >>> cds_polynomial(raw, np.array([[7.0], [2.0], [0.5]]), np.array([3.0]), out)
    >>> out  # 2·(20 - 10) + 0.5·(20² - 10²) - 3
    array([[167.]])
    """
    n, npix = out.shape
    terms = coef.shape[0]
    if terms == 6:
        c1, c2, c3, c4, c5 = coef[1], coef[2], coef[3], coef[4], coef[5]
        for i in range(n):
            e, o, r = raw[2 * i], raw[2 * i + 1], out[i]
            for p in range(npix):
                a = np.float64(e[p])
                b = np.float64(o[p])
                pa = ((((c5[p] * a + c4[p]) * a + c3[p]) * a + c2[p]) * a + c1[p]) * a
                pb = ((((c5[p] * b + c4[p]) * b + c3[p]) * b + c2[p]) * b + c1[p]) * b
                r[p] = pb - pa - dark[p]
    elif terms == 2:
        c1 = coef[1]
        for i in range(n):
            e, o, r = raw[2 * i], raw[2 * i + 1], out[i]
            for p in range(npix):
                r[p] = c1[p] * (np.float64(o[p]) - np.float64(e[p])) - dark[p]
    else:
        for i in range(n):
            e, o, r = raw[2 * i], raw[2 * i + 1], out[i]
            for p in range(npix):
                a = np.float64(e[p])
                b = np.float64(o[p])
                pa = 0.0
                pb = 0.0
                for k in range(terms - 1, 0, -1):
                    pa = (pa + coef[k, p]) * a
                    pb = (pb + coef[k, p]) * b
                r[p] = pb - pa - dark[p]


@_jit
def weighted_column_sums(cds: Float, weights: Float, first: NDArray[np.int64], last: NDArray[np.int64], out: Float) -> None:
    """``out[i, m, x] = Σ_y weights[m, y, x] cds[i, y, x]`` over rows first[m] <= y < last[m].

    cds (n, ny, nx); weights (maps, ny, nx); out (n, maps, nx). Every static extraction (aperture sum,
    optimal extraction, background mean, first moment) is one such map.

    >>> cds, out = np.array([[[1.0, 2.0], [3.0, 4.0]]]), np.empty((1, 1, 2))
    >>> weighted_column_sums(cds, np.array([[[1.0, 1.0], [0.5, 2.0]]]), np.array([0]), np.array([2]), out)
    >>> out
    array([[[ 2.5, 10. ]]])
    """
    n = cds.shape[0]
    nx = cds.shape[2]
    for i in range(n):
        for m in range(weights.shape[0]):
            acc = out[i, m]
            acc[:] = 0.0
            for y in range(first[m], last[m]):
                w = weights[m, y]
                d = cds[i, y]
                for x in range(nx):
                    acc[x] += w[x] * d[x]


def rounding_offset(grain: float) -> float:
    """What a float64 is added to and then rid of again to be rounded to a multiple of `grain` (a power of 2): up to 2**51 grains.

    >>> offset = rounding_offset(0.25)
    >>> (1.3 + offset) - offset
    1.25
    """
    return 1.5 * 2.0**52 * grain


@_jit_sum
def _dot(weights: Float, row: Float) -> float:
    """``Σ_x weights[x] row[x]`` in vector lanes; the order of the sum depends on the length alone."""
    total = 0.0
    for x in range(row.size):
        total += weights[x] * row[x]
    return total


@_jit
def extract_pairs(
    raw: NDArray[np.uint16],
    coef: Float,
    dark: Float,
    weights: Float,
    first: NDArray[np.int64],
    last: NDArray[np.int64],
    bins: NDArray[np.int64],
    columns: Float,
    totals: Float,
    binned: Float,
    offset: float,
) -> None:
    """CDS, weighted sums and time bins in one pass, detector row by row; CDS frames are never stored.

    raw (2n, ny, nx); coef (6, ny, nx), dark (ny, nx) as in `cds_polynomial`; weights (maps, ny, nx) over rows
    first[m] <= y < last[m]; bins (n,) bin of each pair (negative: left out). Adds to columns (n, k, nx), the sums per
    column of the first k maps, to totals (n, maps - k), the sums over the frame of the others, and to binned
    (nbins, ny, nx). One row of coefficients and results stays in the L1 cache for all n pairs.
    offset: `rounding_offset` of the bins' grain, to which values are rounded before they are added there; their sums then are exact and the
    same however a bin is cut. 0: as they are.

    >>> raw, one, first, last, bins = np.array([[[10]], [[20]]], np.uint16), np.ones((1, 1, 1)), *np.array([[0], [1], [0]])
    >>> columns, totals, binned = np.zeros((1, 1, 1)), np.zeros((1, 0)), np.zeros((1, 1, 1))
    >>> extract_pairs(raw, np.eye(6)[1][:, None, None], 3.0 * one[0], 2.0 * one, first, last, bins, columns, totals, binned, 0.0)
    >>> columns.item(), binned.item()  # 2·(20 - 10 - 3), and the frame's own sum
    (14.0, 7.0)
    """
    n, k = columns.shape[0], columns.shape[1]
    ny, nx = dark.shape
    row = np.empty(nx)
    for y in range(ny):
        c1, c2, c3, c4, c5 = coef[1, y], coef[2, y], coef[3, y], coef[4, y], coef[5, y]
        d = dark[y]
        for i in range(n):
            e, o = raw[2 * i, y], raw[2 * i + 1, y]
            for x in range(nx):
                a = np.float64(e[x])
                b = np.float64(o[x])
                pa = ((((c5[x] * a + c4[x]) * a + c3[x]) * a + c2[x]) * a + c1[x]) * a
                pb = ((((c5[x] * b + c4[x]) * b + c3[x]) * b + c2[x]) * b + c1[x]) * b
                row[x] = pb - pa - d[x]
            for m in range(k):
                if first[m] <= y and y < last[m]:
                    w = weights[m, y]
                    acc = columns[i, m]
                    for x in range(nx):
                        acc[x] += w[x] * row[x]
            for m in range(k, weights.shape[0]):
                if first[m] <= y and y < last[m]:
                    totals[i, m - k] += _dot(weights[m, y], row)
            if bins[i] >= 0:
                total = binned[bins[i], y]
                # without `reassoc` this is no identity
                for x in range(nx):
                    total[x] += (row[x] + offset) - offset


@_jit
def extreme_codes(raw: NDArray[np.uint16], block: int) -> tuple[int, int]:
    """Smallest and largest of flat raw codes, block by block (one reduction a loop vectorizes; the block stays in the cache).

    >>> extreme_codes(np.array([7, 3, 9], np.uint16), 2)
    (3, 9)
    """
    lo, hi = np.uint16(65535), np.uint16(0)
    for start in range(0, raw.size, block):
        part = raw[start : start + block]
        for p in range(part.size):
            hi = max(hi, part[p])
        for p in range(part.size):
            lo = min(lo, part[p])
    return int(lo), int(hi)


def code_flags(
    raw: NDArray[np.uint16], used: NDArray[np.bool_], *, saturation: int, floor: int, sat_bit: int, floor_bit: int
) -> NDArray[np.uint32] | None:
    """Flags (n, nx) of pairs whose used pixels touch the ends of the converter's range.

    raw (2n, ny, nx); used (ny, nx): pixels that enter the column's flux. A pair is flagged where either
    of its reads is at or above `saturation` (sat_bit) or at or below `floor` (floor_bit). None where no code is.

    >>> raw = np.array([[[5, 9]], [[8, 60000]]], np.uint16)
    >>> code_flags(raw, np.ones((1, 2), bool), saturation=60000, floor=5, sat_bit=2, floor_bit=64)
    array([[64,  2]], dtype=uint32)
    """
    n, _, nx = raw.shape
    lo, hi = extreme_codes(raw.reshape(-1), 8192)
    if hi < saturation and lo > floor:
        return None
    flags = np.zeros((n // 2, nx), np.uint32)
    if hi >= saturation:
        hit = np.asarray(((raw >= saturation) & used).any(axis=1))
        flags |= np.where(hit[0::2] | hit[1::2], np.uint32(sat_bit), np.uint32(0))
    if lo <= floor:
        hit = np.asarray(((raw <= floor) & used).any(axis=1))
        flags |= np.where(hit[0::2] | hit[1::2], np.uint32(floor_bit), np.uint32(0))
    return flags
