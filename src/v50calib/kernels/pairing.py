"""Which read is subtracted from which: pairs of frame indices from their order, stamps, exposures and reset flags.

The functions that pair return (first, second) indices of frames, in the order of the second reads. Pixel values are
not used.
"""

from __future__ import annotations

import numpy as np

from v50calib.kernels.arrays import Float, Index, Mask

Pairs = tuple[Index, Index]


def shortest_reads(exposure: Float) -> Mask:
    """Frames taken right after a reset: those with the shortest time since reset, to 1e-4 of it.

    >>> shortest_reads(np.array([0.1, 4.6, 0.1, 4.6]))
    array([ True, False,  True, False])
    """
    shortest = float(exposure.min(initial=np.inf))
    return np.asarray(exposure <= shortest + 1e-4 * abs(shortest))


def by_index(order: Index, *, second_first: bool) -> Pairs:
    """Frames 2i and 2i+1 of `order`; second_first: 2i+1 is the first read and 2i+2 its second.

    >>> by_index(np.arange(5), second_first=False), by_index(np.arange(5), second_first=True)
    ((array([0, 2]), array([1, 3])), (array([1, 3]), array([2, 4])))
    """
    start = 1 if second_first else 0
    n = (len(order) - start) // 2
    return order[start : start + 2 * n : 2], order[start + 1 : start + 2 * n : 2]


def by_previous(order: Index, exposure: Float, reset: Mask) -> Pairs:
    """Each frame with the one before it in `order`, where both are of one ramp: no reset between, exposure rising.

    >>> exposure = np.array([0.1, 1.0, 2.0, 0.1, 1.0])
    >>> by_previous(np.arange(5), exposure, shortest_reads(exposure))
    (array([0, 1, 3]), array([1, 2, 4]))
    """
    first, second = order[:-1], order[1:]
    same = ~reset[second] & (exposure[second] > exposure[first])
    return first[same], second[same]


def by_nearest(order: Index, stamp: Float, reset: Mask, *, window: float | None, either_side: bool) -> Pairs:
    """Each non-reset frame with a reset frame: the latest before it, or with either_side the nearest in time.

    order       frames in the order in which they are taken to be read
    window      s; a reset further away is no partner
    Ties (to 1e-6 s) go to the earlier reset. "Before" goes by the rank in `order`, distance by the stamps.

    >>> stamp, reset = np.array([0.0, 1.0, 5.0, 9.0]), np.array([True, False, False, True])
    >>> by_nearest(np.arange(4), stamp, reset, window=None, either_side=True)
    (array([0, 3]), array([1, 2]))
    """
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    resets = order[reset[order]]
    signals = order[~reset[order]]
    if not resets.size or not signals.size:
        empty = np.zeros(0, np.int64)
        return empty, empty
    after = np.searchsorted(rank[resets], rank[signals])
    earlier, later = resets[np.maximum(after - 1, 0)], resets[np.minimum(after, resets.size - 1)]
    has_earlier, has_later = after > 0, (after < resets.size) & either_side
    far = np.inf
    to_earlier = np.where(has_earlier, np.abs(stamp[signals] - stamp[earlier]), far)
    to_later = np.where(has_later, np.abs(stamp[later] - stamp[signals]), far)
    # stamps are rounded: a microsecond more does not make a frame's own reset the more distant one
    partner = np.where(to_earlier <= to_later + 1e-6, earlier, later)
    distance = np.minimum(to_earlier, to_later)
    found = np.isfinite(distance) & (distance <= (far if window is None else window))
    return partner[found], signals[found]


def sorted_in_time(pairs: Pairs, stamp: Float) -> Pairs:
    """Pairs by the mean of their two stamps, earliest first; equal ones keep their order.

    >>> sorted_in_time((np.array([2, 0]), np.array([3, 1])), np.array([0.0, 1.0, 2.0, 3.0]))
    (array([0, 2]), array([1, 3]))
    """
    first, second = pairs
    order = np.argsort(0.5 * (stamp[first] + stamp[second]), kind="stable")
    return first[order], second[order]


def unpaired(n_frames: int, pairs: Pairs) -> Index:
    """Frames that are in no pair.

    >>> unpaired(5, (np.array([0, 2]), np.array([1, 3])))
    array([4])
    """
    used = np.zeros(n_frames, np.bool_)
    used[pairs[0]] = used[pairs[1]] = True
    return np.flatnonzero(~used)
