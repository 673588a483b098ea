"""PSF images against photutils and quadrature; fits on noise-free and noisy frames of known flux."""

from __future__ import annotations

import numpy as np
import pytest
from photutils.psf import GaussianPRF, MoffatPSF

from v50calib.kernels import psf

SIZE = (13, 13)
YY, XX = np.mgrid[:13, :13].astype(float)
NONE = np.zeros((1, 1))
GAUSS, MOFFAT = np.array([1.2, 1.45]), np.array([2.1, 3.2])


def moffat_by_quadrature(cy: float, cx: float) -> np.ndarray:
    """Pixel integrals of photutils' MoffatPSF by a 14-point Gauss-Legendre rule along each axis."""
    model = MoffatPSF(flux=1.0, x_0=cx, y_0=cy, alpha=MOFFAT[0], beta=MOFFAT[1])
    rule = list(zip(*np.polynomial.legendre.leggauss(14), strict=True))
    return sum(wi * wj * model(XX + i / 2, YY + j / 2) for i, wi in rule for j, wj in rule) / 4


def test_gaussian_equals_photutils_prf() -> None:
    fwhm = 2 * np.sqrt(2 * np.log(2)) * GAUSS
    theirs = GaussianPRF(flux=1.0, x_0=6.3, y_0=5.8, x_fwhm=fwhm[1], y_fwhm=fwhm[0])(XX, YY)
    np.testing.assert_allclose(psf.image(psf.GAUSSIAN, GAUSS, NONE, (5.8, 6.3), SIZE), theirs, rtol=0, atol=1e-12)


def test_moffat_is_photutils_integrated_over_pixels() -> None:
    # the peak pixel is 0.12
    np.testing.assert_allclose(psf.image(psf.MOFFAT, MOFFAT, NONE, (5.8, 6.3), SIZE), moffat_by_quadrature(5.8, 6.3), rtol=0, atol=3e-8)


@pytest.mark.parametrize(("model", "shape"), [(psf.GAUSSIAN, GAUSS), (psf.MOFFAT, MOFFAT), (psf.EMPIRICAL, GAUSS)])
def test_derivatives_are_those_of_the_image(model: int, shape: np.ndarray) -> None:
    table = psf.spline_table(psf.image(psf.GAUSSIAN, GAUSS, NONE, (6.0, 6.0), SIZE)) if model == psf.EMPIRICAL else NONE
    at = (0.3, -0.2) if model == psf.EMPIRICAL else (5.8, 6.3)
    value, by_y, by_x = np.empty(SIZE), np.empty(SIZE), np.empty(SIZE)
    psf.evaluate(model, shape, table, *at, value, by_y, by_x)
    h = 1e-5
    up, down = (psf.image(model, shape, table, (at[0] + s * h, at[1]), SIZE) for s in (1, -1))
    right, left = (psf.image(model, shape, table, (at[0], at[1] + s * h), SIZE) for s in (1, -1))
    np.testing.assert_allclose(by_y, (up - down) / (2 * h), rtol=0, atol=1e-8)
    np.testing.assert_allclose(by_x, (right - left) / (2 * h), rtol=0, atol=1e-8)


def test_empirical_image_is_exact_at_rest_and_close_when_moved() -> None:
    stamp = psf.image(psf.GAUSSIAN, GAUSS, NONE, (6.0, 6.0), SIZE)
    table = psf.spline_table(stamp)
    np.testing.assert_allclose(psf.image(psf.EMPIRICAL, GAUSS, table, (0.0, 0.0), SIZE), stamp / stamp.sum(), rtol=0, atol=1e-13)
    moved = psf.image(psf.GAUSSIAN, GAUSS, NONE, (6.2, 5.9), SIZE) / stamp.sum()
    # cubic splines on a star sampled at 2.8 px FWHM
    np.testing.assert_allclose(psf.image(psf.EMPIRICAL, GAUSS, table, (0.2, -0.1), SIZE), moved, rtol=0, atol=6e-4)


