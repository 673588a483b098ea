"""The covariance of a spectrum and its bins against dense algebra and against draws; what cannot be binned."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import xarray as xr

import v50calib
from v50calib.errors import ConfigError, DataError

AIRS = np.linspace(1.95, 3.9, 282)


def spectrum(seed: int = 3, channels: int = 283, terms: int = 5) -> xr.Dataset:
    """A planet's row of an export: FGS1 and AIRS-CH0, two channels without a depth."""
    rng = np.random.default_rng(seed)
    depth = 0.01 + 1e-4 * rng.normal(size=channels)
    factor = 3e-5 * rng.normal(size=(channels, terms))
    sigma = np.sqrt((factor**2).sum(axis=1) + rng.uniform(5e-5, 2e-4, channels) ** 2)
    depth[[40, 41]] = sigma[[40, 41]] = np.nan
    values = {
        "transit_depth": ("wavelength", depth),
        "transit_depth_sigma": ("wavelength", sigma),
        "transit_depth_shared": (("wavelength", "shared"), factor),
    }
    return xr.Dataset(values, {"wavelength": np.r_[0.7, AIRS][:channels]}, {"channel_0": "FGS1"})


def dense(ds: xr.Dataset) -> np.ndarray:
    factor = ds["transit_depth_shared"].values
    out = np.array([[float((a * b).sum()) for b in factor] for a in factor])
    out[np.diag_indices(len(out))] = ds["transit_depth_sigma"].values ** 2
    return out


def test_covariance_is_the_dense_one() -> None:
    ds = spectrum()
    got, good = v50calib.covariance(ds), np.isfinite(ds["transit_depth"].values)
    np.testing.assert_allclose(got.values[np.ix_(good, good)], dense(ds)[np.ix_(good, good)], rtol=1e-12)
    assert np.isnan(got.values[40]).all()
    assert np.isnan(got.values[:, 41]).all()
    assert got.dims == ("wavelength", "wavelength_too")


@pytest.mark.parametrize("edges", [[0.5, 1.0, 2.2, 2.4, 3.0, 3.95], [2.0, 2.1], np.linspace(1.9, 4.0, 30)])
def test_bins_are_weighted_means_with_their_covariance(edges: Any) -> None:
    ds = spectrum()
    got, full = v50calib.bin_depths(ds, edges), dense(ds)
    wavelength, depth, sigma = ds["wavelength"].values, ds["transit_depth"].values, ds["transit_depth_sigma"].values
    weights = []
    for low, high in itertools.pairwise(edges):
        inside = [i for i in range(283) if low <= wavelength[i] < high and np.isfinite(depth[i])]
        if inside:
            weights.append(np.zeros(283))
            weights[-1][inside] = sigma[inside] ** -2 / np.sum(sigma[inside] ** -2)
    w = np.array(weights)
    w[:, ~np.isfinite(depth)] = 0
    np.testing.assert_allclose(got["depth"], w @ np.nan_to_num(depth), rtol=1e-12)
    np.testing.assert_allclose(got["covariance"], w @ np.nan_to_num(full) @ w.T, rtol=1e-10, atol=1e-22)
    np.testing.assert_allclose(got["depth_sigma"], np.sqrt(np.diag(got["covariance"])), rtol=1e-12)
    assert got["channels"].values.tolist() == [(row > 0).sum() for row in w]


def test_bins_of_drawn_spectra_scatter_as_their_covariance_says() -> None:
    ds = spectrum().isel(wavelength=slice(0, 40))
    rng, root, truth = np.random.default_rng(8), np.linalg.cholesky(dense(ds)), 0.01
    drawn = []
    for _ in range(1500):
        noisy = ds.assign(transit_depth=("wavelength", truth + root @ rng.normal(size=40)))
        drawn.append(v50calib.bin_depths(noisy, [0.6, 0.8, 2.0, 2.1, 2.3])["depth"].values)
    expected = v50calib.bin_depths(ds, [0.6, 0.8, 2.0, 2.1, 2.3])
    found = np.cov(np.array(drawn), rowvar=False)
    scale = np.outer(expected["depth_sigma"], expected["depth_sigma"])
    np.testing.assert_allclose(found / scale, expected["covariance"].values / scale, atol=0.12)
    np.testing.assert_allclose(np.mean(drawn, axis=0), truth, atol=5 * expected["depth_sigma"].max() / np.sqrt(1500))


