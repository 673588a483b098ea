"""Filters in time against wotan and SciPy; the hazard of a filter that sees the transit."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from v50calib.kernels.detrend import biweight, bridge, odd, running_mean, savgol
from v50calib.kernels.transit import Model, Shape

RNG = np.random.default_rng(12)
N = 1125
TIME = (np.arange(N) + 0.5) * 7.5 / N
SLOW = 1 + 2e-3 * np.sin(TIME / 1.7) + 1e-3 * (TIME / 7.5) ** 2


@pytest.mark.slow
def test_biweight_is_wotans() -> None:
    """Same estimator and window (time-based there, a sample count here); converged to 1e-6 there."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from wotan import flatten
    values = SLOW + 2e-4 * RNG.standard_normal(N)
    values[[100, 500, 501]] += 0.02
    step = TIME[1] - TIME[0]
    _, trend = flatten(TIME, values, method="biweight", window_length=101 * step * (1 + 1e-9), cval=5.0, return_trend=True)
    np.testing.assert_allclose(biweight(values, 101, 5.0), trend, atol=2e-8)


def test_biweight_of_constant_windows_is_the_constant() -> None:
    np.testing.assert_array_equal(biweight(np.full(50, 3.0), 11, 5.0), np.full(50, 3.0))


def test_running_mean_is_a_convolution() -> None:
    padded = np.pad(SLOW, 10, mode="edge")
    np.testing.assert_allclose(running_mean(SLOW, 21), np.convolve(padded, np.full(21, 1 / 21), mode="valid"), rtol=1e-12)


def test_savgol_keeps_a_polynomial_of_its_order() -> None:
    x = TIME - 3
    np.testing.assert_allclose(savgol(1 + x + x**2, 301, 2), 1 + x + x**2, atol=1e-10)


def test_bridge_never_looks_inside_and_joins_the_sides() -> None:
    outside = np.abs(TIME - 3.5) > 1.0
    line = 2 + 0.1 * TIME
    spoiled = np.where(outside, line, np.nan)
    np.testing.assert_allclose(bridge(TIME, spoiled, outside, 30), line, rtol=1e-12)
    only_before = TIME < 5
    np.testing.assert_allclose(bridge(TIME, np.where(only_before, 1.0, np.nan), only_before, 30), 1.0)


@pytest.mark.parametrize(("wanted", "size", "given"), [(10.2, 100, 11), (9.9, 100, 9), (1, 100, 3), (500, 100, 99), (7, 101, 7)])
def test_window_lengths_are_odd_and_fit(wanted: float, size: int, given: int) -> None:
    assert odd(wanted, size) == given


def depth_of(flux: np.ndarray, inside: np.ndarray, outside: np.ndarray) -> float:
    return 1 - flux[inside].mean() / flux[outside].mean()


def test_a_savgol_of_three_durations_halves_an_unmasked_transit() -> None:
    """SCIENCE: 5107 of 10000 ppm came back. T14 1.9 h, window 3 T14, order 2; masked and bridged nothing is lost."""
    shape = Shape(t0=3.75, period=96.0, a=15.6, b=0.2, k=0.1, u1=0.0, u2=0.0)
    flux = Model(TIME, 0.0)(shape)
    inside = np.abs(TIME - 3.75) < 0.35 * shape.duration
    outside = np.abs(TIME - 3.75) > 0.55 * shape.duration
    window = odd(3 * shape.duration / (TIME[1] - TIME[0]), N)
    naive = depth_of(flux / savgol(flux, window, 2), inside, outside)
    masked = depth_of(flux / savgol(bridge(TIME, flux, outside, window // 4), window, 2), inside, outside)
    print(f"naive {1e6 * naive:.0f} ppm, masked {1e6 * masked:.1f} ppm")
    assert naive == pytest.approx(5107e-6, rel=0.15)
    assert masked == pytest.approx(10000e-6, abs=1e-6)


@pytest.mark.parametrize("method", ["savgol", "biweight", "mean"])
def test_every_masked_filter_keeps_the_transit_and_takes_the_trend(method: str) -> None:
    """A trend of 2000 ppm is taken to 150 ppm out of transit; the depth moves by what a straight bridge leaves of it."""
    shape = Shape(t0=3.75, period=96.0, a=15.6, b=0.2, k=0.1, u1=0.0, u2=0.0)
    transit = Model(TIME, 0.0)(shape)
    inside, outside = np.abs(TIME - 3.75) < 0.35 * shape.duration, np.abs(TIME - 3.75) > 0.55 * shape.duration
    flux = transit * (1 + 1e-3 * np.sin(TIME / 2.5))
    filled = bridge(TIME, flux, outside, 60)
    window = 151
    trend = {
        "savgol": lambda: savgol(filled, window, 2),
        "biweight": lambda: biweight(filled, window, 5.0),
        "mean": lambda: running_mean(filled, window),
    }[method]()
    assert (flux / trend)[outside].std() < 1.5e-4
    assert depth_of(flux / trend, inside, outside) == pytest.approx(0.01, abs=1.5e-4)
