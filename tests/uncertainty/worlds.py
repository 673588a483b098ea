"""Synthetic worlds: planets whose truth, prediction and true error are all known, so an oracle exists.

gaussian  sigma is off by a factor per bin, errors are Gaussian
planet    sigma is off by a factor per bin and a factor per planet that depends on what is seen of it; bias per bin; heavy tails
features  sigma is one number a planet; the noise varies smoothly over channels from planet to planet, and a noisy measurement of it
          (the out-of-transit scatter) is given per channel
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

Float = NDArray[np.float64]
World = Literal["gaussian", "planet", "features"]
N_BINS = 283
#: typical true error of a bin
TYPICAL = 7.5e-5


@dataclass(frozen=True)
class Sample:
    """n planets: truth y, predictions mu and sigma (n, bins), features (n, bins, 1) or None; the law of y given mu:
    centre and scale of it, (n, bins), and difficulty (n,) by which groups are made."""

    y: Float
    mu: Float
    sigma: Float
    features: Float | None
    centre: Float
    scale: Float
    difficulty: Float

    def take(self, rows: NDArray[np.int64] | slice) -> Sample:
        features = None if self.features is None else self.features[rows]
        return Sample(
            self.y[rows], self.mu[rows], self.sigma[rows], features, self.centre[rows], self.scale[rows], self.difficulty[rows]
        )  # fmt: skip


def make(world: World, n: int, seed: int, *, bins: int = N_BINS) -> Sample:
    """n exchangeable planets of a world; one seed is one world: its bins' factors are shared by all planets."""
    rng = np.random.default_rng([seed, {"gaussian": 1, "planet": 2, "features": 3}[world]])
    level = np.exp(rng.normal(-4.4, 0.5, size=n))
    shape = gaussian_filter1d(rng.normal(size=(n, bins)), 12.0, axis=1)
    contrast = np.exp(rng.normal(-9.5, 0.6, size=n))
    mu = np.maximum(level[:, None] + contrast[:, None] * shape / shape.std(), 1e-4)
    per_planet = np.exp(rng.normal(0.0, 0.25, size=n))
    per_bin = np.exp(gaussian_filter1d(rng.normal(size=bins), 5.0) * 0.8 + rng.normal(0.0, 0.1, size=bins))
    true = TYPICAL * per_planet[:, None] * per_bin
    errors = correlated(rng, n, bins)
    bias, features, difficulty = np.zeros(bins), None, per_planet
    if world == "gaussian":
        off = 0.45 * np.exp(rng.normal(0.0, 0.33, size=bins))
        sigma = true * off
    elif world == "planet":
        off = 0.45 * np.exp(rng.normal(0.0, 0.33, size=bins))
        seen = (np.log(level) + 4.4) / 0.5
        hidden = rng.normal(size=n)
        factor = np.exp(0.35 * seen + 0.1 * hidden)
        errors = errors * heavy(rng, n)
        bias = 0.35 * rng.normal(size=bins)
        sigma, true, difficulty = true * off, true * factor[:, None], factor
    else:
        local = gaussian_filter1d(rng.normal(size=(n, bins)), 6.0, axis=1)
        true = true * np.exp(0.35 * local / local.std())
        sigma = np.broadcast_to(0.5 * TYPICAL * per_planet[:, None], true.shape).copy()
        features = (true * np.exp(rng.normal(0.0, 0.45, size=true.shape)))[:, :, None]
    centre = mu + bias * true
    return Sample(centre + true * errors, mu, sigma, features, centre, true, difficulty)


def correlated(rng: np.random.Generator, n: int, bins: int) -> Float:
    """Standard normal errors (n, bins): 30 % of the variance common to neighbours, 20 % to the planet."""
    smooth = gaussian_filter1d(rng.normal(size=(n, bins)), 4.0, axis=1)
    parts = (np.sqrt(0.5) * rng.normal(size=(n, bins)), np.sqrt(0.3) * smooth / smooth.std(), np.sqrt(0.2) * rng.normal(size=(n, 1)))
    return np.asarray(sum(parts))


def heavy(rng: np.random.Generator, n: int) -> Float:
    """Factors (n, 1) that make Gaussian errors Student-t with 6 degrees of freedom, unit variance."""
    return np.asarray(np.sqrt(4.0 / rng.chisquare(6.0, size=(n, 1))))
