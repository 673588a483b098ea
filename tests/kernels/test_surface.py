"""Illumination surfaces: closed forms, and SciPy's Gaussian filter."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from v50calib.kernels.surface import large_scale, poly2d_design, smooth_gaussian

RNG = np.random.default_rng(11)
YY, XX = np.mgrid[:32, :48] / 40.0
QUADRATIC = 1.0 + 0.3 * YY - 0.2 * XX + 0.15 * YY * XX - 0.1 * YY**2


def test_legendre_products_span_the_plain_monomials() -> None:
    design = poly2d_design(QUADRATIC.shape, 2)
    assert design.shape == (32 * 48, 6)
    np.testing.assert_array_equal(design[:, 0], 1.0)
    solution = np.linalg.lstsq(design, QUADRATIC.ravel(), rcond=None)[0]
    np.testing.assert_allclose(design @ solution, QUADRATIC.ravel(), atol=1e-13)


@pytest.mark.parametrize(("method", "scale"), [("poly2d", 2), ("poly2d", 4), ("spline2d", 1), ("spline2d", 3)])
def test_a_quadratic_is_recovered_exactly(method: str, scale: float) -> None:
    good = RNG.random(QUADRATIC.shape) > 0.02
    holed = np.where(good, QUADRATIC, 1e6)
    surface = large_scale(holed, good, method=method, scale=scale, sigma_clip=None, max_iters=1)
    np.testing.assert_allclose(surface, QUADRATIC, atol=1e-10)


@pytest.mark.parametrize(("method", "scale"), [("poly2d", 2), ("spline2d", 2)])
def test_outliers_do_not_pull_a_robust_fit(method: str, scale: float) -> None:
    """Pixel response of 1 % and 1 % of cold pixels: the surface is known to 1 % · sqrt(terms / pixels), 4e-4 with 49 terms at most."""
    image = QUADRATIC * RNG.normal(1.0, 0.01, QUADRATIC.shape)
    cold = RNG.random(QUADRATIC.shape) < 0.01
    image[cold] *= 0.2
    good = np.ones(QUADRATIC.shape, bool)
    robust = large_scale(image, good, method=method, scale=scale, sigma_clip=4.0, max_iters=5)
    plain = large_scale(image, good, method=method, scale=scale, sigma_clip=None, max_iters=1)
    assert np.sqrt(np.mean((robust / QUADRATIC - 1) ** 2)) < 2.5e-3
    assert np.mean(np.abs(plain - QUADRATIC)) > 2 * np.mean(np.abs(robust - QUADRATIC))


def test_gaussian_equals_scipy_away_from_edges_and_is_normalized_at_them() -> None:
    image = RNG.normal(1.0, 0.1, (40, 50))
    good = np.ones_like(image, dtype=bool)
    ours = smooth_gaussian(image, good, 2.0)
    np.testing.assert_allclose(ours[10:-10, 10:-10], gaussian_filter(image, 2.0)[10:-10, 10:-10], rtol=1e-12)
    np.testing.assert_allclose(smooth_gaussian(np.full((40, 50), 3.0), RNG.random((40, 50)) > 0.3, 2.0), 3.0, rtol=1e-12)
