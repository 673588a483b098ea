"""Temperature and affine: closed forms, optimality, permutations, worlds with a known oracle."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from tests.uncertainty.worlds import Sample, World, make

from v50calib.errors import ConfigError, DataError
from v50calib.uncertainty.affine import fit_slopes, shrunk_shift
from v50calib.uncertainty.fit import fit
from v50calib.uncertainty.metrics import coverage, gaussian_log_density
from v50calib.uncertainty.model import Calibrator, Inputs
from v50calib.uncertainty.options import ConformalOptions, CorelOptions, TemperatureOptions, TopLevelCalib
from v50calib.uncertainty.tables import Features, Predictions, Truth
from v50calib.uncertainty.temperature import fit_temperature


def tables(s: Sample) -> tuple[Predictions, Truth, Features | None]:
    ids = tuple(f"{i:05d}" for i in range(len(s.y)))
    return Predictions(ids, s.mu, s.sigma), Truth(ids, s.y), None if s.features is None else Features(ids, s.features, ("scatter",))


def fitted(s: Sample, options: TopLevelCalib, *, with_features: bool = False) -> Calibrator:
    predictions, truth, features = tables(s)
    return fit(predictions, truth, options, features if with_features else None)


def gll(model: Calibrator, s: Sample) -> float:
    mu, sigma = model.scale(Inputs(s.mu, s.sigma, s.features if model.feature_names else None))
    return float(gaussian_log_density(s.y, mu, sigma).mean())


GLOBAL = TopLevelCalib(method="temperature")
PER_BIN = TopLevelCalib(method="temperature", temperature=TemperatureOptions(per_bin=True))
AFFINE = TopLevelCalib(method="affine")


def world(name: World, seed: int) -> tuple[Sample, Sample]:
    whole = make(name, 1300, seed)
    return whole.take(slice(0, 300)), whole.take(slice(300, None))


def test_temperature_is_the_closed_form_and_the_best_one() -> None:
    z = np.random.default_rng(0).normal(0, 2.3, (50, 12))
    assert pytest.approx(np.full(12, np.sqrt(np.mean(z**2))), rel=1e-15) == fit_temperature(z).T
    own = fit_temperature(z, per_bin=True, shrinkage=0.0).T
    np.testing.assert_allclose(own, np.sqrt(np.mean(z**2, axis=0)), rtol=1e-13)
    best = [minimize_scalar(lambda t, c=c: t + 0.5 * np.mean(c**2) * np.exp(-2 * t), bounds=(-3, 3), method="bounded").x for c in z.T]
    np.testing.assert_allclose(own, np.exp(best), rtol=1e-5)


def test_grid_search_agrees_to_its_step() -> None:
    z = np.random.default_rng(0).normal(0, 2.3, (50, 12))
    for per_bin in (False, True):
        exact, grid = (fit_temperature(z, per_bin=per_bin, shrinkage=0.0, grid=g).T for g in (False, True))
        np.testing.assert_allclose(np.log(grid), np.log(exact), atol=0.00101)


def test_shrinkage_leaves_the_level_alone() -> None:
    z = np.random.default_rng(1).normal(0, 1.7, (12, 283))
    for shrinkage in (0.0, 0.5, 1.0, "auto"):
        T = fit_temperature(z, per_bin=True, shrinkage=shrinkage).T  # type: ignore[arg-type]
        assert np.mean((z / T) ** 2) == pytest.approx(1.0, abs=1e-12)
    np.testing.assert_allclose(fit_temperature(z, per_bin=True, shrinkage=1.0).T, fit_temperature(z).T, rtol=1e-12)


def test_auto_shrinkage_knows_noise_from_signal() -> None:
    rng = np.random.default_rng(2)
    same = fit_temperature(rng.normal(size=(60, 283)), per_bin=True)
    factors = np.exp(rng.normal(0, 0.5, 283))
    different = fit_temperature(rng.normal(size=(300, 283)) * factors, per_bin=True)
    assert same.kept < 0.15
    assert different.kept > 0.98
    # few planets: shrinking is worth something on new planets
    few, new = rng.normal(size=(12, 283)) * np.exp(0.2 * rng.normal(size=283)), rng.normal(size=(2000, 283))
    loss = [np.mean(np.log(T) + 0.5 * (new / T) ** 2) for T in (fit_temperature(few, per_bin=True, shrinkage=s).T for s in (0.0, "auto"))]
    assert loss[1] < loss[0] - 0.005


def test_clamp_and_refusals() -> None:
    z = np.random.default_rng(3).normal(0, 50.0, (20, 5))
    found = fit_temperature(z, clamp=(0.1, 10.0))
    assert (found.T == 10.0).all()
    assert found.clamped == 5
    with pytest.raises(DataError, match="needs at least 5 planets with truth, but there are 4"):
        fit_temperature(z[:4])
    with pytest.raises(DataError, match="temperature per bin needs at least 10"):
        fit_temperature(z[:9], per_bin=True)
    with pytest.raises(DataError, match="all exactly 0"):
        fit_temperature(z * np.array([1, 1, 0, 1, 1]), per_bin=True)
    with pytest.raises(DataError, match="affine needs at least 30 planets with truth, but there are 20"):
        fitted(make("gaussian", 20, 0), AFFINE)
    with pytest.raises(ConfigError, match="fits nothing"):
        fitted(make("gaussian", 20, 0), TopLevelCalib())


@pytest.mark.parametrize("options", [GLOBAL, PER_BIN, AFFINE])
def test_the_order_of_planets_changes_nothing(options: TopLevelCalib) -> None:
    predictions, truth, _ = tables(make("planet", 60, 4))
    order = np.random.default_rng(0).permutation(60)
    shuffled = Truth(tuple(truth.ids[i] for i in order[::-1]), truth.y[order[::-1]])
    one, two = fit(predictions, truth, options), fit(predictions.take(order), shuffled, options)
    np.testing.assert_array_equal(one.scale.T, two.scale.T)
    np.testing.assert_array_equal(one.scale.shift, two.scale.shift)
    assert one.bands is not None
    assert two.bands is not None
    np.testing.assert_array_equal(one.bands.q, two.bands.q)


def test_permuting_bins_permutes_temperature() -> None:
    s = make("planet", 60, 4)
    order = np.random.default_rng(0).permutation(283)
    moved = Sample(s.y[:, order], s.mu[:, order], s.sigma[:, order], None, s.centre, s.scale, s.difficulty)
    one, two = fitted(s, PER_BIN), fitted(moved, PER_BIN)
    np.testing.assert_allclose(two.scale.T, one.scale.T[order], rtol=1e-12)
    assert one.bands is not None
    assert two.bands is not None
    np.testing.assert_array_equal(two.bands.q, one.bands.q[:, order])


@pytest.mark.parametrize("seed", [11, 12, 13])
def test_gaussian_world_per_bin_reaches_the_oracle(seed: int) -> None:
    calibration, test = world("gaussian", seed)
    oracle = float(gaussian_log_density(test.y, test.centre, test.scale).mean())
    assert abs(gll(fitted(calibration, PER_BIN), test) - oracle) < 0.004
    assert gll(fitted(calibration, GLOBAL), test) < oracle - 0.05


@pytest.mark.parametrize("seed", [21, 22, 23])
def test_planet_world_affine_beats_temperature(seed: int) -> None:
    calibration, test = world("planet", seed)
    model = fitted(calibration, AFFINE)
    assert gll(model, test) > gll(fitted(calibration, PER_BIN), test) + 0.05
    assert model.bands is not None
    bands = model.bands(Inputs(test.mu, test.sigma))
    assert coverage(test.y, bands.low, bands.high)[0] == pytest.approx(0.9, abs=0.03)


def test_features_over_neighbours_help_affine() -> None:
    calibration, test = world("features", 31)
    assert gll(fitted(calibration, AFFINE, with_features=True), test) > gll(fitted(calibration, AFFINE), test) + 0.05


def test_slopes_are_recovered_and_ridge_shrinks_them() -> None:
    rng = np.random.default_rng(6)
    x = rng.normal(size=(2000, 30, 2))
    true = np.array([0.3, -0.2])
    z = rng.normal(size=(2000, 30)) * np.exp(x @ true)
    # 60,000 independent elements: standard error 1/sqrt(2 * 60000) = 0.003
    np.testing.assert_allclose(fit_slopes(z, x, 0.0), true, atol=0.015)
    strong = fit_slopes(z[:40], x[:40], 200.0)
    assert np.abs(strong).max() < 0.5 * np.abs(fit_slopes(z[:40], x[:40], 0.0)).max()


def test_shift_is_kept_where_it_is_real() -> None:
    rng = np.random.default_rng(7)
    bias = rng.normal(0, 0.5, 283)
    noise = rng.normal(size=(300, 283))
    assert np.abs(shrunk_shift(noise)).max() < 0.05
    np.testing.assert_allclose(shrunk_shift(noise + bias), bias, atol=0.25)


def test_a_model_that_saw_its_planets_is_noticed() -> None:
    s = make("gaussian", 60, 8)
    seen = Sample(s.mu + 0.1 * (s.y - s.mu), s.mu, s.sigma, None, s.centre, s.scale, s.difficulty)
    assert any("out-of-fold" in note for note in fitted(seen, GLOBAL).notes)
    assert not any("out-of-fold" in note for note in fitted(s, GLOBAL).notes)


def test_too_few_planets_for_the_level_are_told() -> None:
    model = fitted(make("gaussian", 8, 0), GLOBAL)
    assert model.bands is not None
    assert np.isinf(model.bands.q).all()
    assert any("8 planets are too few for 90% intervals (9 are needed)" in note for note in model.notes)
    options = CorelOptions(conformal=ConformalOptions(groups=3, alpha=0.2))
    grouped = fitted(make("gaussian", 60, 0), TopLevelCalib(method="temperature", corel=options))
    assert grouped.bands is not None
    assert grouped.bands.q.shape == (3, 283)
    assert np.isfinite(grouped.bands.q).all()
