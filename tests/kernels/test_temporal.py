"""Passes over pixels in time against NumPy, SciPy and brute force; a transit is never an outlier."""

from __future__ import annotations

import batman
import numpy as np
import pytest
from astropy.stats import sigma_clip
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import uniform_filter1d

from v50calib.kernels import temporal
from v50calib.kernels.series import isolated_outliers, point_to_point_sigma

RNG = np.random.default_rng(10)


def transit(n: int, depth: float = 0.03) -> np.ndarray:
    params = batman.TransitParams()
    params.t0, params.per, params.rp, params.a, params.inc, params.ecc, params.w = 0.0, 4.0, depth**0.5, 12.0, 89.5, 0.0, 90.0
    params.limb_dark, params.u = "quadratic", [0.3, 0.2]
    return batman.TransitModel(params, np.linspace(-0.15, 0.15, n)).light_curve(params)


def test_neighbour_median_by_hand() -> None:
    series = RNG.normal(0, 1, (9, 6))
    out = np.empty_like(series)
    temporal.neighbour_median(series, out)
    for i in range(9):
        near = [j for j in range(i - 2, i + 3) if 0 <= j < 9 and j != i]
        np.testing.assert_allclose(out[i], np.median(series[near], axis=0), rtol=1e-14)


@pytest.mark.parametrize("lag", [1, 2])
def test_spikes_by_brute_force(lag: int) -> None:
    series = RNG.normal(0, 1, (41, 30)) + 5.0 * (RNG.random((41, 30)) < 0.1)
    limit = np.full((lag, 30), 2.5)
    out = np.empty(series.shape, bool)
    found = temporal.find_spikes(series, limit, out)
    for i in range(41):
        near = [j for j in (i - 2 * lag, i - lag, i + lag, i + 2 * lag) if 0 <= j < 41]
        beside = [j for j in (i - lag, i + lag) if 0 <= j < 41]
        expected = (series[i] - np.median(series[near], axis=0) > 2.5) & (series[i] - series[beside].max(axis=0) > 1.25)
        np.testing.assert_array_equal(out[i], expected)
    assert found == out.sum() > 10


def test_isolated_equals_the_light_curves_test() -> None:
    series = RNG.normal(0, 1, (60, 8))
    series[[0, 20, 59], [1, 2, 3]] += 30
    series[40, 4] -= 30
    sigma = point_to_point_sigma(series)
    out = np.empty(series.shape, bool)
    assert temporal.find_isolated(series, 8.0 * sigma, out) == 4
    np.testing.assert_array_equal(out, isolated_outliers(series, threshold=8.0))


@pytest.mark.parametrize("lag", [1, 2])
def test_a_transit_a_step_and_a_drift_are_no_outliers(lag: int) -> None:
    """Noise-free 3 % transit and a step of any size of 1e5 e-, limits of 1 e-; the first and last sample have one neighbour only."""
    n = 400
    series = np.repeat(np.stack([1e5 * transit(n), np.where(np.arange(n) < 150, 0.0, 7e4), 40.0 * np.arange(n)], axis=1), lag, axis=0)
    out = np.ones(series.shape, bool)
    temporal.find_isolated(np.ascontiguousarray(series[::lag]), np.full(3, 1.0), isolated := np.ones((n, 3), bool))
    assert not isolated[1:-1].any()
    temporal.find_spikes(series, np.full((lag, 3), 1.0), out)
    assert not out[lag:-lag].any()
    spiked = series.copy()
    spiked[200 * lag] += 10.0
    temporal.find_spikes(spiked, np.full((lag, 3), 5.0), out)
    assert out[200 * lag, :2].all()


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 2), st.floats(0.0, 0.6))
def test_bridge_is_linear_interpolation_over_the_nearest_good(seed: int, lag: int, share: float) -> None:
    rng = np.random.default_rng(seed)
    series, bad = rng.normal(0, 1, (24, 3)), rng.random((24, 3)) < share
    out, done = temporal.fill_marked(series, bad, bad, lag=lag, use_median=False)
    for p in range(3):
        for i in range(24):
            left = [j for j in (i - lag, i - 2 * lag) if j >= 0 and not bad[j, p]][:1]
            right = [j for j in (i + lag, i + 2 * lag) if j < 24 and not bad[j, p]][:1]
            if not bad[i, p] or not left + right:
                assert out[i, p] == series[i, p]
                assert not done[i, p]
                continue
            known = left + right
            assert done[i, p]
            np.testing.assert_allclose(out[i, p], np.interp(i, known, series[known, p]), rtol=1e-12, atol=1e-12)


def test_bridge_by_median() -> None:
    series = np.arange(10.0)[:, None] ** 2
    bad = np.zeros((10, 1), bool)
    bad[5] = True
    out, done = temporal.fill_marked(series, bad, bad, lag=1, use_median=True)
    assert out[5, 0] == np.median([9.0, 16.0, 36.0, 49.0])
    assert done.sum() == 1
    assert temporal.fill_marked(series, ~bad | bad, bad, lag=1, use_median=True)[0] is series


@pytest.mark.parametrize("half", [1, 4, 30])
def test_running_mean_equals_scipy_inside(half: int) -> None:
    series = RNG.normal(0, 1, (90, 5))
    out = np.empty_like(series)
    temporal.running_mean(series, half, out)
    oracle = uniform_filter1d(series, 2 * half + 1, axis=0)
    np.testing.assert_allclose(out[half : 90 - half], oracle[half : 90 - half], atol=1e-12)
    np.testing.assert_allclose(out[0], series[: half + 1].mean(axis=0), atol=1e-12)


@pytest.mark.parametrize("use_centre", [True, False])
@pytest.mark.parametrize("kind", ["median", "mean", "clipped"])
def test_baseline_equals_numpy(use_centre: bool, kind: str) -> None:
    series = RNG.normal(0, 1, (30, 6)) + 50.0 * (RNG.random((30, 6)) < 0.05)
    out, share = np.empty_like(series), np.empty(30)
    temporal.baseline(series, 4, 3, use_centre, kind == "median", 3.0 if kind == "clipped" else 0.0, out, share)
    for i in range(30):
        index = [j for j in range(max(0, i - 4), min(30, i + 4)) if use_centre or j != i]
        window = series[index]
        assert share[i] == 1.0 / len(index)
        if kind == "median":
            expected = np.median(window, axis=0)
        elif kind == "mean":
            expected = window.mean(axis=0)
        else:
            expected = sigma_clip(window, sigma=3.0, maxiters=1, stdfunc="mad_std", axis=0).mean(axis=0)
        np.testing.assert_allclose(out[i], expected, rtol=1e-12)


@pytest.mark.parametrize("at", [0, 1, 2, 3, 196, 197, 198, 199])
def test_the_ends_are_not_outliers_of_a_lost_neighbour(at: int) -> None:
    """One sample lost near an end: it alone is marked, by both implementations."""
    series = 1.0 + 1e-3 * np.random.default_rng(at).normal(size=(200, 3))
    series[at] = 0.0
    marked = np.empty(series.shape, bool)
    temporal.find_isolated(series, np.full(3, 8e-3), marked)
    for found in (isolated_outliers(series, threshold=8.0), marked):
        assert np.flatnonzero(found.all(axis=1)).tolist() == [at]
        assert found.sum() == 3
