"""Series kernels: outliers that cannot be a transit, shifts, least squares, bins."""

from __future__ import annotations

import numpy as np

from v50calib.kernels import lightcurves, series

RNG = np.random.default_rng(3)


def test_isolated_outliers_find_spikes_and_never_a_transit() -> None:
    time = np.linspace(0, 1, 2000)
    transit = np.where(np.abs(time - 0.5) < 0.2, 0.7, 1.0)
    flux = transit[:, None] + 1e-3 * RNG.standard_normal((2000, 20))
    assert not series.isolated_outliers(flux, threshold=8.0).any()
    flux[[5, 700, 1200], [0, 3, 7]] += [0.05, -0.05, 0.02]
    flux[0, 9] += 0.05
    found = np.argwhere(series.isolated_outliers(flux, threshold=8.0))
    assert found.tolist() == [[0, 9], [5, 0], [700, 3], [1200, 7]]


def test_interpolation_in_time_takes_the_neighbours() -> None:
    flux = np.arange(10.0)[:, None] * [1.0, 2.0]
    bad = np.zeros((10, 2), bool)
    bad[4, 0] = bad[7, 1] = bad[8, 1] = True
    spoiled = np.where(bad, 1e6, flux)
    np.testing.assert_allclose(series.interpolate_in_time(spoiled, bad), flux, rtol=1e-14)


def test_point_to_point_sigma_ignores_drift() -> None:
    flux = np.linspace(0, 50, 20000)[:, None] + RNG.standard_normal((20000, 3))
    np.testing.assert_allclose(series.point_to_point_sigma(flux), 1.0, rtol=0.04)


def test_spectral_shift_recovers_known_shifts() -> None:
    column = np.arange(320.0)

    def spectrum(shift: float) -> np.ndarray:
        c = column - shift
        return 1e5 / (1 + np.exp(-(c - 15) / 3)) / (1 + np.exp((c - 300) / 3)) * (1.2 + np.sin(c / 40))

    shifts = RNG.normal(0, 0.1, 50)
    spectra = np.stack([spectrum(s) * f for s, f in zip(shifts, RNG.uniform(0.98, 1, 50), strict=True)])
    measured = lightcurves.spectral_shift(spectra)
    found, total = measured.shift, measured.total
    np.testing.assert_allclose(total, spectra.sum(axis=1), rtol=1e-13)
    np.testing.assert_allclose(found - found.mean(), shifts - shifts.mean(), atol=2e-3)


def test_least_squares_recovers_coefficients_from_the_chosen_samples() -> None:
    design = np.column_stack([np.ones(50), np.linspace(-1, 1, 50), RNG.standard_normal(50) * 1e-3])
    truth = RNG.standard_normal((3, 4)) * [[1], [1], [1e3]]
    flux = design @ truth
    use = np.arange(50) < 40
    flux[40:] += 1e3
    np.testing.assert_allclose(series.least_squares(design, flux, use), truth, rtol=1e-9)


def test_bin_mean_counts_only_finite_samples() -> None:
    values = np.array([[1.0, np.nan], [3.0, 4.0], [5.0, 6.0], [7.0, 8.0]])
    mean, count = series.bin_mean(values, np.array([0, 0, 2, -1]), 3)
    np.testing.assert_array_equal(count, [[2, 1], [0, 0], [1, 1]])
    np.testing.assert_array_equal(mean, [[2.0, 4.0], [np.nan, np.nan], [5.0, 6.0]])


def test_limits_follow_a_transit_and_not_a_spike() -> None:
    """Background that dims with the star for an eighth of the visit, by 30 times its noise: within the limits; a spike is not."""
    rng = np.random.default_rng(6)
    time = np.linspace(0, 7.5, 5625)
    sky = 100 - 3.0 * (np.abs(time - 3.75) < 0.5)[:, None] + 0.1 * rng.standard_normal((5625, 3))
    centre, limit = series.robust_limits(sky, 6.0)
    assert (np.abs(sky - centre) < limit).all()
    # the dip plus six sigma, the sample's own scatter aside
    np.testing.assert_allclose(limit, 3.6, rtol=0.1)
    flat, narrow = series.robust_limits(sky[time < 3], 6.0)
    np.testing.assert_allclose(narrow, 0.6, rtol=0.2)
    np.testing.assert_allclose(flat, 100, atol=0.02)
