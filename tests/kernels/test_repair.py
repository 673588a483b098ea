"""Fills of bad pixels against SciPy's filters over good neighbours only."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from v50calib.kernels import repair

RNG = np.random.default_rng(9)
CROSS = np.array([[0, 1, 0], [1, 0, 1], [0, 1, 0]], bool)
RING = np.ones((3, 3), bool)
RING[1, 1] = False


def bad_pixels() -> np.ndarray:
    bad = RNG.random((14, 17)) < 0.12
    bad[0, 0] = bad[5, 5] = bad[5, 6] = True
    return bad


@pytest.mark.parametrize(("mode", "footprint"), [("median4", CROSS), ("median8", RING)])
def test_medians_equal_scipy(mode: repair.Mode, footprint: np.ndarray) -> None:
    frames, bad = RNG.normal(0, 10, (4, 14, 17)), bad_pixels()
    out = repair.fill_pixels(frames, bad, mode)
    for before, after in zip(frames, out, strict=True):
        holes = np.where(bad, np.nan, before)
        oracle = ndimage.generic_filter(
            holes,
            lambda v: np.median(v[np.isfinite(v)]) if np.isfinite(v).any() else np.nan,
            footprint=footprint,
            mode="constant",
            cval=np.nan,
        )
        there = bad & np.isfinite(oracle)
        np.testing.assert_array_equal(there, repair.fillable(bad, mode))
        np.testing.assert_allclose(after[there], oracle[there], rtol=1e-13)
        np.testing.assert_array_equal(after[~there], before[~there])


def test_gaussian_equals_a_normalized_convolution() -> None:
    frames, bad = RNG.normal(100, 10, (3, 14, 17)), bad_pixels()
    yy, xx = np.mgrid[-1:2, -1:2]
    kernel = np.exp(-0.5 * (yy**2 + xx**2))
    weight = ndimage.convolve((~bad).astype(float), kernel, mode="constant")
    out = repair.fill_pixels(frames, bad, "gaussian3")
    for before, after in zip(frames, out, strict=True):
        oracle = ndimage.convolve(np.where(bad, 0.0, before), kernel, mode="constant") / np.maximum(weight, 1e-30)
        there = repair.fillable(bad, "gaussian3")
        np.testing.assert_allclose(after[there], oracle[there], rtol=1e-12)


def test_a_pixel_without_good_neighbours_keeps_its_value() -> None:
    bad = np.ones((3, 3), bool)
    frames = RNG.normal(0, 1, (2, 3, 3))
    np.testing.assert_array_equal(repair.fill_pixels(frames, bad, "median8"), frames)
    assert not repair.fillable(bad, "median8").any()


@pytest.mark.parametrize("radius", [0, 1, 2])
def test_grow_is_a_disc(radius: int) -> None:
    mask = np.zeros((2, 9, 9), bool)
    mask[0, 4, 4] = True
    yy, xx = np.mgrid[:9, :9]
    np.testing.assert_array_equal(repair.grow(mask, radius)[0], (yy - 4) ** 2 + (xx - 4) ** 2 <= radius**2)
    assert not repair.grow(mask, radius)[1].any()
