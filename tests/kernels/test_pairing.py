"""Pairing of reads against brute force on shuffled, gappy and incomplete ramps."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from v50calib.kernels import pairing


def ramps(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(stamp, exposure, reset) of 12 ramps of one reset and 0-3 later reads, some reads lost, in shuffled order."""
    rng = np.random.default_rng(seed)
    stamp, exposure = [], []
    for ramp in range(12):
        for k, t in enumerate((0.1, 2.0, 4.6)[: 1 + rng.integers(0, 3)]):
            if rng.random() > 0.15:
                stamp.append(10.0 * ramp + t + (100.0 if ramp > 6 else 0.0) + 1e-3 * k)
                exposure.append(t)
    stamp, exposure = np.array([*stamp, 999.0, 999.2]), np.array([*exposure, 0.1, 2.0])
    order = rng.permutation(len(stamp))
    return stamp[order], exposure[order], exposure[order] < 0.11


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**31), st.booleans(), st.sampled_from([None, 2.5, 8.0]))
def test_nearest_by_brute_force(seed: int, either_side: bool, window: float | None) -> None:
    stamp, _, reset = ramps(seed)
    order = np.argsort(stamp)
    first, second = pairing.by_nearest(order, stamp, reset, window=window, either_side=either_side)
    expected = []
    for s in order[~reset[order]]:
        choices = [r for r in order[reset[order]] if either_side or stamp[r] < stamp[s]]
        best = min(choices, key=lambda r: (abs(stamp[s] - stamp[r]), stamp[r]), default=None)
        if best is not None and (window is None or abs(stamp[s] - stamp[best]) <= window):
            expected.append((best, s))
    assert list(zip(first.tolist(), second.tolist(), strict=True)) == expected


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**31))
def test_previous_by_brute_force(seed: int) -> None:
    stamp, exposure, reset = ramps(seed)
    order = np.argsort(stamp)
    first, second = pairing.by_previous(order, exposure, reset)
    expected = [(a, b) for a, b in pairwise(order) if not reset[b] and exposure[b] > exposure[a]]
    assert list(zip(first.tolist(), second.tolist(), strict=True)) == expected


def test_position_and_direction() -> None:
    order = np.array([4, 2, 0, 1, 3])
    first, second = pairing.by_index(order, second_first=False)
    assert (first.tolist(), second.tolist()) == ([4, 0], [2, 1])
    first, second = pairing.by_index(order, second_first=True)
    assert (first.tolist(), second.tolist()) == ([2, 1], [0, 3])


def test_sorting_and_what_is_left() -> None:
    stamp = np.array([5.0, 5.1, 0.0, 0.1, 9.0])
    pairs = pairing.sorted_in_time((np.array([0, 2]), np.array([1, 3])), stamp)
    assert (pairs[0].tolist(), pairs[1].tolist()) == ([2, 0], [3, 1])
    assert pairing.unpaired(5, pairs).tolist() == [4]


@pytest.mark.parametrize("reset", [np.zeros(4, bool), np.ones(4, bool)])
def test_no_resets_or_no_signals_give_no_pairs(reset: np.ndarray) -> None:
    first, second = pairing.by_nearest(np.arange(4), np.arange(4.0), reset, window=None, either_side=True)
    assert first.size == second.size == 0


def test_shortest_reads_take_rounding() -> None:
    exposure = np.array([0.1, 4.6, 0.1 + 1e-9, 4.6])
    assert pairing.shortest_reads(exposure).tolist() == [True, False, True, False]
