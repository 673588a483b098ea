"""Compiled passes over light curves against NumPy and SciPy, in both storage types."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import uniform_filter1d

from v50calib.kernels import lightcurves

DTYPES = pytest.mark.parametrize("dtype", [np.float32, np.float64])


def rounding(dtype: type) -> float:
    return 4 * float(np.finfo(dtype).eps)


@DTYPES
@pytest.mark.parametrize(("window", "columns"), [(31, 15), (1, 1), (8, 4), (500, 3)])
def test_smooth_background_is_a_clipped_uniform_filter(dtype: type, window: int, columns: int) -> None:
    rng = np.random.default_rng(1)
    sky = rng.normal(5, 1, (200, 40)).astype(dtype)
    sky[50, 3] = 900
    flux, area = rng.normal(1e3, 10, (200, 40)).astype(dtype), rng.uniform(10, 20, 40)
    clipped = sky.astype(float)
    clipped[50, 3] = 5.0
    smooth = uniform_filter1d(clipped, min(window, 200), axis=0, mode="nearest")
    smooth = uniform_filter1d(smooth, columns, axis=1, mode="nearest")
    expected = flux - area * smooth
    found = lightcurves.subtract_smooth(flux, sky, np.full(40, 5.0), np.full(40, 8.0), area, window, columns)
    np.testing.assert_allclose(found, smooth, rtol=max(rounding(dtype), 1e-12))
    np.testing.assert_allclose(flux, expected, rtol=max(rounding(dtype), 1e-12))


@DTYPES
def test_variance_is_linear_in_positive_flux_and_keeps_nan(dtype: type) -> None:
    flux = np.array([[-5.0, 3.0], [np.nan, 1e5]], dtype)
    found = lightcurves.linear_variance(flux, np.array([2.0, 0.5]), np.array([10.0, 1.0]))
    assert found.dtype == dtype
    np.testing.assert_array_equal(found[:, 1], np.array([2.5, 50001.0], dtype))
    assert found[0, 0] == 10.0
    assert np.isnan(found[1, 0])


@DTYPES
def test_division_propagates_the_variance(dtype: type) -> None:
    rng = np.random.default_rng(2)
    flux, var, base = (rng.uniform(1, 9, (30, 7)).astype(dtype) for _ in range(3))
    base[3, 2] = np.nan
    norm, norm_var = lightcurves.divide(flux, var, base)
    f, v, b = (a.astype(float) for a in (flux, var, base))
    np.testing.assert_allclose(norm, f / b, rtol=rounding(dtype))
    np.testing.assert_allclose(norm_var, v / b**2, rtol=rounding(dtype))


@DTYPES
def test_operator_on_chosen_rows_is_a_matrix_product(dtype: type) -> None:
    rng = np.random.default_rng(3)
    series, operator = rng.normal(size=(50, 6)).astype(dtype), rng.normal(size=(3, 20))
    rows = np.sort(rng.choice(50, 20, replace=False))
    found = lightcurves.apply_operator(operator, rows, series)
    np.testing.assert_allclose(found, operator @ series[rows].astype(float), rtol=1e-12, atol=1e-12)


def test_noise_of_a_measured_shift_in_the_spectrum_that_it_corrects() -> None:
    """Oracle: the scatter of 4000 simulated spectra, their own measured shift taken out. One direction has more than the noise."""
    rng, column = np.random.default_rng(0), np.arange(320.0)
    edges = 1.0 / (1.0 + np.exp(-(column - 20.0) / 3.0)) / (1.0 + np.exp((column - 300.0) / 3.0))
    mean = 1e5 * np.exp(-(((column - 80.0) / 90.0) ** 2)) * edges + 50.0
    spectra = rng.normal(mean, np.sqrt(mean), (4000, column.size))
    found = lightcurves.spectral_shift(spectra)
    noise = np.sqrt(mean) / mean.sum()
    along = found.noise_along(noise)[0]
    left = spectra / found.total[:, None] - found.mean + np.outer(found.shift, np.gradient(found.mean))
    values, vectors = np.linalg.eigh(np.cov((left / noise).T))
    size = float(np.square(along).sum())
    assert size > 4.0
    assert abs(values[-1] / (1.0 + size) - 1.0) < 0.08
    assert values[-2] < 2.0
    assert abs(vectors[:, -1] @ along) / np.sqrt(size) > 0.98
