"""Centroids against photutils on the same stamps, and against known shifts."""

from __future__ import annotations

import warnings

import numpy as np
from photutils.centroids import centroid_2dg, centroid_quadratic

from v50calib.kernels import centroid


def stamps(n: int = 12) -> tuple[np.ndarray, np.ndarray]:
    """Noisy stars (13 x 13) of elliptical Gaussian shape near the middle."""
    rng = np.random.default_rng(5)
    yy, xx = np.mgrid[:13, :13]
    places = 6 + rng.normal(0, 0.4, (n, 2))
    u = [(yy - y, xx - x) for y, x in places]
    frames = np.stack([2e4 * np.exp(-0.5 * (dy**2 / 1.7 + dx**2 / 2.6 + 0.3 * dy * dx)) for dy, dx in u])
    return frames + rng.normal(0, 30, frames.shape), places


def test_gaussian_fit_equals_photutils() -> None:
    frames, places = stamps()
    found = np.empty((len(frames), 2))
    centroid.gaussian2d(frames, found)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = np.array([centroid_2dg(f)[::-1] for f in frames])
    # both stop at the same least-squares minimum: photutils' fitter to about 1e-6 px
    np.testing.assert_allclose(found, theirs, rtol=0, atol=5e-6)
    assert np.abs(found - places).max() < 0.02


def test_quadratic_equals_photutils() -> None:
    frames, _ = stamps()
    found = np.empty((len(frames), 2))
    centroid.quadratic(frames, found)
    theirs = np.array([centroid_quadratic(f, fit_boxsize=3)[::-1] for f in frames])
    np.testing.assert_allclose(found, theirs, rtol=0, atol=1e-10)


def test_peak_is_the_brightest_pixel() -> None:
    frames, _ = stamps()
    found = np.empty((len(frames), 2))
    centroid.peak(frames, found)
    np.testing.assert_array_equal(found, [np.unravel_index(np.argmax(f), f.shape) for f in frames])


def test_a_stamp_without_a_star_has_no_position() -> None:
    rng = np.random.default_rng(6)
    flat, edge, dip = np.full((9, 9), 5.0), np.zeros((9, 9)), -np.ones((9, 9))
    edge[0, 4] = 10.0
    dip[4, 4] = -9.0
    frames = np.stack([flat, edge, dip])
    found = np.zeros((3, 2))
    centroid.quadratic(frames, found)
    assert np.isnan(found).all()
    centroid.gaussian2d(np.stack([flat, dip, rng.normal(0, 1, (9, 9)) - 5.0]), found)
    assert np.isnan(found[0]).all()


def test_correlation_finds_fourier_shifts() -> None:
    """Frames shifted by phase ramps have exactly known shifts: the interpolated correlation peaks there."""
    rng = np.random.default_rng(7)
    yy, xx = np.mgrid[:32, :40]
    reference = 1e4 * np.exp(-0.5 * ((yy - 15.2) ** 2 + (xx - 20.3) ** 2) / 2.2**2)
    shifts = rng.uniform(-1.6, 1.6, (8, 2))
    ky, kx = np.fft.fftfreq(32)[:, None], np.fft.fftfreq(40)[None, :]
    spectra = [np.fft.fft2(reference) * np.exp(-2j * np.pi * (ky * dy + kx * dx)) for dy, dx in shifts]
    frames = np.stack([np.fft.ifft2(s).real for s in spectra])
    np.testing.assert_allclose(centroid.correlation_shift(frames, reference), shifts, rtol=0, atol=1e-8)
    noisy = centroid.correlation_shift(frames + rng.normal(0, 20, frames.shape), reference)
    # the Cramér-Rao bound of white noise: sigma / sqrt(Σ (∂I/∂y)²)
    bound = 20 / np.sqrt((np.gradient(reference, axis=0) ** 2).sum())
    assert np.abs(noisy - shifts).max() < 4.5 * bound


def test_correlation_gives_nothing_on_noise() -> None:
    zeros = np.zeros((2, 16, 16))
    assert np.isnan(centroid.correlation_shift(zeros, np.ones((16, 16)))).all()
