"""Covariates of a prediction's error that need no truth: one value per planet and bin."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter1d

from v50calib.kernels.arrays import Float
from v50calib.schema import CHANNELS

#: smaller depths are set to this before the logarithm is taken
SMALLEST_DEPTH = 1e-7


@dataclass(frozen=True)
class Standardizer:
    """centre (bins, C), scale (C,): of the planets that a fit was made on; a covariate that does not vary has scale inf.

    >>> Standardizer(np.array([[10.0]]), np.array([2.0]))(np.array([[[14.0]], [[99.0]]])).ravel()
    array([2., 6.])
    """

    centre: Float
    scale: Float

    def __call__(self, values: Float) -> Float:
        """(values - centre)/scale, clipped at ±6, so that nothing is extrapolated to a planet unlike all others."""
        return np.clip((values - self.centre) / self.scale, -6.0, 6.0)


def standardizer(values: Float) -> Standardizer:
    """Centre per bin and scale per covariate of values (planet, bin, C).

    >>> values = np.array([[[1.0]], [[3.0]]])
    >>> standardizer(values)(values).ravel()
    array([-1.,  1.])
    """
    centre = values.mean(axis=0)
    scale = np.sqrt(np.square(values - centre).mean(axis=(0, 1)))
    return Standardizer(centre, np.where(scale > 1e-9, scale, np.inf))


def covariates(mu: Float, sigma: Float, features: Float | None = None, *, smooth_bins: int = 1) -> Float:
    """Covariates (planet, bin, C) of predictions mu, sigma (planet, bin) and features (planet, bin, F).

    Of the planet: mean log sigma, log mean depth, log contrast (spread of mu over bins), log roughness (second differences of
    mu, the FGS1 bin left out); of the bin: log sigma relative to the planet's mean. Each feature, its logarithm where all are
    positive: the planet's mean and the bin's deviation; with smooth_bins > 1 also the deviation's running mean over bins.

    >>> mu, sigma = np.full((1, 3), 0.01), np.array([[1e-5, 1e-5, 1e-4]])
    >>> covariates(mu, sigma)[0, :, 4].round(3)  # log sigma about the planet's mean
    array([-0.768, -0.768,  1.535])
    """
    log_sigma = np.log(sigma)
    airs = mu[:, CHANNELS["FGS1"].stop :] if mu.shape[1] > 4 else mu
    rough = np.diff(airs, n=2, axis=1)
    per_planet = [
        log_sigma.mean(axis=1),
        np.log(np.maximum(mu.mean(axis=1), SMALLEST_DEPTH)),
        np.log(np.maximum(airs.std(axis=1), SMALLEST_DEPTH)),
        np.log(np.maximum(np.sqrt(np.mean(rough**2, axis=1)), SMALLEST_DEPTH)),
    ]
    columns = [np.broadcast_to(v[:, None], mu.shape) for v in per_planet]
    columns.append(log_sigma - log_sigma.mean(axis=1, keepdims=True))
    for f in range(features.shape[2] if features is not None else 0):
        assert features is not None
        columns.extend(_of_feature(features[:, :, f], smooth_bins))
    return np.stack(columns, axis=2)


def _of_feature(values: Float, smooth_bins: int) -> list[Float]:
    level = values.mean(axis=1, keepdims=True)
    own = values - level
    out = [np.broadcast_to(level, values.shape), own]
    if smooth_bins > 1:
        out.append(uniform_filter1d(own, smooth_bins, axis=1, mode="nearest"))
    return out


def prepared_features(features: Float | None) -> tuple[Float | None, NDArray[np.bool_]]:
    """Features with the logarithm taken of those that are positive everywhere, and which ones these are, (F,).

    >>> features, positive = prepared_features(np.array([[[1.0, -1.0], [np.e, 5.0]]]))
    >>> features[0].tolist(), positive
    ([[0.0, -1.0], [1.0, 5.0]], array([ True, False]))
    """
    if features is None:
        return None, np.zeros(0, dtype=bool)
    positive: NDArray[np.bool_] = np.all(features > 0, axis=(0, 1))
    return logged(features, positive), positive


def logged(features: Float, positive: NDArray[np.bool_]) -> Float:
    """Features with the logarithm taken of the chosen ones; a value that is not positive there is set to the smallest positive one.

    >>> logged(np.array([[[1.0], [np.e], [0.0]]]), np.array([True])).ravel()
    array([0., 1., 0.])
    """
    out = np.array(features, dtype=np.float64)
    for f in np.flatnonzero(positive):
        values = out[:, :, f]
        out[:, :, f] = np.log(np.maximum(values, values[values > 0].min(initial=np.inf) if (values > 0).any() else 1.0))
    return out
