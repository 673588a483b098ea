"""A Gaussian process beside linear terms: celerite2, dense formulas, what is averaged over the grid."""

from __future__ import annotations

import celerite2
import numpy as np
import pytest

from v50calib.kernels.process import Samples, cost_of, course, grid, white_variances

RNG = np.random.default_rng(12)
TIME = np.sort(RNG.uniform(0, 7, 150))
SIGMA = np.full(150, 2e-4)
VALUES = 1e-3 * np.sin(TIME) + SIGMA * RNG.standard_normal(150)
ONES = np.ones(150)
FIXED = (1e-3, 2.0)


def celerite() -> celerite2.GaussianProcess:
    """Matérn-3/2 in celerite2 is an approximation that becomes exact as eps -> 0."""
    process = celerite2.GaussianProcess(celerite2.terms.Matern32Term(sigma=FIXED[0], rho=FIXED[1], eps=1e-5), mean=0.0)
    process.compute(TIME, yerr=SIGMA)
    return process


def test_without_terms_it_is_celerite2() -> None:
    at, none = np.linspace(0, 7, 50), np.zeros((150, 0))
    samples = Samples(TIME, VALUES, SIGMA, ONES, none)
    found = course(samples, at, np.zeros((50, 0)), shortest=0.5, fixed=FIXED)
    mean, var = celerite().predict(VALUES, t=at, return_var=True)
    np.testing.assert_allclose(found.process, mean, atol=2e-8)
    np.testing.assert_allclose(found.variance, var, rtol=1e-3)
    assert -0.5 * (cost_of(samples, *FIXED) + 150 * np.log(2 * np.pi)) == pytest.approx(celerite().log_likelihood(VALUES), rel=1e-5)


def test_terms_are_generalized_least_squares_with_their_priors() -> None:
    """Dense normal equations with the inverse covariance; the restricted likelihood's terms by slogdet, up to the columns' units."""
    light = 1.0 - 0.01 * (np.abs(TIME - 3.5) < 1.0)
    terms, others = np.stack([ONES, TIME - 3.5], axis=1), -1.0 * (np.abs(TIME - 3.5) < 1.0)[:, None]
    samples = Samples(TIME, light * (1 + VALUES), SIGMA, light, terms, others, np.array([2e-4]), np.array([1e-4]))
    r = np.sqrt(3) * np.abs(TIME[:, None] - TIME)

    def dense(amplitude: float, length: float) -> tuple[np.ndarray, np.ndarray, float]:
        kernel = amplitude**2 * (1 + r / length) * np.exp(-r / length)
        covariance = np.diag(light) @ kernel @ np.diag(light) + np.diag(SIGMA**2)
        x = np.concatenate([terms * light[:, None], others], axis=1)
        weight, prior = np.linalg.inv(covariance), np.diag([0.0, 0.0, 1e8])
        normal = x.T @ weight @ x + prior
        solution = np.linalg.solve(normal, x.T @ weight @ samples.values + prior @ np.array([0, 0, 2e-4]))
        left = samples.values - x @ solution
        chi2 = left @ weight @ left + 1e8 * (solution[2] - 2e-4) ** 2
        return solution, np.linalg.inv(normal), chi2 + np.linalg.slogdet(covariance)[1] + np.linalg.slogdet(normal)[1]

    solution, covariance, cost = dense(*FIXED)
    found = course(samples, TIME, terms, shortest=0.5, fixed=FIXED)
    np.testing.assert_allclose(found.others, solution[2:], rtol=1e-6)
    np.testing.assert_allclose(found.others_var, covariance[2, 2], rtol=1e-6)
    np.testing.assert_allclose(found.terms, terms @ solution[:2], rtol=1e-9)
    other = (3e-4, 1.0)
    assert cost_of(samples, *other) - cost_of(samples, *FIXED) == pytest.approx(dense(*other)[2] - cost, rel=1e-6)


def test_white_variances_are_least_squares() -> None:
    others = np.stack([np.sin(TIME), TIME], axis=1)
    samples = Samples(TIME, VALUES, SIGMA, ONES, ONES[:, None], others, np.zeros(2), np.full(2, np.inf))
    x = np.column_stack([ONES, others]) / SIGMA[:, None]
    np.testing.assert_allclose(white_variances(samples), np.diag(np.linalg.inv(x.T @ x))[1:], rtol=1e-9)


def test_an_average_over_the_grid_is_no_narrower_than_its_likely_nodes() -> None:
    """Mean and variance of a mixture, by hand."""
    samples = Samples(TIME, VALUES, SIGMA, ONES, ONES[:, None], np.sin(TIME)[:, None], np.zeros(1), np.full(1, np.inf))
    nodes = grid(samples, 0.5, (None, None))
    each = [course(samples, TIME, ONES[:, None], shortest=0.5, fixed=node) for node in nodes]
    weight = np.exp(-0.5 * np.array([cost_of(samples, *node) for node in nodes]) + 0.5 * min(cost_of(samples, *node) for node in nodes))
    weight = np.where(weight > 1e-3, weight, 0.0) / weight[weight > 1e-3].sum()
    values, variances = (np.array([getattr(one, name)[0] for one in each]) for name in ("others", "others_var"))
    found = course(samples, TIME, ONES[:, None], shortest=0.5)
    assert found.others[0] == pytest.approx(weight @ values, rel=1e-9)
    assert found.others_var[0] == pytest.approx(weight @ variances + weight @ (values - weight @ values) ** 2, rel=1e-9)


def test_a_masked_transit_is_bridged_from_what_lies_beside_it() -> None:
    time = (np.arange(282) + 0.5) * 7.5 / 282
    slow = 1 + 2e-3 * np.sin(time / 1.7) + 1e-3 * (time / 7.5) ** 2
    sigma, ones = np.full(time.size, 5e-5), np.ones(time.size)
    outside = np.abs(time - 3.5) > 1.0
    values = slow + sigma * RNG.standard_normal(time.size) - 0.01 * ~outside
    found = course(Samples(time, values, sigma, ones, ones[:, None]).of(outside), time, ones[:, None], shortest=0.5)
    error = found.terms + found.process - slow
    assert np.abs(error).max() < 2.5e-4
    assert np.abs(error)[outside].max() < 1e-4
    assert np.abs(error / np.sqrt(found.variance))[~outside].max() < 3
    assert found.variance[~outside].max() > 4 * found.variance[outside].min()
