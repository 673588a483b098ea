"""Measured depths: generalized least squares against numpy.linalg, chi², what counts as measured, draws."""

from __future__ import annotations

import numpy as np
import pytest

from v50calib.errors import DataError
from v50calib.estimators import Measured, Posterior
from v50calib.estimators.gaussian import Noise


def some(seed: int = 0, k: int = 2) -> Measured:
    rng = np.random.default_rng(seed)
    return Measured(0.01 + 1e-4 * rng.normal(size=283), 1e-8 * rng.uniform(0.5, 2, 283), 3e-5 * rng.normal(size=(283, k)))


@pytest.mark.parametrize("band", [None, slice(1, 11), np.arange(283) % 3 == 0])
def test_white_depth_is_generalized_least_squares(band: slice | np.ndarray | None) -> None:
    measured = some()
    pick = np.arange(283)[slice(None) if band is None else band]
    inverse = np.linalg.inv((np.diag(measured.own_var) + measured.shared @ measured.shared.T)[np.ix_(pick, pick)])
    depth, sigma = measured.white(band)
    assert depth == pytest.approx(inverse.sum(axis=0) @ measured.depth[pick] / inverse.sum(), rel=1e-10)
    assert sigma == pytest.approx(inverse.sum() ** -0.5, rel=1e-8)


def test_independent_channels_would_claim_too_much() -> None:
    measured = Measured(np.full(283, 0.01), np.full(283, 1e-8), np.full((283, 1), 30e-6))
    assert measured.white()[1] > 5 * Measured.independent(measured.depth, np.full(283, 1e-4)).white()[1]


@pytest.mark.parametrize(("name", "value"), [("depth", np.nan), ("own_var", np.inf), ("own_var", 0.0), ("own_var", -1.0)])
def test_what_is_not_a_measurement_has_no_weight(name: str, value: float) -> None:
    whole = some()
    arrays = {key: np.array(getattr(whole, key)) for key in ("depth", "own_var", "shared")}
    arrays[name][5] = value
    arrays["shared"][5] = np.nan
    measured = Measured(**arrays)
    assert list(np.flatnonzero(~measured.known)) == [5]
    assert measured.white()[0] == pytest.approx(whole.white(np.arange(283) != 5)[0], rel=1e-12)


def test_noise_by_woodbury_is_the_inverse() -> None:
    measured, right = some(k=3), np.random.default_rng(1).normal(size=(283, 4))
    cov, noise = measured.covariance(), Noise(measured)
    np.testing.assert_allclose(noise.solve(right), np.linalg.solve(cov, right), rtol=1e-8)
    assert noise.log_det == pytest.approx(np.linalg.slogdet(cov)[1], rel=1e-12)


def test_chi2_of_two_visits() -> None:
    rng = np.random.default_rng(4)
    values = []
    for _ in range(100):
        depths = 0.01 + 1e-4 * rng.normal(size=(2, 283)) + 3e-5 * rng.normal(size=(2, 1))
        pair = [Measured(depth, np.full(283, 1e-8), np.full((283, 1), 3e-5)) for depth in depths]
        values.append(pair[0].chi2(pair[1])[0])
    assert np.mean(values) == pytest.approx(283, abs=4 * np.sqrt(2 * 283 / 100))
    nothing = Measured(np.full(283, np.nan), np.ones(283), np.zeros((283, 0)))
    assert pair[0].chi2(nothing) == (0.0, 0)


def test_draws_have_the_posterior_s_covariance() -> None:
    cov = np.array([[2.0, 1.0], [1.0, 1.0]])
    draws = Posterior(np.array([1.0, 2.0]), cov, 0.0).draws(20000, np.random.default_rng(1))
    np.testing.assert_allclose(np.cov(draws.T), cov, atol=0.06)


def test_errors_say_what_is_wrong() -> None:
    with pytest.raises(DataError, match=r"have the shapes \(282,\), \(283,\), \(283, 0\)"):
        Measured(np.ones(282), np.ones(283), np.zeros((283, 0)))
    with pytest.raises(DataError, match="shared factor of channel 3 is not finite"):
        Measured(np.ones(283), np.ones(283), np.where(np.arange(283)[:, None] == 2, np.nan, 0.0))
    with pytest.raises(DataError, match="no channel of the band was measured"):
        Measured(np.full(283, np.nan), np.ones(283), np.zeros((283, 0))).white()
