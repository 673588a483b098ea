"""The Gaussian process against dense Gaussian algebra, the kernel against its Bessel form and scikit-learn, calibration, FGS1."""

from __future__ import annotations

import numpy as np
import pytest
from dense_mixture import dense_posterior
from scipy.special import gamma, kv

from v50calib.errors import DataError
from v50calib.estimators import GaussianProcess, Measured, Priors
from v50calib.estimators.gaussian import matern52
from v50calib.kernels.arrays import Float

WAVELENGTH = np.r_[0.7, np.linspace(1.95, 3.9, 282)]


def bessel_form(distance: Float, length: float) -> Float:
    """Rasmussen & Williams 2006, eq. 4.14, nu = 5/2."""
    scaled = np.sqrt(5.0) * np.abs(distance) / length
    safe = np.where(scaled > 0, scaled, 1.0)
    return np.where(scaled > 0, 2.0 ** (1 - 2.5) / gamma(2.5) * safe**2.5 * kv(2.5, safe), 1.0)


def dense_members(priors: Priors) -> list[tuple[float, Float]]:
    """Weight and prior covariance (283, 283) of every member, written out."""
    airs = WAVELENGTH[1:]
    distance = airs[:, None] - airs[None, :]
    prior = np.exp(-0.5 * (np.log(np.array(priors.amplitudes) / priors.amplitude) / priors.amplitude_ln_sd) ** 2)
    members = []
    for length in priors.lengths:
        kernel = (1 - priors.fine_share) * bessel_form(distance, length)
        kernel += priors.fine_share * bessel_form(distance, priors.fine_length * length)
        for scale, share in zip(priors.fgs_scales, priors.fgs_weights, strict=True):
            for a, p in zip(priors.amplitudes, prior / prior.sum(), strict=True):
                cov = np.full((283, 283), priors.level_sd**2)
                cov[0, 0] += (scale * a) ** 2
                cov[1:, 1:] += a**2 * kernel
                members.append((p * share / len(priors.lengths), cov))
    return members


def planet(seed: int, shape: float = 150e-6, white: float = 80e-6) -> Measured:
    rng = np.random.default_rng(seed)
    depth = 0.012 + shape * np.sin(4 * WAVELENGTH) + white * rng.normal(size=283)
    own = white**2 * rng.uniform(0.5, 2.0, size=283)
    return Measured(depth, own, 3e-5 * rng.normal(size=(283, 2)))


@pytest.mark.parametrize("case", ["all", "gaps", "no FGS1"])
def test_posterior_and_evidence_are_dense_algebra(small_priors: Priors, case: str) -> None:
    measured = planet(3)
    depth = measured.depth.copy()
    if case == "gaps":
        depth[[0, 7, *range(100, 140)]] = np.nan
    elif case == "no FGS1":
        depth[0] = np.nan
    measured = Measured(depth, measured.own_var, measured.shared)
    posterior = GaussianProcess(WAVELENGTH, small_priors).posterior(measured)
    members = dense_members(small_priors)
    mean, cov, evidence = dense_posterior(measured, [np.full(283, small_priors.level)] * len(members), members)
    # the modes left out carry 1e-5 of the kernel's variance
    assert np.abs(posterior.mean - mean).max() < 0.01 * np.sqrt(np.diag(cov)).min()
    np.testing.assert_allclose(posterior.sigma, np.sqrt(np.diag(cov)), rtol=0.01)
    assert np.abs(posterior.cov - cov).max() < 0.02 * np.diag(cov).max()
    assert posterior.log_evidence == pytest.approx(evidence, abs=0.1)


def test_the_kernel_is_materns() -> None:
    distance = np.linspace(-2.0, 2.0, 41)
    np.testing.assert_allclose(matern52(distance, 0.4), bessel_form(distance, 0.4), atol=1e-12)


def test_the_kernel_is_scikit_learns() -> None:
    kernels = pytest.importorskip("sklearn.gaussian_process.kernels")
    x = np.linspace(1.95, 3.9, 30)
    np.testing.assert_allclose(matern52(x[:, None] - x, 0.3), kernels.Matern(length_scale=0.3, nu=2.5)(x[:, None]), atol=1e-12)


def test_calibrated_on_its_own_law(small_priors: Priors) -> None:
    rng = np.random.default_rng(11)
    members = dense_members(small_priors)
    roots = [np.linalg.cholesky(cov + 1e-14 * np.eye(283)) for _, cov in members]
    weights = np.array([w for w, _ in members])
    estimator = GaussianProcess(WAVELENGTH, small_priors)
    fgs, level, airs = [], [], []
    for _ in range(250):
        truth = small_priors.level + roots[rng.choice(len(members), p=weights)] @ rng.normal(size=283)
        depth = truth + 1e-4 * rng.normal(size=283) + 3e-5 * rng.normal()
        posterior = estimator.posterior(Measured(depth, np.full(283, 1e-8), np.full((283, 1), 3e-5)))
        error = truth - posterior.mean
        fgs.append(error[0] / posterior.sigma[0])
        level.append(error[1:].mean() / np.sqrt(posterior.cov[1:, 1:].mean()))
        airs.append(np.mean((error[1:] / posterior.sigma[1:]) ** 2))
    # 250 planets: the rms of a unit Gaussian is known to .045
    assert np.sqrt(np.mean(np.square(fgs))) == pytest.approx(1.0, abs=0.13)
    assert np.sqrt(np.mean(np.square(level))) == pytest.approx(1.0, abs=0.13)
    assert np.sqrt(np.mean(airs)) == pytest.approx(1.0, abs=0.05)


def test_fgs1_of_a_shallow_planet_comes_from_airs_with_an_honest_width(process: GaussianProcess) -> None:
    """300 ppm, AIRS at 15 sigma (20 ppm common), FGS1 without a depth: never the naive mean of all planets."""
    rng = np.random.default_rng(5)
    depth = 300e-6 + 100e-6 * rng.normal(size=283) + 20e-6 * rng.normal()
    depth[0] = np.nan
    posterior = process.posterior(Measured(depth, np.full(283, 1e-8), np.full((283, 1), 20e-6)))
    assert abs(posterior.mean[0] - 300e-6) < 2 * posterior.sigma[0]
    assert 20e-6 < posterior.sigma[0] < 200e-6
    assert "FGS1 was not measured" in posterior.note


def test_fgs1_grows_apart_with_the_amplitude(process: GaussianProcess) -> None:
    widths = []
    for shape in (0.0, 100e-6, 400e-6):
        measured = planet(8, shape)
        depth = measured.depth.copy()
        depth[0] = np.nan
        widths.append(process.posterior(Measured(depth, measured.own_var, measured.shared)).sigma[0])
    assert widths[0] < widths[1] < widths[2]
    assert widths[2] > 400e-6


def test_nothing_measured_is_the_prior(process: GaussianProcess) -> None:
    posterior = process.posterior(Measured(np.full(283, np.nan), np.full(283, np.nan), np.full((283, 1), np.nan)))
    assert posterior.note.startswith("no channel was measured: this is the prior")
    np.testing.assert_allclose(posterior.mean, process.priors.level)
    assert posterior.sigma.min() >= process.priors.level_sd


def test_wavelengths_of_another_instrument_are_refused() -> None:
    with pytest.raises(DataError, match=r"wavelength has the shape \(10,\)"):
        GaussianProcess(np.linspace(1, 2, 10))
