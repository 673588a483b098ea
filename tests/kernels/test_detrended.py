"""Detrended curves against curves that were made with a known baseline: no bias, and errors of the right size."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from v50calib.kernels.blocks import Band, Block
from v50calib.kernels.detrended import detrended
from v50calib.kernels.transit import Model, Shape

SHAPE = Shape(t0=3.4, period=84.0, a=11.0, b=0.2, k=0.1, u1=0.3, u2=0.15)
CHANNELS, BINS, SIGMA = 600, 160, 8e-4


def made(*, additive: bool = False, ridge: float = 0.0, common: float = 0.0, seed: int = 4) -> tuple[Block, Band, np.ndarray, np.ndarray]:
    """Channels with one transit, each a baseline of its own (and a drift that all share) and its own noise; and the true curve."""
    rng = np.random.default_rng(seed)
    time = np.linspace(0.0, 7.5, BINS)
    width = float(time[1] - time[0])
    x = 2.0 * time / 7.5 - 1.0
    design = np.stack([np.ones(BINS), x, x**2, rng.normal(size=BINS)], axis=1)
    transit = Model(time, width)(SHAPE)[:, None]
    own = rng.normal(size=(4, CHANNELS)) * np.array([1e-3, 1e-3, 5e-4, 1e-3])[:, None]
    own[2] += common
    noise = SIGMA * rng.normal(size=(BINS, CHANNELS))
    flux = transit * (1.0 + design[:, :1] @ own[:1]) + design[:, 1:] @ own[1:] if additive else transit * (1.0 + design @ own)
    prior = np.array([0.0, 0.0, 1.0 / 5e-4**2, 0.0]) if ridge else None
    block = Block(time, flux + noise, np.full(flux.shape, SIGMA), width, design, additive=additive, ridge=prior)
    band = Band(np.linspace(-1, 1, CHANNELS), np.tile([[SHAPE.u1], [SHAPE.u2]], CHANNELS), 0.1, 0.1)
    return block, band, np.repeat(transit, CHANNELS, axis=1), time


@pytest.mark.parametrize("case", [{}, {"additive": True}, {"ridge": 1.0}, {"ridge": 1.0, "common": 3e-3}])
def test_the_transit_stays_and_errors_are_of_the_right_size(case: dict[str, float]) -> None:
    block, band, truth, time = made(**case)  # type: ignore[arg-type]
    found = detrended(block, band, SHAPE, np.zeros(3), np.full(CHANNELS, 0.0102))
    off = found.flux - truth
    inside, outside = np.abs(time - SHAPE.t0) < 0.8, np.abs(time - SHAPE.t0) > 1.6
    sigma = np.sqrt(found.noise_var[inside].sum(axis=0) / inside.sum() ** 2 + np.sqrt(found.baseline_var[inside]).mean(axis=0) ** 2)
    pull = off[inside].mean(axis=0) / sigma
    assert abs(pull.mean()) < 4 / np.sqrt(CHANNELS)
    assert 0.92 < np.sqrt(np.square(pull).mean()) < 1.08
    # without the baseline's part the errors would be too small
    plain = off[inside].mean(axis=0) / np.sqrt(found.noise_var[inside].sum(axis=0) / inside.sum() ** 2)
    assert np.sqrt(np.square(plain).mean()) > 1.15
    each = off / np.sqrt(found.noise_var + found.baseline_var)
    assert 0.95 < np.sqrt(np.square(each[inside]).mean()) < 1.05
    assert 0.95 < np.sqrt(np.square(each[outside]).mean()) < 1.02


def test_a_channel_without_samples_has_no_curve() -> None:
    block, band, _, _ = made()
    sigma, flux = block.sigma.copy(), block.flux.copy()
    sigma[:, 3] = np.inf
    sigma[10, 5], flux[10, 5] = np.inf, 1.0
    found = detrended(replace(block, sigma=sigma, flux=flux), band, SHAPE, np.zeros(3), np.full(CHANNELS, 0.01))
    for values in (found.flux, found.noise_var, found.baseline_var):
        assert np.isnan(values[:, 3]).all()
        assert np.isnan(values[10, 5])
        assert np.isfinite(values).sum() == BINS * (CHANNELS - 1) - 1
