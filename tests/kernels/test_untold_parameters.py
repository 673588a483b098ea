"""Light that says nothing of a mid-time of the joint fit: it stays, and depths are those of a fit with half a transit for its error."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import least_squares

from v50calib.kernels.blocks import Band, Block
from v50calib.kernels.depths import fit_joint
from v50calib.kernels.transit import Model, Prior, Shape

PRIOR = Prior((9.0, 0.45), (0.3, 0.3), (0.2, 0.15), (0.15, 0.15))
TRUE = Shape(3.7, 80.0, 9.0, 0.3, 0.1, 0.2, 0.15)
CHANNELS = 12
BAND = Band(np.linspace(-1, 1, CHANNELS), np.stack([np.full(CHANNELS, 0.2), np.full(CHANNELS, 0.15)]), 0.15, 0.15)
WIDTH, SIGMA = 0.35, 1e-4


def dense(time: np.ndarray, flux: np.ndarray, t0: float) -> tuple[np.ndarray, np.ndarray]:
    """Depths and their errors of one least-squares problem in all parameters: mid-time, a, b, u1, its slope, u2, and of each channel a
    depth and a level; priors are further residuals, of the mid-time half a transit. Nothing is eliminated, the Jacobian is SciPy's."""
    half = 0.5 * TRUE.duration

    def left(theta: np.ndarray) -> np.ndarray:
        at, a, b, u1, slope, u2 = theta[:6]
        rows = []
        for c in range(CHANNELS):
            depth, level = theta[6 + 2 * c : 8 + 2 * c]
            shape = replace(
                TRUE, t0=at, a=a, b=b, u1=0.2 + u1 + slope * BAND.position[c], u2=0.15 + u2, k=np.sign(depth) * abs(depth) ** 0.5
            )
            rows.append((flux[:, c] - level * Model(time, WIDTH)(shape)) / SIGMA)
        priors = [(at - t0) / half, (a - 9.0) / 0.45, (b - 0.3) / 0.3, u1 / 0.15, slope / 0.15, u2 / 0.15]
        return np.concatenate([*rows, priors])

    start = np.r_[t0, 9.0, 0.3, 0.0, 0.0, 0.0, np.tile([0.01, 1.0], CHANNELS)]
    found = least_squares(left, start, jac="3-point", x_scale="jac", xtol=1e-12, ftol=1e-12, gtol=1e-12)
    covariance = np.linalg.inv(found.jac.T @ found.jac)
    return found.x[6::2], np.sqrt(np.diag(covariance)[6::2])


@pytest.mark.parametrize(("seed", "noise"), [(0, 0.0), (0, SIGMA), (1, SIGMA), (2, SIGMA)])
def test_one_bin_in_transit_tells_a_depth_and_no_mid_time(seed: int, noise: float) -> None:
    """Of the transit one bin in its ingress is left, in every channel: a later transit that is deeper makes the same light."""
    first = TRUE.t0 - 0.5 * TRUE.duration
    time = np.concatenate([first - WIDTH * np.arange(8, 0, -1), [first + 0.1], TRUE.t0 + TRUE.duration + WIDTH * np.arange(4)])
    light = np.stack([Model(time, WIDTH)(TRUE)] * CHANNELS, axis=1)
    assert (light[:, 0] < 1.0 - 1e-9).sum() == 1
    flux = light + noise * np.random.default_rng(seed).normal(size=light.shape)
    block = Block(time, flux, np.full(flux.shape, SIGMA), WIDTH, np.ones((time.size, 1)))

    start = replace(TRUE, k=0.105)
    fit = fit_joint([block], [BAND], start, np.array([3.7]), PRIOR)

    assert fit.t0[0] == 3.7
    assert fit.t0_sigma[0] / fit.bands[0].red == pytest.approx(0.5 * start.duration)
    assert fit.untimed == (0,)
    assert np.isfinite([fit.a_sigma, fit.b_sigma, fit.chi2]).all()
    found = fit.bands[0]
    assert found.converged
    assert not found.timed
    depth, sigma = dense(time, flux, 3.7)
    np.testing.assert_allclose(found.depth, depth, atol=0.02 * sigma.min())
    if not noise:
        # residuals of noise widen errors, which the reference does not know
        np.testing.assert_allclose(found.sigma, sigma, rtol=0.02)
