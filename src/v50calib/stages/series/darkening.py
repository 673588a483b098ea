"""Limb darkening that the transit fits start from: coefficients of each channel and how far the star may be off them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from v50calib.kernels.arrays import Float
from v50calib.kernels.limb import quadratic_limb_darkening

#: effective temperature [K] where the dataset has no star parameters
STAR_TEMPERATURE = 5500.0
#: the law is one of FGK dwarfs: what a star may be off it, absolute and in units of u1
LAW_WIDTH, LAW_WIDTH_SHARE = 0.08, 0.4


@dataclass(frozen=True)
class Darkening:
    """Quadratic limb darkening of each channel, (channel,): u1, u2 and the standard deviation of the prior on both."""

    u1: Float
    u2: Float
    width: Float

    def mean(self, light: Float) -> tuple[float, float, float]:
        """u1, u2 and width of the sum of channels whose light (channel,) is given; channels without any take no part.

        >>> darkening = Darkening(np.array([0.4, 0.2]), np.array([0.2, 0.1]), np.array([0.1, 0.1]))
        >>> [round(float(v), 9) for v in darkening.mean(np.array([3.0, 1.0]))]
        [0.35, 0.175, 0.1]
        """
        weight = np.where(np.isfinite(light) & (light > 0), light, 0.0)
        weight = weight / weight.sum() if weight.sum() > 0 else np.full(weight.shape, 1.0 / weight.size)
        u1, u2, width = (float(weight @ v) for v in (self.u1, self.u2, self.width))
        return u1, u2, width


def law(wavelength_um: Float, star: dict[str, float]) -> Darkening:
    """The law of `kernels.limb` at each wavelength, with a width that covers what tables and other stars are off it.

    >>> law(np.array([0.7, 3.0]), {"Ts": 5500.0}).width.round(3)
    array([0.26, 0.12])
    """
    u1, u2 = quadratic_limb_darkening(wavelength_um, star.get("Ts", STAR_TEMPERATURE))
    return Darkening(u1, u2, LAW_WIDTH + LAW_WIDTH_SHARE * u1)
