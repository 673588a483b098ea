"""A shift read from noisy light curves, as a term of the fit of their depths."""

from __future__ import annotations

import numpy as np

from v50calib.kernels.blocks import Band, Block
from v50calib.kernels.depths import fit_joint
from v50calib.kernels.lightcurves import Shift, spectral_shift
from v50calib.kernels.transit import Model, Prior, Shape

CHANNELS, SAMPLES, DRAWS = 60, 240, 40


def spectrum() -> np.ndarray:
    column = np.arange(CHANNELS)
    edges = 1.0 / (1.0 + np.exp(-(column - 8.0) / 2.0)) / (1.0 + np.exp((column - 52.0) / 2.0))
    return np.asarray(3e4 * np.exp(-(((column - 18.0) / 20.0) ** 2)) * edges + 300.0)


def depths_of(seed: int, *, mended: bool) -> tuple[np.ndarray, np.ndarray]:
    """Depth errors of one noise draw, and their shared part: the star moves to and fro, and the baseline has a slope only."""
    rng, mean = np.random.default_rng(seed), spectrum()
    time = np.linspace(0.0, 6.0, SAMPLES)
    shape = Shape(t0=3.0, period=96.0, a=12.0, b=0.2, k=0.1, u1=0.3, u2=0.1)
    transit = Model(time, time[1])(shape)
    moved = 0.02 * np.cos(2 * np.pi * time / 6.0)
    light = mean * (1.0 - np.outer(moved, np.gradient(mean) / mean)) * transit[:, None]
    frames = rng.normal(light, np.sqrt(mean))
    found: Shift = spectral_shift(frames)
    noise = found.noise_along(np.sqrt(mean) / mean.sum())
    level = np.median(frames, axis=0)
    design = np.stack([np.ones(SAMPLES), time / 3.0 - 1.0, found.shift - np.median(found.shift)], axis=1)
    block = Block(
        time, frames / level, np.tile(np.sqrt(mean) / level, (SAMPLES, 1)), time[1], design,
        shift_noise=noise[0], shift_bias=noise[1] if mended else None, shift_term=2,
    )  # fmt: skip
    darkening = np.array([[0.3], [0.1]]) * np.ones(CHANNELS)
    prior = Prior(a=(12.0, 1e-6), b=(0.2, 1e-6), u1=(0.3, 1e-6), u2=(0.1, 1e-6))
    band = Band(np.linspace(-1.0, 1.0, CHANNELS), darkening, 1e-6, 1e-6)
    depths = fit_joint([block], [band], shape, np.array([3.0]), prior, fix_t0=True).bands[0]
    return depths.depth - 0.01, np.abs(depths.shared).max(axis=1)


def test_a_noisy_regressor_leaves_no_bias() -> None:
    """Oracle: the mean error of many draws, which the truth makes; and that plain least squares has one."""
    plain = np.mean([depths_of(seed, mended=False)[0] for seed in range(DRAWS)], axis=0)
    mended = np.mean([depths_of(seed, mended=True)[0] for seed in range(DRAWS)], axis=0)
    pattern = np.gradient(spectrum()) / spectrum()
    pattern = pattern - pattern.mean()
    weight = spectrum()
    along_plain, along_mended = ((weight * pattern) @ e / ((weight * pattern) @ pattern) for e in (plain, mended))
    assert abs(along_plain) > 5e-4
    assert abs(along_mended) < 0.1 * abs(along_plain)