@pytest.mark.parametrize("power", [10, 60, 150.0])
def test_bins_of_a_resolving_power(power: float) -> None:
    got = v50calib.bin_depths(spectrum(), power)
    assert got["instrument"].values.tolist() == ["FGS1", *["AIRS-CH0"] * (got.sizes["wavelength"] - 1)]
    assert (float(got["wavelength"][0]), float(got["half_width"][0])) == pytest.approx((0.7, 0.1))
    airs = got.isel(wavelength=slice(1, None))
    resolving = airs["wavelength"].values / (2 * airs["half_width"].values)
    np.testing.assert_allclose(resolving, power, rtol=0.08)
    np.testing.assert_allclose(resolving, resolving[0], rtol=1e-9)
    upper, lower = airs["wavelength"] + airs["half_width"], airs["wavelength"] - airs["half_width"]
    np.testing.assert_allclose(upper.values[:-1], lower.values[1:], rtol=1e-12)
    assert int(got["channels"].sum()) == 281


def test_without_bins_the_channels_stay_and_get_a_width() -> None:
    got, ds = v50calib.bin_depths(spectrum()), spectrum()
    good = np.isfinite(ds["transit_depth"].values)
    np.testing.assert_allclose(got["depth"], ds["transit_depth"].values[good])
    np.testing.assert_allclose(got["depth_sigma"], ds["transit_depth_sigma"].values[good], rtol=1e-12)
    np.testing.assert_allclose(got["half_width"].values[1:], 0.5 * (AIRS[1] - AIRS[0]), rtol=1e-9)
    np.testing.assert_allclose(got["wavelength"], ds["wavelength"].values[good], rtol=1e-9)


def test_a_bin_ends_where_the_channels_end() -> None:
    got = v50calib.bin_depths(spectrum(), [0.1, 1.0, 2.0, 9.0])
    half = 0.5 * (AIRS[1] - AIRS[0])
    low, high = got["wavelength"] - got["half_width"], got["wavelength"] + got["half_width"]
    np.testing.assert_allclose(low, [0.6, 1.95 - half, 2.0])
    np.testing.assert_allclose(high, [0.8, 2.0, 3.9 + half])


@pytest.mark.parametrize(
    ("bins", "words"),
    [
        (400, "resolving power 400 is finer than the channels of AIRS-CH0"),
        (-3.0, "bins = -3.0 is no resolving power"),
        (float("nan"), "bins = nan is no resolving power"),
        ([2.0], "are no edges"),
        ([3.0, 2.0], "are no edges"),
        ([5.0, 6.0], "no channel with a depth is in a bin: edges go from 5 to 6 µm"),
    ],
)
def test_bins_that_make_no_sense(bins: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        v50calib.bin_depths(spectrum(), bins)


def test_what_is_not_one_spectrum_is_refused() -> None:
    ds = spectrum()
    with pytest.raises(DataError, match="has no transit_depth_shared"):
        v50calib.covariance(ds.drop_vars("transit_depth_shared"))
    with pytest.raises(DataError, match=r"dimensions planet x wavelength: .* ds.isel\(planet=0\)"):
        v50calib.covariance(ds.expand_dims("planet"))
    with pytest.raises(DataError, match="does not say what the errors of its channels have in common"):
        v50calib.covariance(ds.assign(transit_depth_shared=ds["transit_depth_shared"] * np.nan))
    with pytest.raises(DataError, match="no depth in any channel"):
        v50calib.bin_depths(ds.assign(transit_depth=ds["transit_depth"] * np.nan), 20)
    with pytest.raises(DataError, match="does not say which instrument"):
        v50calib.bin_depths(ds.drop_attrs(), 20)
    with pytest.raises(DataError, match="wavelengths of all its channels"):
        v50calib.bin_depths(ds.assign_coords(wavelength=ds["wavelength"] * np.nan), 20)
    with pytest.raises(ConfigError, match="CAM has one channel, and no band of that name is known"):
        v50calib.bin_depths(ds.isel(wavelength=[0]).assign_attrs(channel_0="CAM"), 20)
