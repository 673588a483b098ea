"""Durations against the definition on batman's own curve; fits against injected transits; errors against Monte Carlo."""

from __future__ import annotations

import math

import numpy as np
import pytest

from v50calib.kernels.depths import fit_depths
from v50calib.kernels.transit import Model, Prior, Shape, search_box, transit_duration
from v50calib.kernels.white_fit import fit_white

RNG = np.random.default_rng(8)
SHAPE = Shape(t0=3.6, period=96.0, a=9.0, b=0.3, k=0.12, u1=0.15, u2=0.2)
PRIOR = Prior(a=(9.2, 0.45), b=(0.25, 0.3), u1=(0.12, 0.05), u2=(0.22, 0.05))
TIME = np.linspace(0.01, 7.49, 400)
WIDTH = float(np.diff(TIME)[0])


def test_duration_is_where_the_model_leaves_one() -> None:
    fine = np.linspace(1, 6, 50001)
    inside = fine[Model(fine, 0.0)(SHAPE) < 1 - 1e-9]
    assert inside[-1] - inside[0] == pytest.approx(SHAPE.duration, abs=6e-3)
    assert transit_duration(96.0, 9.0, 1.5, 0.12) == 0.0


def test_box_search_finds_transit_on_a_slope() -> None:
    flux = 1e6 * Model(TIME, WIDTH)(SHAPE) * (1 + 0.002 * (TIME - 3)) + 300 * RNG.standard_normal(400)
    design = np.column_stack([np.ones(400), TIME / 7.5])
    box = search_box(TIME, flux, np.full(400, 300.0), SHAPE.duration * np.array([0.8, 0.9, 1.0]), design)
    assert box.t0 == pytest.approx(SHAPE.t0, abs=0.1)
    assert box.depth == pytest.approx(0.0155, rel=0.1)
    assert box.snr > 100


def test_box_search_on_noise_finds_nothing_significant() -> None:
    flux = 1e6 + 300 * RNG.standard_normal(400)
    assert search_box(TIME, flux, np.full(400, 300.0), np.array([2.0, 3.0]), np.ones((400, 1))).snr < 6


def test_white_fit_is_unbiased_and_its_errors_are_honest() -> None:
    """Priors are drawn with the truth: pulls are standard normal. 40 fits: sd of the mean .16, of the std .11."""
    pulls = []
    for _ in range(40):
        truth = Shape(
            t0=3.6 + 0.1 * RNG.standard_normal(), period=96.0,
            a=9.2 + 0.45 * RNG.standard_normal(), b=abs(0.25 + 0.1 * RNG.standard_normal()),
            k=0.12, u1=0.12 + 0.05 * RNG.standard_normal(), u2=0.22 + 0.05 * RNG.standard_normal(),
        )  # fmt: skip
        flux = 1e6 * Model(TIME, WIDTH)(truth) * (1 + 1e-3 * (TIME - 3)) + 100 * RNG.standard_normal(400)
        design = np.column_stack([np.ones(400), TIME / 7.5])
        fit = fit_white(TIME, flux, np.full(400, 100.0), WIDTH, design, SHAPE, PRIOR)
        pulls.append([(fit.depth - truth.k**2) / fit.depth_sigma, (fit.shape.t0 - truth.t0) / fit.t0_sigma])
    pulls = np.array(pulls)
    assert np.all(np.abs(pulls.mean(axis=0)) < 0.55)
    assert np.all((pulls.std(axis=0) > 0.65) & (pulls.std(axis=0) < 1.4))


def test_depths_of_many_channels_have_standard_normal_pulls() -> None:
    channels = 120
    position = np.linspace(-1, 1, channels)
    truth = 0.0144 + 2e-4 * np.sin(3 * position)
    u1, u2 = 0.12 - 0.05 * position, np.full(channels, 0.22)
    sigma = np.linspace(0.8e-3, 3e-4, channels)
    clean = np.stack(
        [Model(TIME, WIDTH)(Shape(3.6, 96.0, 9.0, 0.3, math.sqrt(d), a + 0.03, b)) for d, a, b in zip(truth, u1, u2, strict=True)], 1
    )
    flux = clean * (1 + 2e-4 * (TIME - 3.7))[:, None] + sigma * RNG.standard_normal((400, channels))
    design = np.column_stack([np.ones(400), (TIME - 3.75) / 3.75])
    found = fit_depths(TIME, flux, np.broadcast_to(sigma, flux.shape), WIDTH, design, SHAPE, PRIOR, position, np.stack([u1, u2]))
    pull = (found.depth - truth) / found.sigma
    # independent noise: sd of the mean .09, of the standard deviation .065; the shape's common error adds to the mean
    assert abs(pull.mean()) < 0.45
    assert pull.std() == pytest.approx(1.0, abs=0.2)
    assert np.all(found.sigma >= found.sigma_photon)
    assert found.chi2.mean() == pytest.approx(1.0, abs=0.03)
