"""Folding kernels against brute force."""

from __future__ import annotations

import numpy as np
import pytest

from v50calib.kernels.folding import bin_of, dense_edges, inverse_variance_mean, wrapped

RNG = np.random.default_rng(2)


def test_wrapped_phases_are_what_loops_of_the_orbit_leave() -> None:
    phase = RNG.uniform(-5, 5, 500)
    expected = []
    for p in phase:
        value = p
        while value >= 0.5:
            value -= 1.0
        while value < -0.5:
            value += 1.0
        expected.append(value)
    np.testing.assert_allclose(wrapped(phase), expected, atol=1e-14)


def test_dense_edges_are_denser_where_asked_for_and_cover_the_range() -> None:
    edges = dense_edges(0.0, 7.5, 187, [(2.0, 2.5), (5.0, 5.5)], 4.0)
    width = np.diff(edges)
    middle = 0.5 * (edges[1:] + edges[:-1])
    inside = ((middle > 2.05) & (middle < 2.45)) | ((middle > 5.05) & (middle < 5.45))
    assert (edges[0], edges[-1], len(edges)) == (0.0, 7.5, 188)
    assert (width > 0).all()
    # total measure 6.5 + 4 x 1.0 over 187 bins
    np.testing.assert_allclose(width[inside], 10.5 / 187 / 4, rtol=1e-9)
    far = ((middle < 1.9) | (middle > 5.6)) | ((middle > 2.6) & (middle < 4.9))
    np.testing.assert_allclose(width[far], 10.5 / 187, rtol=1e-9)


def test_dense_edges_with_windows_off_the_range_are_even() -> None:
    np.testing.assert_allclose(dense_edges(0.0, 1.0, 10, [(-2.0, -1.0), (3.0, 4.0)], 4.0), np.linspace(0, 1, 11), atol=1e-14)


def test_bins_are_numpys_histogram() -> None:
    values, edges = RNG.uniform(-1.2, 1.2, 1000), np.linspace(-1, 1, 21)
    index = bin_of(values, edges)
    np.testing.assert_array_equal(np.bincount(index[index >= 0], minlength=20), np.histogram(values, edges)[0])
    assert bin_of(np.array([1.0]), edges)[0] == 19


def test_weighted_mean_is_the_closed_form_and_skips_nan() -> None:
    values, variance = np.array([[1.0, 2.0], [3.0, np.nan], [8.0, np.nan]]), np.array([[1.0, 4.0], [2.0, 1.0], [4.0, 1.0]])
    mean, var = inverse_variance_mean(values, variance)
    assert mean[0] == pytest.approx((1 / 1 + 3 / 2 + 8 / 4) / (1 + 0.5 + 0.25))
    assert (mean[1], var[1]) == (2.0, 4.0)
    empty, _ = inverse_variance_mean(np.full((2, 1), np.nan), np.ones((2, 1)))
    assert np.isnan(empty[0])
