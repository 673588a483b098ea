"""A population with a known law, and planets measured with a known noise."""

from __future__ import annotations

import numpy as np
import pytest

from v50calib.estimators import GaussianProcess, Measured, Options, Population, Priors
from v50calib.kernels.arrays import Float

WAVELENGTH = np.r_[0.7, np.linspace(1.95, 3.9, 282)]


def drawn(n: int, seed: int) -> Float:
    """n spectra (n, 283): six smooth bands of random strength, amplitudes over two decades, FGS1 off by its own amount."""
    rng = np.random.default_rng(seed)
    centres = np.linspace(2.0, 3.8, 6)
    bands = np.exp(-0.5 * ((WAVELENGTH[:, None] - centres) / 0.15) ** 2)
    amplitude = 60e-6 * rng.lognormal(0.0, 1.2, size=(n, 1))
    shape = rng.normal(size=(n, 6)) @ bands.T
    shape[:, 0] = 2.2 * rng.normal(size=n)
    return np.asarray(rng.uniform(0.006, 0.02, size=(n, 1)) + amplitude * shape)


def observed(truth: Float, rng: np.random.Generator, white: float = 100e-6, common: float = 30e-6) -> Measured:
    depth = truth + white * rng.normal(size=283) + common * rng.normal()
    return Measured(depth, np.full(283, white**2), np.full((283, 1), common))


@pytest.fixture(scope="session")
def truths() -> Float:
    return drawn(60, 1)


@pytest.fixture(scope="session")
def population(truths: Float) -> Population:
    return Population.fit(truths, WAVELENGTH, Options(components=12, amplitudes=8))


@pytest.fixture(scope="session")
def process() -> GaussianProcess:
    return GaussianProcess(WAVELENGTH)


@pytest.fixture(scope="session")
def small_priors() -> Priors:
    """Few enough members for dense algebra."""
    return Priors(amplitudes=(2e-5, 1e-4, 5e-4), lengths=(0.3, 0.9), fgs_scales=(1.0, 4.0), fgs_weights=(0.5, 0.5))
