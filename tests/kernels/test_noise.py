"""Scatter against averaging time: blocks by hand, white noise by its square root, red noise above it."""

from __future__ import annotations

import numpy as np
import pytest

from v50calib.kernels.noise import MIN_BLOCKS, block_sizes, expected_rms, rms_of_blocks


def test_blocks_by_hand_leave_out_what_touches_an_unusable_sample() -> None:
    rng = np.random.default_rng(3)
    values, usable = rng.normal(size=103), np.ones(103, bool)
    usable[[10, 57]] = False
    sizes = np.array([1, 2, 5, 10])
    expected = []
    for size in sizes:
        blocks = [values[i : i + size] for i in range(0, 103 - size + 1, size) if usable[i : i + size].all()]
        expected.append(np.std([b.mean() for b in blocks], ddof=1))
    np.testing.assert_allclose(rms_of_blocks(np.where(usable, values, np.nan), usable, sizes), expected, rtol=1e-12)


def test_too_few_blocks_tell_nothing() -> None:
    values = np.random.default_rng(0).normal(size=10 * MIN_BLOCKS - 1)
    found = rms_of_blocks(values, np.ones(values.size, bool), np.array([1, 10]))
    assert np.isfinite(found[0])
    assert np.isnan(found[1])


def test_white_noise_falls_with_the_square_root() -> None:
    values = np.random.default_rng(1).normal(scale=2.0, size=40000)
    sizes = block_sizes(values.size)
    ratio = rms_of_blocks(values, np.ones(values.size, bool), sizes) / expected_rms(4.0, 0.0, 1, sizes)
    # a scatter of m blocks is known to 1/sqrt(2(m-1)); 4 of these
    assert (np.abs(ratio - 1) < 4 / np.sqrt(2 * (values.size // sizes - 1))).all()


def test_what_is_shared_over_the_smoothing_is_expected() -> None:
    """White noise plus a running mean of other white noise over 31 samples, as the subtracted background leaves it."""
    rng, n, smooth, whole = np.random.default_rng(2), 200_000, 31, 9.0
    running = np.convolve(rng.normal(scale=np.sqrt(whole), size=n + smooth - 1), np.ones(smooth) / smooth, mode="valid")
    values = rng.normal(size=n) + running
    sizes = np.array([1, 8, 310, 3100])
    found = rms_of_blocks(values, np.ones(n, bool), sizes)
    predicted = expected_rms(1.0 + whole / smooth, whole * (1 - 1 / smooth), smooth, sizes)
    # between the two regimes the formula is an upper bound; far below and far above the smoothing it is exact
    assert (np.abs(found / predicted - 1)[[0, 2, 3]] < [0.01, 0.06, 0.2]).all()
    assert found[1] <= 1.02 * predicted[1]


@pytest.mark.parametrize("n", [1, 9, 25, 5625])
def test_sizes_depend_on_the_length_alone(n: int) -> None:
    sizes = block_sizes(n)
    assert sizes[0] == 1
    assert sizes[-1] == max(1, n // 10)
    assert (np.diff(sizes) > 0).all()
