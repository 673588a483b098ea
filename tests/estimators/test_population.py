"""The population against dense Gaussian algebra, what it must keep, calibration, files, and what it refuses."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from dense_mixture import dense_posterior

from v50calib.errors import DataError
from v50calib.estimators import Measured, Options, Population
from v50calib.kernels.arrays import Float

from .conftest import WAVELENGTH, drawn, observed


def dense_members(population: Population) -> tuple[list[Float], list[tuple[float, Float]]]:
    """Means and (weight, covariance) of every member over the 283 channels, written out."""
    means, members = [], []
    for mean, root, log_weight, group in zip(population.means, population.roots, population.log_weights, population.group, strict=True):
        inner = population.basis @ root
        means.append(population.basis @ mean)
        members.append((float(np.exp(log_weight)), inner @ inner.T + population.amplitudes[group] ** 2 * population.residual))
    return means, members


@pytest.mark.parametrize("case", ["all", "gaps", "no FGS1", "no AIRS"])
def test_posterior_and_evidence_are_dense_algebra(truths: Float, case: str) -> None:
    population = Population.fit(truths[:24], WAVELENGTH)
    measured = observed(drawn(1, 9)[0], np.random.default_rng(2))
    depth = measured.depth.copy()
    lost = {"all": [], "gaps": [0, 5, *range(60, 90)], "no FGS1": [0], "no AIRS": list(range(1, 283))}[case]
    depth[lost] = np.nan
    measured = Measured(depth, measured.own_var, measured.shared)
    posterior = population.posterior(measured)
    mean, cov, evidence = dense_posterior(measured, *dense_members(population))
    # members below 1e-4 of the weight are left out of the sums
    assert (np.abs(posterior.mean - mean) / np.sqrt(np.diag(cov))).max() < 0.01
    np.testing.assert_allclose(posterior.sigma, np.sqrt(np.diag(cov)), rtol=0.01)
    assert np.abs(posterior.cov - cov).max() < 0.02 * np.diag(cov).max()
    assert posterior.log_evidence == pytest.approx(evidence, abs=1e-5)


def test_weights_are_a_distribution(population: Population) -> None:
    assert np.exp(population.log_weights).sum() == pytest.approx(1.0)


@pytest.mark.slow
def test_better_than_the_depths_and_calibrated_on_other_planets(population: Population) -> None:
    rng = np.random.default_rng(3)
    others = drawn(60, 20)
    z_fgs, z_airs, gain = [], [], []
    for truth in others:
        measured = observed(truth, rng)
        posterior = population.posterior(measured)
        z = (truth - posterior.mean) / posterior.sigma
        z_fgs.append(z[0] ** 2)
        z_airs.append(np.mean(z[1:] ** 2))
        gain.append(np.mean((truth - posterior.mean)[1:] ** 2) / np.mean((truth - measured.depth)[1:] ** 2))
    assert np.median(gain) < 0.2
    assert np.sqrt(np.mean(z_airs)) == pytest.approx(1.0, abs=0.15)
    assert np.sqrt(np.mean(z_fgs)) == pytest.approx(1.0, abs=0.15)


@pytest.mark.slow
def test_calibrated_on_its_own_law(population: Population) -> None:
    rng = np.random.default_rng(13)
    weights = np.exp(population.log_weights)
    values, vectors = np.linalg.eigh(population.residual)
    root = vectors * np.sqrt(np.maximum(values, 0.0))
    shape, level, fgs = [], [], []
    for _ in range(150):
        k = rng.choice(len(weights), p=weights / weights.sum())
        c = population.means[k] + population.roots[k] @ rng.normal(size=population.means.shape[1])
        truth = population.basis @ c + population.amplitudes[population.group[k]] * root @ rng.normal(size=283)
        posterior = population.posterior(observed(truth, rng))
        error, cov = (truth - posterior.mean)[1:], posterior.cov[1:, 1:]
        variance = np.diag(cov) - 2 * cov.mean(axis=1) + cov.mean()
        shape.append(np.mean((error - error.mean()) ** 2 / variance))
        level.append(error.mean() ** 2 / cov.mean())
        fgs.append((truth - posterior.mean)[0] ** 2 / posterior.cov[0, 0])
    assert np.sqrt(np.mean(shape)) == pytest.approx(1.0, abs=0.05)
    # one number a planet: the rms of 150 is known to .06
    assert np.sqrt(np.mean(level)) == pytest.approx(1.0, abs=0.15)
    assert np.sqrt(np.mean(fgs)) == pytest.approx(1.0, abs=0.15)


def test_a_basis_without_its_residual_is_ruinous() -> None:
    """Four components for six bands, precise depths: what they lack is in the residual, or the errors are not."""
    population = Population.fit(drawn(60, 1), WAVELENGTH, Options(components=4, amplitudes=8))
    bare = dataclasses.replace(population, residual=1e-9 * np.eye(283))
    rng = np.random.default_rng(2)
    rms: dict[str, list[float]] = {"with": [], "without": []}
    for truth in drawn(30, 2):
        measured = observed(truth, rng, white=20e-6, common=0.0)
        for name, law in (("with", population), ("without", bare)):
            posterior = law.posterior(measured)
            rms[name].append(float(np.mean(((truth - posterior.mean) / posterior.sigma)[1:] ** 2)))
    assert np.sqrt(np.mean(rms["with"])) < 1.5
    assert np.sqrt(np.mean(rms["without"])) > 3 * np.sqrt(np.mean(rms["with"]))


def test_fgs1_of_a_shallow_planet_comes_from_airs(population: Population) -> None:
    rng = np.random.default_rng(5)
    depth = 300e-6 + 100e-6 * rng.normal(size=283) + 20e-6 * rng.normal()
    depth[0] = np.nan
    posterior = population.posterior(Measured(depth, np.full(283, 1e-8), np.full((283, 1), 20e-6)))
    assert abs(posterior.mean[0] - 300e-6) < 3 * posterior.sigma[0]
    assert 20e-6 < posterior.sigma[0] < 300e-6
    assert "FGS1 was not measured" in posterior.note


def test_nothing_measured_is_the_prior(population: Population, truths: Float) -> None:
    posterior = population.posterior(Measured(np.full(283, np.nan), np.full(283, np.nan), np.zeros((283, 0))))
    assert posterior.note.startswith("no channel was measured: this is the prior")
    assert posterior.mean[1:].mean() == pytest.approx(truths[:, 1:].mean(), abs=truths.std())
    assert posterior.sigma.min() > truths[:, 1:].mean(axis=1).std()


def test_saved_and_loaded(population: Population, tmp_path: Path) -> None:
    population.save(tmp_path / "population.npz")
    again = Population.load(tmp_path / "population.npz")
    for field in dataclasses.fields(Population):
        np.testing.assert_array_equal(getattr(again, field.name), getattr(population, field.name))


def test_another_file_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", mu=np.ones(3))
    with pytest.raises(DataError, match="holds mu: expected"):
        Population.load(tmp_path / "a.npz")
    (tmp_path / "b.npz").write_text("no archive")
    with pytest.raises(DataError, match="cannot be read as a population"):
        Population.load(tmp_path / "b.npz")
    with pytest.raises(DataError, match="cannot be read as a population"):
        Population.load(tmp_path / "nowhere.npz")


def spoilt(row: int, channel: int | slice, value: float) -> Float:
    truths = drawn(30, 1)
    truths[row, channel] = value
    return truths


@pytest.mark.parametrize(
    ("truths", "said"),
    [
        (drawn(19, 1), "19 planets are too few for a population: give at least 20"),
        (drawn(30, 1)[:, 1:], r"282 channels: FGS1 \(wl_1\) is missing"),
        (drawn(30, 1)[:, :100], r"the shape \(30, 100\): expected \(planets, 283\)"),
        (spoilt(4, 17, np.nan), r"the truth of planet 5 \(row of the file\), wl_18, is nan"),
        (spoilt(4, 17, -0.1), r"wl_18, is -0.1"),
        (spoilt(slice(None), 0, np.nan), r"no depth of FGS1 \(wl_1 is NaN for every planet\)"),  # type: ignore[arg-type]
        (np.full((30, 283), 0.01), "every spectrum of the truth is flat over AIRS-CH0"),
    ],
)
def test_a_truth_that_is_none_is_refused(truths: Float, said: str) -> None:
    with pytest.raises(DataError, match=said):
        Population.fit(truths, WAVELENGTH)


def test_few_planets_are_enough_where_asked_for() -> None:
    population = Population.fit(drawn(12, 1), WAVELENGTH, Options(fewest=10))
    assert population.n_planets == 12
    truth = drawn(1, 40)[0]
    posterior = population.posterior(observed(truth, np.random.default_rng(1)))
    assert np.abs((truth - posterior.mean) / posterior.sigma).max() < 6
