"""Spectra of calibrated visits: combined over visits, holes reported, features that reflect the noise."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import xarray as xr

from v50calib.errors import DataError
from v50calib.uncertainty.spectra import WIDER, combine, scatter


def visit(
    planet: str, instrument: str, number: int = 0, *, depth: float = 0.01, sigma: float = 1e-4, noise: float = 1e-3, seed: int = 0
) -> xr.Dataset:
    rng = np.random.default_rng([seed, number])
    channels, pairs = (1 if instrument == "FGS1" else 282), 400
    out = np.arange(pairs) < 300
    values = 1 + noise * rng.normal(size=(pairs, channels))
    curves: dict[str, Any] = {
        "trace_norm": (("pair", "wavelength"), values),
        "trace_norm_var": (("pair", "wavelength"), np.full(values.shape, (0.5 * noise) ** 2)),
        "out_of_transit": (("pair",), out),
        "in_transit": (("pair",), ~out),
        "transit_depth": (("wavelength",), np.full(channels, depth)),
        "transit_depth_sigma": (("wavelength",), np.full(channels, sigma)),
    }
    return xr.Dataset(curves, attrs={"planet_id": planet, "visit": number, "instrument": instrument})


def pair(planet: str, **keys: Any) -> list[xr.Dataset]:
    return [visit(planet, name, **keys) for name in ("AIRS-CH0", "FGS1")]


def test_visits_are_averaged_with_their_weights() -> None:
    found = combine([*pair("7", depth=0.010, sigma=1e-4), *pair("7", number=1, depth=0.013, sigma=2e-4), *pair("12", depth=0.02)])
    assert found.predictions.ids == ("7", "12")
    np.testing.assert_allclose(found.predictions.mu[0], (0.010 * 4 + 0.013) / 5, rtol=1e-12)
    np.testing.assert_allclose(found.predictions.sigma[0], (1 / (1e8 + 0.25e8)) ** 0.5, rtol=1e-12)
    assert found.predictions.mu.shape == (2, 283)
    assert found.notes == []


def test_features_are_the_scatter_out_of_transit() -> None:
    noise, ratio = scatter(visit("7", "AIRS-CH0", noise=2e-3))
    # 300 pairs out, 100 in: standard error of the scatter is 4 %, of the mean over 282 channels 0.25 %
    assert noise.mean() == pytest.approx(2e-3 * np.sqrt(1 / 300 + 1 / 100), rel=0.02)
    assert ratio.mean() == pytest.approx(2.0, rel=0.02)
    found = combine([*pair("7", noise=1e-3), *pair("7", number=1, noise=1e-3)])
    assert found.features.names == ("depth_noise", "noise_over_model")
    assert found.features.values[0, :, 0].mean() == pytest.approx(1e-3 * np.sqrt(1 / 300 + 1 / 100) / np.sqrt(2), rel=0.02)


def test_lost_channels_and_negative_depths() -> None:
    airs, fgs = pair("7")
    airs["transit_depth"][10] = np.nan
    airs["trace_norm"][:, 10] = np.nan
    airs["transit_depth"][20] = -1e-5
    found = combine([airs, fgs])
    assert found.predictions.mu[0, 11] == pytest.approx(0.01)
    assert found.predictions.sigma[0, 11] == pytest.approx(WIDER * 1e-4)
    assert found.predictions.mu[0, 21] == 0.0
    assert np.isfinite(found.features.values).all()
    assert any("1 channels of AIRS-CH0" in note for note in found.notes)
    assert any("1 negative depths" in note for note in found.notes)


def test_planets_without_a_transit() -> None:
    airs, fgs = pair("7", depth=np.nan)
    with pytest.raises(DataError, match=r"planet 7: FGS1: no transit was found; --missing naive"):
        combine([airs, fgs])
    found = combine([airs, fgs], {"mean": 0.0147, "sigma": 0.0107})
    assert (found.predictions.mu == 0.0147).all()
    assert (found.predictions.sigma == 0.0107).all()
    assert len(found.notes) == 2
    with pytest.raises(DataError, match="FGS1: was not calibrated"):
        combine(pair("7")[:1])


def test_fgs1_without_a_depth_takes_the_level_of_airs() -> None:
    """300 ppm seen by AIRS at many sigma: FGS1 is near it, not at the naive 14700 ppm; a structured spectrum makes it less sure."""
    sigmas = []
    for rms in (0.0, 5e-5):
        airs, fgs = visit("7", "AIRS-CH0", depth=3e-4, sigma=1e-5), visit("7", "FGS1", depth=np.nan)
        airs["transit_depth"][:] = 3e-4 + rms * np.tile([-1.0, 1.0], 141) + 1e-5 * np.tile([-1.0, -1.0, 1.0, 1.0], 71)[:282]
        found = combine([airs, fgs], {"mean": 0.0147, "sigma": 0.0107})
        assert found.predictions.mu[0, 0] == pytest.approx(3e-4, rel=0.01)
        sigmas.append(float(found.predictions.sigma[0, 0]))
        assert any("FGS1 has no depth: the level of AIRS-CH0" in note for note in found.notes)
    # AIRS' mean is sure to 1e-5 / sqrt(282)
    assert sigmas[0] == pytest.approx(np.hypot(3e-5, 1e-5 / np.sqrt(282)), rel=0.01)
    assert sigmas[1] == pytest.approx(np.hypot(3e-5, 2.2 * 5e-5), rel=0.01)


def test_products_that_cannot_serve() -> None:
    airs, _ = pair("7")
    with pytest.raises(DataError, match=r"lacks transit_depth.*calib.phase.depths.enabled=true"):
        combine([airs.drop_vars("transit_depth")])
    with pytest.raises(DataError, match="has 5 channels, a submission has 282"):
        combine([airs.isel(wavelength=slice(5))])
    with pytest.raises(DataError, match="another instrument"):
        combine([airs.assign_attrs(instrument="CAM")])
    with pytest.raises(DataError, match="calibrate first"):
        combine([])


NAIVE = {"mean": 0.0145, "sigma": 0.006}


@pytest.mark.parametrize("depth", [1900.0, -1900.0, -0.3])
def test_depths_that_are_none_are_left_out_and_named(depth: float) -> None:
    """As of frames in another order: 1.9e9 ppm with small errors. What is written is what a planet without a transit gets."""
    found = combine([*pair("7"), *pair("8", depth=depth, sigma=1e-3)], NAIVE)
    np.testing.assert_array_equal(found.predictions.mu[1], 0.0145)
    np.testing.assert_array_equal(found.predictions.sigma[1], 0.006)
    assert not found.measured[1].known.any()
    np.testing.assert_allclose(found.predictions.mu[0], 0.01, rtol=1e-12)
    assert sum(f"planet 8, {name}: a depth of {1e6 * depth:.3g} ppm" in note for note in found.notes for name in ("FGS1", "AIRS-CH0")) == 2
    assert not any(note in found.filled for note in found.notes if "a depth of" in note)
    with pytest.raises(DataError, match=r"planet 8: FGS1: a depth of .* ppm.*--missing naive"):
        combine([*pair("7"), *pair("8", depth=depth, sigma=1e-3)])


def test_a_single_channel_without_a_depth_takes_its_neighbours_and_a_shallow_planet_stays() -> None:
    airs, fgs = pair("7", depth=-2e-5, sigma=1e-5)
    airs["transit_depth"][10] = 5.0
    found = combine([airs, fgs])
    assert found.predictions.mu.max() == 0.0
    assert found.predictions.sigma[0, 11] == pytest.approx(WIDER * 1e-5)
    assert any("1 channels of AIRS-CH0 are taken from their neighbours" in note for note in found.notes)
    assert not any("is no planet's" in note for note in found.notes)


def test_a_planet_s_fit_beyond_any_depth_does_not_count() -> None:
    values = {"transit_depth": np.full(283, 40.0), "transit_depth_sigma": np.full(283, 1e-4)}
    fit = xr.Dataset({name: ("wavelength", value) for name, value in values.items()})
    fit = fit.assign_coords(instrument=("wavelength", np.r_[0, np.ones(282, int)])).assign_attrs(instruments=["FGS1", "AIRS-CH0"])
    found = combine(pair("7"), NAIVE, fits={"7": fit})
    np.testing.assert_array_equal(found.predictions.mu[0], 0.0145)
    assert any("planet 7, FGS1: a depth of 4e+07 ppm" in note for note in found.notes)
