"""White light and its noise."""

from __future__ import annotations

import warnings

import numpy as np

from v50calib.kernels.white_noise import white_over_model


def test_white_light_is_the_sum_over_the_sum_of_the_models() -> None:
    rng = np.random.default_rng(0)
    model, noise = rng.uniform(1e3, 1e4, 5), 1.0 + 0.01 * rng.normal(size=(40, 5))
    flux = model * noise
    noise[3, 1] = np.nan
    white, var = white_over_model(flux, noise, flux)
    others = [0, 2, 3, 4]
    np.testing.assert_allclose(white, flux[:, others].sum(axis=1) / model[others].sum(), rtol=1e-12)
    np.testing.assert_allclose(var, flux[:, others].sum(axis=1) / model[others].sum() ** 2, rtol=1e-12)


def test_no_channel_is_whole() -> None:
    """FGS1 has one channel, and a baseline that runs through 0 takes samples of it: nothing is said of its noise, and no warning."""
    flux = np.ones((6, 1))
    normalized = flux.copy()
    normalized[2] = np.nan
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        white, var = white_over_model(flux, normalized, flux)
    assert np.isnan(white).all()
    assert np.isnan(var).all()
    assert white.shape == var.shape == (6,)
