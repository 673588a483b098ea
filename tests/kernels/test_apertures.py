"""Apertures against photutils: exact edges to 1e-10, sampled edges to rounding."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from photutils.aperture import CircularAperture, EllipticalAperture, RectangularAperture

from v50calib.kernels import apertures

SHAPE = (32, 32)


def photutils_image(aperture: object, method: str, subpixels: int = 5) -> np.ndarray:
    mask = aperture.to_mask(method=method, subpixels=subpixels).to_image(SHAPE)
    return mask if mask is not None else np.zeros(SHAPE)


@settings(max_examples=60, deadline=None)
@given(st.floats(-3, 35), st.floats(-3, 35), st.floats(0.3, 14), st.floats(0.3, 1.0), st.floats(-3.2, 3.2))
def test_ellipse_equals_photutils_exact(cy: float, cx: float, a: float, ratio: float, theta: float) -> None:
    ours = apertures.overlap(SHAPE, (cy, cx), apertures.ELLIPSE, a, a * ratio, theta)
    theirs = photutils_image(EllipticalAperture((cx, cy), a, a * ratio, theta=theta), "exact")
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-10)


@pytest.mark.parametrize(("n", "method"), [(1, "center"), (3, "subpixel"), (10, "subpixel")])
def test_sampled_edges_equal_photutils(n: int, method: str) -> None:
    centre = (15.31, 15.43)
    pairs = [
        ((apertures.CIRCLE, 6.7, 6.7, 0.0), CircularAperture(centre[::-1], 6.7)),
        ((apertures.ELLIPSE, 8.1, 5.2, 0.4), EllipticalAperture(centre[::-1], 8.1, 5.2, theta=0.4)),
        ((apertures.BOX, 9.1 / 2, 7.3 / 2, 0.0), RectangularAperture(centre[::-1], 9.1, 7.3)),
    ]
    for outline, aperture in pairs:
        ours = apertures.overlap(SHAPE, centre, *outline, subpixels=n)
        np.testing.assert_allclose(ours, photutils_image(aperture, method, n), rtol=0, atol=1e-12)


def test_strip_sampling_is_the_share_of_sub_pixel_centres() -> None:
    found = apertures.interval_samples(8, 1.62, 5.1, 10)
    np.testing.assert_allclose(found, [0, 0, 0.9, 1, 1, 0.6, 0, 0], atol=1e-12)
    assert found.sum() == pytest.approx(apertures.interval_overlap(8, 1.62, 5.1).sum(), abs=0.1)


@pytest.mark.parametrize("kind", [apertures.CIRCLE, apertures.ELLIPSE, apertures.BOX])
def test_moving_aperture_is_the_aperture_at_each_centre(kind: int) -> None:
    rng = np.random.default_rng(3)
    frames, centres = rng.normal(10, 3, (5, *SHAPE)), 15 + rng.normal(0, 2, (5, 2))
    flux, area = np.empty(5), np.empty(5)
    apertures.recentred_sums(frames, centres, kind, 6.0, 4.0, 0.3, 0, flux, area)
    still = np.empty(SHAPE)
    for i in range(5):
        apertures.fill_aperture(centres[i, 0], centres[i, 1], kind, 6.0, 4.0, 0.3, 0, still)
        assert flux[i] == pytest.approx((still * frames[i]).sum(), rel=1e-12)
        assert area[i] == pytest.approx({0: 36 * math.pi, 1: 24 * math.pi, 2: 96.0}[kind], rel=1e-12)


def test_moving_strip_is_the_exact_overlap_of_rows() -> None:
    frames = np.random.default_rng(4).normal(10, 3, (3, 32, 20))
    flux = np.empty((3, 20))
    apertures.recentred_strips(frames, np.array([14.2, 15.0, 16.9]), 4.3, flux)
    for i, centre in enumerate((14.2, 15.0, 16.9)):
        np.testing.assert_allclose(flux[i], apertures.interval_overlap(32, centre - 4.3, centre + 4.3) @ frames[i], rtol=1e-12)
