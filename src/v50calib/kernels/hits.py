"""What stands off its neighbours in time, in the series of one pixel: hits in reads, outliers in differences, and their repair.

The same answers as those for whole chunks (`stages.dark.cosmic_rays`, `stages.cds`), for the few pixels of a tile that have any.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from v50calib.kernels.arrays import Float, Index, Mask
from v50calib.kernels.compiler import nb
from v50calib.kernels.temporal import bridge, find_isolated, find_spikes

_jit = nb.njit(cache=True, nogil=True)

#: a second read that lacks no more than this of the first read's charge, in units of its noise, has kept it
KEPT_SIGMA = 3.0
#: marks of a pair in the series of one pixel: a hit, an outlier, a value that was filled in
HIT, OUTLIER, FILLED = 1, 2, 4


@_jit
def charge_before(
    first: float, second: float, hit_first: bool, hit_second: bool, sigma_first: float, sigma_second: float, threshold: float
) -> tuple[bool, bool, bool]:
    """Whether a hit fell before the first read, and whether the first and the second read are hit on their own.

    first, second: excess of the two reads over their neighbours in time [e-]; hit: reads that were found; sigma: their noise.
    A well keeps its charge until it is reset, so what the first read has the second has too, within its noise. The first read alone is
    off where its excess is missing in the second (that read belongs to another ramp, or the first was misread); both are off on their
    own where more fell between them, or where the second is clipped. In a ramp that is hit half of the threshold counts.

    >>> charge_before(500.0, 503.0, True, True, 1.0, 1.0, 20.0), charge_before(500.0, 1.0, True, False, 1.0, 1.0, 20.0)
    ((True, False, False), (False, True, False))
    >>> charge_before(500.0, 900.0, True, True, 1.0, 1.0, 20.0), charge_before(0.0, 400.0, False, True, 1.0, 1.0, 20.0)
    ((False, True, True), (False, False, True))
    """
    found_first = hit_first or first > 0.5 * threshold * sigma_first
    found_second = hit_second or second > 0.5 * threshold * sigma_second
    lacks, half, noise = first - second, 0.5 * first, KEPT_SIGMA * sigma_second
    kept = lacks <= max(half, noise) and -lacks <= threshold * sigma_second
    clipped = lacks > threshold * sigma_second and second > half
    before = found_first and kept and not clipped
    return before, found_first and not before, found_second and not before


@_jit
def charges(excess: Float, hit: Mask, noise: Float, threshold: float) -> tuple[Mask, Mask]:
    """`charge_before` of many hits: before (hits,), alone (2, hits); excess, hit, noise (2, hits).

    >>> before, alone = charges(np.array([[500.0], [503.0]]), np.ones((2, 1), bool), np.ones((2, 1)), 20.0)
    >>> before, alone.ravel()
    (array([ True]), array([False, False]))
    """
    n = hit.shape[1]
    before, alone = np.empty(n, np.bool_), np.empty((2, n), np.bool_)
    for j in range(n):
        before[j], alone[0, j], alone[1, j] = charge_before(
            excess[0, j], excess[1, j], hit[0, j], hit[1, j], noise[0, j], noise[1, j], threshold
        )
    return before, alone


@_jit
def _bridged(series: Float, bad: Mask, lag: int, rows: Index, use_median: bool) -> Float:
    """Replacements of series[rows, 0]; not finite where there is none."""
    out = np.empty(rows.size)
    bridge(series, bad, lag, rows, np.zeros(rows.size, np.int64), use_median, out)
    return out


@_jit
def repair_hits(
    reads: Float, sigma: Float, threshold: float, fill: bool, use_median: bool, marks: NDArray[np.uint8], marked: Index
) -> None:  # fmt: skip
    """Find the hits of one pixel's reads (2n, 1), first and second reads by turns, and repair them in place.

    sigma (2,) of first and of second reads. Marks (n,) of the pairs are OR-ed, and 1 is added to marked (2n,) for each read with a hit:
    a caller who finds too many of them in a frame must not take it.

    >>> reads, marks, marked = np.zeros((12, 1)), np.zeros(6, np.uint8), np.zeros(12, np.int64)
    >>> reads[1::2], reads[5] = 100.0, 900.0
    >>> repair_hits(reads, np.ones(2), 20.0, True, False, marks, marked)
    >>> reads[5, 0].item(), marks.tolist(), np.flatnonzero(marked).tolist()
    (100.0, [0, 0, 5, 0, 0, 0], [5])
    """
    hit = np.empty(reads.shape, np.bool_)
    if find_spikes(reads, threshold * sigma.reshape(2, 1), hit) == 0:
        return
    n = len(marks)
    struck, bad = np.empty(n, np.int64), np.empty(reads.shape, np.bool_)
    count = 0
    for k in range(n):
        either = hit[2 * k, 0] or hit[2 * k + 1, 0]
        # no estimate rests on either read of a ramp that is hit
        bad[2 * k, 0] = bad[2 * k + 1, 0] = either
        if either:
            struck[count] = k
            count += 1
    struck = struck[:count]
    first, second = _bridged(reads, bad, 2, 2 * struck, use_median), _bridged(reads, bad, 2, 2 * struck + 1, use_median)
    for j in range(count):
        a, b = 2 * struck[j], 2 * struck[j] + 1
        charge = reads[a, 0] - first[j] if np.isfinite(first[j]) else 0.0
        more = reads[b, 0] - second[j] if np.isfinite(second[j]) else 0.0
        before, alone_a, alone_b = charge_before(charge, more, hit[a, 0], hit[b, 0], sigma[0], sigma[1], threshold)
        known = np.isfinite(first[j]) and np.isfinite(second[j])
        both = before and known
        if not known:
            alone_a, alone_b = hit[a, 0], hit[b, 0]
        one, other = both or alone_a, both or alone_b
        marked[a] += one
        marked[b] += other
        if one or other:
            marks[struck[j]] |= HIT
        if not fill:
            continue
        if both:
            # both reads lose the same electrons: their difference stays as it was measured
            reads[a, 0] -= charge
            reads[b, 0] -= charge
            marks[struck[j]] |= FILLED
            continue
        if one and np.isfinite(first[j]):
            reads[a, 0] = first[j]
            marks[struck[j]] |= FILLED
        if other and np.isfinite(second[j]):
            reads[b, 0] = second[j]
            marks[struck[j]] |= FILLED


@_jit
def clipped(series: Float, limit: Float, iterations: int) -> Mask:
    """Isolated outliers (n, 1) of one pixel's differences by more than limit (1,), looked for again with those found bridged.

    >>> np.flatnonzero(clipped(np.array([[0.0], [0.0], [9.0], [0.0], [0.0]]), np.array([5.0]), 2))
    array([2])
    """
    found, new = np.zeros(series.shape, np.bool_), np.empty(series.shape, np.bool_)
    current = series
    for _ in range(iterations):
        if find_isolated(current, limit, new) == 0 or not (new & ~found).any():
            break
        found |= new
        current = _filled(series, found, False)
    return found


@_jit
def _filled(series: Float, bad: Mask, use_median: bool) -> Float:
    """A copy with the bad samples bridged, where that is possible."""
    rows, out = np.nonzero(bad)[0], series.copy()
    values = _bridged(series, bad, 1, rows, use_median)
    for j in range(rows.size):
        if np.isfinite(values[j]):
            out[rows[j], 0] = values[j]
    return out


@_jit
def repair_outliers(series: Float, limit: float, use_median: bool, marks: NDArray[np.uint8], marked: Index) -> None:
    """Bridge the isolated outliers of one pixel's differences (n, 1) in place; marks, marked (n,) as in `repair_hits`.

    >>> series, marks, marked = np.array([[0.0], [0.0], [9.0], [2.0], [2.0]]), np.zeros(5, np.uint8), np.zeros(5, np.int64)
    >>> repair_outliers(series, 5.0, False, marks, marked)
    >>> series[2, 0].item(), marks.tolist(), marked.tolist()
    (1.0, [0, 0, 6, 0, 0], [0, 0, 1, 0, 0])
    """
    bad = np.empty(series.shape, np.bool_)
    if find_isolated(series, np.full(1, limit), bad) == 0:
        return
    rows = np.nonzero(bad)[0]
    values = _bridged(series, bad, 1, rows, use_median)
    for j in range(rows.size):
        marks[rows[j]] |= OUTLIER
        marked[rows[j]] += 1
        if np.isfinite(values[j]):
            series[rows[j], 0] = values[j]
            marks[rows[j]] |= FILLED
