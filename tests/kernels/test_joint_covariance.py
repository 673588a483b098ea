"""The covariance of the joint fit against dense algebra: every coefficient a column, every prior a row of its matrix."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from v50calib.kernels.blocks import Band, Block, JointFit
from v50calib.kernels.covariance import covariance, own_variance, weighted_depth
from v50calib.kernels.depths import fit_joint
from v50calib.kernels.transit import Model, Prior, Shape, radius_ratio

SHAPE = Shape(t0=3.0, period=96.0, a=12.0, b=0.3, k=0.1, u1=0.2, u2=0.1)
HELD = Prior((12.0, 1e-7), (0.3, 1e-7), (0.2, 1e-7), (0.1, 1e-7))
TIME = np.linspace(0.0, 6.0, 120)
WIDTH = float(TIME[1] - TIME[0])
DEPTH = np.array([0.0096, 0.01, 0.0104, 0.0098, 0.0102])
POSITION = np.array([-1.0, -0.4, 0.0, 0.5, 1.0])
#: level, slope, a bend that a prior of 300 ppm holds, a regressor
DESIGN = np.stack([np.ones(120), TIME / 3 - 1, np.square(TIME / 3 - 1) - 1 / 3, np.sin(2.1 * TIME)], axis=1)
RIDGE = np.array([0.0, 0.0, 3e-4**-2.0, 0.0])
SIGMA = np.tile([2e-4, 3e-4, 2e-4, 4e-4, 3e-4], (120, 1))


def light(depth: float) -> np.ndarray:
    return Model(TIME, WIDTH)(replace(SHAPE, k=radius_ratio(depth)))


def fitted(flux: np.ndarray) -> JointFit:
    band = Band(POSITION, np.tile([[0.2], [0.1]], (1, 5)), 1e-7, 1e-7)
    block = Block(TIME, flux, SIGMA, WIDTH, DESIGN, ridge=RIDGE)
    return fit_joint([block], [band], SHAPE, np.array([3.0]), HELD, fix_t0=True)


def dense() -> np.ndarray:
    """Covariance of the depths by one design matrix of all channels: depth, four coefficients each."""
    n, each = TIME.size, 5
    columns, weight = np.zeros((5 * n, 5 * each)), np.zeros(5 * n)
    for c, depth in enumerate(DEPTH):
        rows = slice(c * n, (c + 1) * n)
        columns[rows, c * each] = (light(depth + 1e-5) - light(depth - 1e-5)) / 2e-5
        columns[rows, c * each + 1 : (c + 1) * each] = DESIGN * light(depth)[:, None]
        weight[rows] = 1.0 / SIGMA[:, c] ** 2
    normal = columns.T @ (weight[:, None] * columns)
    # own, common, and linear in wavelength: three independent parts of the bend's coefficients
    prior = 3e-4**2 * (np.eye(5) + 1.0 + np.outer(POSITION, POSITION))
    bends = np.arange(5) * each + 3
    normal[np.ix_(bends, bends)] += np.linalg.inv(prior)
    depths = np.arange(5) * each
    return np.linalg.inv(normal)[np.ix_(depths, depths)]


def test_a_common_drift_is_in_the_covariance(monkeypatch: pytest.MonkeyPatch) -> None:
    """Noise-free curves: no factor widens anything, and every element is that of dense algebra."""
    # what is left of curves without noise is the interpolation of shapes, as red as can be
    monkeypatch.setattr("v50calib.kernels.depths.red_noise", lambda *_: 1.0)
    fit = fitted(np.stack([light(depth) for depth in DEPTH], axis=1)).bands[0]
    np.testing.assert_allclose(fit.depth, DEPTH, atol=1e-7)
    # to the Taylor steps from the one depth at which the shape of so few channels is evaluated
    np.testing.assert_allclose(covariance(fit.sigma, fit.shared), dense(), rtol=2e-3, atol=1e-13)
    assert dense()[0, 1] > 0.03 * dense()[0, 0]


def test_a_drift_of_all_channels_costs_no_bias_in_their_mean() -> None:
    """A bend of 300 ppm in every channel: the mean depth stays within its error, of which it is a large part."""
    bend = 1.0 + 3e-4 * DESIGN[:, 2]
    fit = fitted(np.stack([light(depth) * bend for depth in DEPTH], axis=1)).bands[0]
    mean, error = weighted_depth(fit.depth, fit.sigma, fit.shared, 1.0 / own_variance(fit.sigma, fit.shared))
    alone = 1.0 / np.sqrt((1.0 / own_variance(fit.sigma, fit.shared)).sum())
    truth = np.average(DEPTH, weights=1.0 / own_variance(fit.sigma, fit.shared))
    assert abs(mean - truth) < 0.6 * error
    assert error > 1.05 * alone


def test_weighted_depth_is_the_quadratic_form() -> None:
    rng = np.random.default_rng(3)
    sigma, shared, weight = np.full(6, 2e-4), 5e-5 * rng.normal(size=(6, 3)), rng.uniform(0.1, 1, 6)
    depth = rng.normal(0.01, 1e-3, 6)
    mean, error = weighted_depth(depth, sigma, shared, weight)
    share = weight / weight.sum()
    assert mean == pytest.approx(share @ depth)
    assert error**2 == pytest.approx(share @ covariance(sigma, shared) @ share)
    assert np.isnan(weighted_depth(np.full(6, np.nan), sigma, shared, weight)).all()


def test_noise_that_channels_share_widens_their_mean() -> None:
    """White light scatters three times more than channels alone would: its error grows with it, a channel's hardly."""
    rng = np.random.default_rng(5)
    common = rng.normal(0.0, 3e-4, (120, 1))
    flux = np.stack([light(depth) for depth in DEPTH], axis=1) + SIGMA * rng.normal(size=SIGMA.shape)
    quiet, loud = fitted(flux).bands[0], fitted(flux + common).bands[0]
    even = np.ones(5)
    errors = [weighted_depth(fit.depth, fit.sigma, fit.shared, even)[1] for fit in (quiet, loud)]
    # the mean of five channels scatters by sqrt(sum sigma²)/5, with the common noise in quadrature
    alone = np.sqrt(np.square(SIGMA[0]).sum()) / 5
    assert errors[1] / errors[0] == pytest.approx(np.hypot(alone, 3e-4) / alone, rel=0.2)
