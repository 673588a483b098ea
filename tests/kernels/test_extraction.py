"""Apertures against photutils, Horne weights against the formula and Monte Carlo, repair of masked pixels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from photutils.aperture import CircularAperture, RectangularAperture

from v50calib.kernels import apertures, extraction

RNG = np.random.default_rng(11)


def gaussian(shape: tuple[int, int], cy: float, cx: float, sigma: float, flux: float) -> np.ndarray:
    yy, xx = np.mgrid[: shape[0], : shape[1]]
    image = np.exp(-0.5 * ((yy - cy) ** 2 + (xx - cx) ** 2) / sigma**2)
    return flux * image / image.sum()


@settings(max_examples=60, deadline=None)
@given(st.floats(-3, 35), st.floats(-3, 35), st.floats(0.2, 14))
@example(0.3, 0.0, 0.2)  # touches a pixel's edge from inside
def test_circular_aperture_equals_photutils_exact(cy: float, cx: float, radius: float) -> None:
    ours = apertures.circular_aperture((32, 32), (cy, cx), radius)
    mask = CircularAperture((cx, cy), radius).to_mask(method="exact").to_image((32, 32))
    theirs = mask if mask is not None else np.zeros((32, 32))
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-11)


def test_box_aperture_equals_photutils_finely_sampled() -> None:
    # photutils has no exact rectangle: 64 x 64 sub-pixels are good to their own edge, 1/64 px
    ours = apertures.overlap((20, 24), (9.3, 11.8), apertures.BOX, 5.5 / 2, 7.0 / 2, 0.0)
    theirs = RectangularAperture((11.8, 9.3), 5.5, 7.0).to_mask(method="subpixel", subpixels=64).to_image((20, 24))
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1 / 32)
    assert ours.sum() == pytest.approx(7.0 * 5.5, rel=1e-14)


def test_barycenter_of_a_star_beside_a_dead_pixel() -> None:
    image = gaussian((32, 32), 15.4, 15.7, 1.5, 1e5)
    masked = np.zeros((32, 32), bool)
    assert extraction.barycenter(image, masked) == pytest.approx((15.4, 15.7), abs=2e-3)
    masked[2, 3] = True
    image[2, 3] = 1e7
    assert extraction.barycenter(image, masked) == pytest.approx((15.4, 15.7), abs=2e-3)


@pytest.mark.parametrize("dead", [(15, 15), (14, 17), (13, 12)])
def test_filled_pixel_follows_flux_and_first_order_shift(dead: tuple[int, int]) -> None:
    """The filled sum changes with flux exactly and with pointing as little as the sum over all pixels."""
    reference = gaussian((32, 32), 15.3, 15.4, 1.5, 2e5)
    masked = np.zeros((32, 32), bool)
    masked[dead] = True
    aperture = apertures.circular_aperture((32, 32), (15.3, 15.4), 7.0)
    maps, moved = extraction.redistribute_masked(aperture[None], masked, np.where(masked, 0.0, reference))
    assert moved[dead]
    assert moved.sum() == 1
    assert maps[0][dead] == 0
    base = (maps[0] * reference).sum()
    assert base == pytest.approx((aperture * reference).sum(), rel=5e-3)
    assert (maps[0] * 0.99 * reference).sum() / base == pytest.approx(0.99, rel=1e-14)
    left_out = np.where(masked, 0.0, aperture)
    for dy, dx in ((0.1, 0.0), (0.0, 0.1)):
        moved_star = gaussian((32, 32), 15.3 + dy, 15.4 + dx, 1.5, 2e5)
        filled = abs((maps[0] * moved_star).sum() / base - 1)
        dropped = abs((left_out * moved_star).sum() / (left_out * reference).sum() - 1)
        assert filled < 1.5e-3
        assert filled < max(0.5 * dropped, 3e-4)


def spectrum() -> tuple[np.ndarray, np.ndarray]:
    yy = np.arange(32)[:, None]
    width = np.linspace(2.0, 1.6, 60)
    profile = np.exp(-0.5 * ((yy - 15.6) / width) ** 2)
    profile[:8] = profile[24:] = 0
    return profile / profile.sum(axis=0), np.linspace(5e3, 1.5e5, 60)


def test_optimal_weights_solve_weighted_least_squares() -> None:
    """Horne's estimator is the weighted least-squares amplitude of the profile: numpy.linalg.lstsq is the oracle."""
    profile, _ = spectrum()
    variance = RNG.uniform(100, 900, profile.shape)
    masked = RNG.random(profile.shape) < 0.03
    data = RNG.standard_normal(profile.shape) * 20 + profile * 1e4
    weights = extraction.optimal_weights(profile, variance, masked)
    for x in range(60):
        good = ~masked[:, x]
        root = 1 / np.sqrt(variance[good, x])
        expected = np.linalg.lstsq((profile[good, x] * root)[:, None], data[good, x] * root, rcond=None)[0][0]
        assert (weights[:, x] * data[:, x]).sum() == pytest.approx(expected, rel=1e-12)


def test_optimal_extraction_is_unbiased_and_beats_the_box_by_the_predicted_factor() -> None:
    profile, flux = spectrum()
    flux = flux * 0 + 5e3
    read = 2 * 13.0**2
    variance = read + flux * profile
    weights = extraction.optimal_weights(profile, variance, np.zeros(profile.shape, bool))
    box = np.zeros_like(profile)
    box[8:24] = 1
    frames = flux * profile + RNG.standard_normal((4000, *profile.shape)) * np.sqrt(variance)
    optimal, plain = np.einsum("yx,iyx->ix", weights, frames), np.einsum("yx,iyx->ix", box, frames)
    predicted = np.sqrt((weights**2 * variance).sum(axis=0))
    error = predicted / np.sqrt(4000 * 60)
    assert abs((optimal - flux).mean()) < 4 * error.mean()
    # 60 channels x 4000 samples: the mean ratio is known to 0.15 %
    assert (optimal.std(axis=0) / predicted).mean() == pytest.approx(1.0, abs=0.006)
    gain = np.sqrt((box**2 * variance).sum(axis=0)) / predicted
    assert (plain.std(axis=0) / optimal.std(axis=0)).mean() == pytest.approx(gain.mean(), rel=0.01)
    assert gain.mean() > 1.1


def test_spatial_profile_recovers_the_truth_through_masked_pixels() -> None:
    profile, flux = spectrum()
    image = flux * profile
    masked = np.zeros(profile.shape, bool)
    masked[15, 20] = masked[16, 40] = masked[14, 3] = True
    found = extraction.spatial_profile(np.where(masked, 0.0, image), np.full(profile.shape, 300.0) + image, masked, slice(8, 24))
    np.testing.assert_allclose(found.sum(axis=0), 1.0, rtol=1e-12)
    np.testing.assert_allclose(found, profile, atol=4e-4)


def test_rescaled_column_keeps_the_flux_of_a_masked_peak() -> None:
    profile, flux = spectrum()
    masked = np.zeros(profile.shape, bool)
    masked[15, 10] = True
    box = np.zeros_like(profile)
    box[8:24] = 1
    weights = extraction.rescale_masked_columns(box, masked, profile)
    np.testing.assert_allclose((weights * flux * profile).sum(axis=0), flux, rtol=1e-12)
    assert (np.where(masked, 0, box) * flux * profile)[:, 10].sum() < 0.85 * flux[10]
