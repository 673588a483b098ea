"""Rejection in optimal extraction against the published steps written out, and the trace of a tilted spectrum."""

from __future__ import annotations

import numpy as np
import pytest

from v50calib.kernels import background, extraction, horne, spectrum_trace

RNG = np.random.default_rng(12)
ROWS = np.arange(32)[:, None]


def scene(nx: int = 24) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    profile = np.exp(-0.5 * ((ROWS - 15.5) / 1.7) ** 2) * np.ones(nx)
    profile[:8] = profile[24:] = 0
    profile /= profile.sum(axis=0)
    variance = 18.4**2 + 2e4 * profile
    frames = 2e4 * profile + 5.0 + RNG.standard_normal((6, 32, nx)) * np.sqrt(variance)
    return frames, profile, variance, np.full((6, nx), 5.0)


def published(data: np.ndarray, sky: float, P: np.ndarray, V: np.ndarray, clip: float) -> tuple[float, int]:
    """Horne (1986) steps 6-8 of one column, by masks: extract, reject the worst pixel, repeat."""
    mask = P > 0
    rejected = 0
    while True:
        f = (mask * P * (data - sky) / V).sum() / (mask * P**2 / V).sum()
        off = np.where(mask, (data - sky - f * P) ** 2 / V, 0.0)
        if off.max() <= clip**2:
            return f, rejected
        mask[off.argmax()] = False
        rejected += 1


def extract(frames: np.ndarray, sky: np.ndarray, P: np.ndarray, V: np.ndarray, clip: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    weight = extraction.optimal_weights(P, V, P == 0)
    flux, rejected = np.empty(sky.shape), np.empty(sky.shape, np.int64)
    horne.extract_with_rejection(frames, sky, P, V, weight, np.zeros_like(P), clip, 10, flux, rejected)
    return flux - weight.sum(axis=0) * sky, rejected, weight


def test_equals_the_published_steps_with_hits() -> None:
    frames, P, V, sky = scene()
    for i in range(6):
        frames[i, 12 + i, 3 * i] += 3e3
    flux, rejected, _ = extract(frames, sky, P, V, 4.0)
    for i in range(6):
        for x in range(24):
            expected, count = published(frames[i, :, x], 5.0, P[:, x].copy(), V[:, x], 4.0)
            assert flux[i, x] == pytest.approx(expected, rel=1e-10)
            assert rejected[i, x] == count
    assert all(rejected[i, 3 * i] > 0 for i in range(6))


def test_without_rejection_it_is_the_static_weights() -> None:
    frames, P, V, sky = scene()
    flux, rejected, weight = extract(frames, sky, P, V, 50.0)
    assert not rejected.any()
    np.testing.assert_allclose(flux, (weight * (frames - 5.0)).sum(axis=1), rtol=1e-10)


def test_a_moved_star_is_not_a_hit() -> None:
    _, P, V, sky = scene()
    V = 18.4**2 + 2e6 * P
    moved = 2e6 * np.roll(P, 1, axis=0)[None] * 0.3 + 2e6 * P[None] * 0.7 + 5.0
    weight = extraction.optimal_weights(P, V, P == 0)
    flux, rejected = np.empty((1, 24)), np.empty((1, 24), np.int64)
    horne.extract_with_rejection(moved, sky[:1], P, V, weight, np.zeros_like(P), 5.0, 4, flux, rejected)
    assert rejected.all()
    horne.extract_with_rejection(moved, sky[:1], P, V, weight, horne.rejection_slope(P, 0.3), 5.0, 4, flux, rejected)
    assert not rejected.any()


@pytest.mark.parametrize("measure", [spectrum_trace.moment_centres, spectrum_trace.gaussian_centres])
def test_trace_of_a_tilted_and_curved_spectrum(measure: object) -> None:
    nx = 300
    line = 15.2 + 0.8 * np.linspace(-1, 1, nx) + 0.3 * np.linspace(-1, 1, nx) ** 2
    image = 3e4 * np.exp(-0.5 * ((ROWS - line) / 1.6) ** 2) / (1.6 * np.sqrt(2 * np.pi))
    variance = (18.4**2 + image) / 144
    noisy = image + RNG.standard_normal(image.shape) * np.sqrt(variance)
    noisy[14, 100] += 1e4
    centres, errors, widths = measure(noisy, variance, 15.3)
    pulls = ((centres - line) / errors)[np.arange(nx) != 100]
    if measure is spectrum_trace.gaussian_centres:
        # 299 columns: the standard deviation is known to 4 %
        assert np.std(pulls) == pytest.approx(1.0, abs=0.15)
    # a moment over whole pixels has a ripple of a few thousandths of a pixel as the line crosses their edges
    assert np.abs(centres - line)[np.arange(nx) != 100].max() < 0.02
    assert np.median(widths) == pytest.approx(1.6, abs=0.1)
    basis = np.polynomial.chebyshev.chebvander(np.linspace(-1, 1, nx), 2).T
    found = spectrum_trace.smooth_line(centres, errors, basis, np.ones(nx, bool))
    assert np.abs(found - line).max() < 0.006
    spline = spectrum_trace.smooth_line(centres, errors, background.spline_axis(nx, 5), np.ones(nx, bool))
    assert np.abs(spline - line).max() < 0.008


def test_line_through_too_few_columns_is_their_median() -> None:
    values = np.full(10, np.nan)
    values[3:5] = 4.0, 6.0
    assert spectrum_trace.smooth_line(values, np.ones(10), np.ones((3, 10)), np.ones(10, bool)) == pytest.approx(np.full(10, 5.0))


def test_profile_outliers_are_the_hits_of_the_mean_frame() -> None:
    _, P, V, _ = scene(200)
    image = 2e4 * P + RNG.standard_normal(P.shape) * np.sqrt(V / 144)
    image[13, 50] += 2e3
    found = extraction.profile_outliers(image, V / 144, P, P > 0, clip=6.0)
    np.testing.assert_array_equal(np.argwhere(found), [[13, 50]])


def test_gaussian_profile_sums_to_one_over_its_window() -> None:
    window = (np.abs(ROWS - 15) < 8) & np.ones(5, bool)
    found = extraction.gaussian_profile((32, 5), np.linspace(15, 16, 5), np.full(5, 1.5), window)
    np.testing.assert_allclose(found.sum(axis=0), 1.0, rtol=1e-12)
    assert (found * ROWS).sum(axis=0) == pytest.approx(np.linspace(15, 16, 5), abs=1e-3)