def fit(
    frames: np.ndarray, variance: np.ndarray, model: int, shape: np.ndarray, start: tuple[float, float]
) -> tuple[np.ndarray, np.ndarray]:
    out, good = np.empty((len(frames), 3)), np.empty(len(frames), bool)
    psf.fit_frames(frames, 1 / variance, model, shape, NONE, np.array(start), 2.0, out, good)
    return out, good


def test_noise_free_flux_and_position_are_exact() -> None:
    rng = np.random.default_rng(9)
    places = 6 + rng.uniform(-0.8, 0.8, (20, 2))
    variance = 300 + 1e5 * psf.image(psf.GAUSSIAN, GAUSS, NONE, (6.0, 6.0), SIZE)
    frames = np.stack([1e5 * psf.image(psf.GAUSSIAN, GAUSS, NONE, (y, x), SIZE) for y, x in places])
    out, good = fit(frames, variance, psf.GAUSSIAN, GAUSS, (6.0, 6.0))
    assert good.all()
    np.testing.assert_allclose(out[:, 0], 1e5, rtol=1e-9)
    np.testing.assert_allclose(out[:, 1:], places, rtol=0, atol=1e-9)
    moffat = np.stack([1e5 * moffat_by_quadrature(y, x) for y, x in places[:4]])
    out, good = fit(moffat, variance, psf.MOFFAT, MOFFAT, (6.0, 6.0))
    assert good.all()
    np.testing.assert_allclose(out[:, 0], 1e5, rtol=1e-6)


def test_noisy_flux_has_the_predicted_scatter_and_no_bias() -> None:
    rng = np.random.default_rng(10)
    truth = 1e4 * psf.image(psf.GAUSSIAN, GAUSS, NONE, (6.1, 5.9), SIZE)
    variance = 18.4**2 + truth
    frames = truth + rng.standard_normal((4000, *SIZE)) * np.sqrt(variance)
    out, good = fit(frames, variance, psf.GAUSSIAN, GAUSS, (6.0, 6.0))
    assert good.all()
    p = truth / 1e4
    sigma = 1 / np.sqrt((p**2 / variance).sum())
    pulls = (out[:, 0] - 1e4) / sigma
    # 4000 fits: the mean is known to 0.016, the standard deviation to 1.1 %; a free centre biases by sigma²/flux of each axis
    assert abs(pulls.mean()) < 4 / np.sqrt(4000) + sigma / 1e4
    assert pulls.std() == pytest.approx(1.0, abs=0.04)
    assert (np.abs(pulls) < 2).mean() == pytest.approx(0.954, abs=0.015)


def test_frames_without_the_star_are_not_good() -> None:
    frames = np.stack([np.zeros(SIZE), psf.image(psf.GAUSSIAN, GAUSS, NONE, (11.0, 2.0), SIZE)])
    _, good = fit(frames, np.ones(SIZE), psf.GAUSSIAN, GAUSS, (6.0, 6.0))
    assert not good.any()


@pytest.mark.parametrize(("model", "truth"), [(psf.GAUSSIAN, GAUSS), (psf.MOFFAT, MOFFAT)])
def test_shape_is_found_on_a_noise_free_mean(model: int, truth: np.ndarray) -> None:
    stamp = 5e4 * psf.image(model, truth, NONE, (5.8, 6.2), SIZE)
    shape, place, flux, good = psf.fit_shape(
        stamp, 1 / (300 + stamp), model, (4e4, 6.0, 6.0, 1.5, 2.0), [0, 4, 4, 0.3, 0.3], [np.inf, 8, 8, 6, 9]
    )
    assert good
    np.testing.assert_allclose(shape, truth, rtol=1e-5)
    assert place == pytest.approx((5.8, 6.2), abs=1e-6)
    assert flux == pytest.approx(5e4, rel=1e-5)
