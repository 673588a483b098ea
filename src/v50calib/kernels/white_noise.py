"""The scatter of a white light curve and what the noise model leaves of it: one definition for products, guards and reports."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from v50calib.kernels.arrays import Float, Mask, Real
from v50calib.kernels.lightcurves import sums
from v50calib.kernels.series import point_to_point_sigma

#: fewer pairs out of transit than this have no scatter worth the name: all pairs are taken
FEWEST_OUTSIDE = 10


def white_over_model(flux: Real, normalized: Real, var: Real) -> tuple[Float, Float]:
    """White light over the white out-of-transit model, (pair,), and its variance; a channel with any NaN takes no part: NaN if all have.

    flux, var (pair, channel) e- and e-² of a single pair; normalized (pair, channel): flux over its model.

    >>> flux = np.array([[100.0, 300.0], [99.0, 297.0]])
    >>> white_over_model(flux, flux / flux[0], flux)[0]  # 396 of 400 electrons
    array([1.  , 0.99])
    """
    light, by_channel = sums(flux)
    whole = np.isfinite(sums(normalized)[1]) & np.isfinite(by_channel)
    if not whole.any():
        return np.full(len(light), np.nan), np.full(len(light), np.nan)
    if not whole.all():
        flux, normalized, var = flux[:, whole], normalized[:, whole], var[:, whole]
        light = sums(flux)[0]
    total = sums(flux / normalized)[0]
    return light / total, sums(var)[0] / total**2


class WhiteNoise(NamedTuple):
    """Relative scatter of white light out of transit, its limit by the noise model, and the scatter from pair to pair."""

    scatter: float
    limit: float
    point_to_point: float

    @property
    def over_limit(self) -> float:
        """Scatter over limit, `noise_over_limit` wherever that is written."""
        return self.scatter / self.limit


def white_noise(white: Float, var: Float, outside: Mask) -> WhiteNoise:
    """Noise of a white light curve: white, var (pair,) as of `white_over_model`, outside (pair,) the pairs out of transit.

    scatter is the standard deviation over these pairs, limit the root of their mean predicted variance.

    >>> noise = white_noise(np.tile([0.999, 1.001], 50), np.full(100, 4e-6), np.ones(100, bool))
    >>> round(noise.scatter, 9), round(noise.limit, 9), round(noise.over_limit, 9)
    (0.001, 0.002, 0.5)
    """
    if outside.sum() < FEWEST_OUTSIDE:
        outside = np.ones_like(outside)
    between = float(point_to_point_sigma(white[outside][:, None])[0])
    return WhiteNoise(float(np.std(white[outside])), float(np.sqrt(var[outside].mean())), between)
