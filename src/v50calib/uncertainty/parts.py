"""A spectrum's error in three parts that do not mix: FGS1, the level of AIRS-CH0, and its shape about the level.

The score weighs FGS1 like sixty channels and a common offset moves all of them, so each part needs a sigma that is right by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from v50calib.kernels.arrays import Float, Real
from v50calib.schema import CHANNELS

_FGS1, _AIRS = CHANNELS["FGS1"], CHANNELS["AIRS-CH0"]
NAMES = ("FGS1", "AIRS level", "AIRS shape")


@dataclass(frozen=True)
class Parts:
    """Errors in units of their sigma: fgs1 and level (planet,), shape (planet, 282) of each channel less the level."""

    fgs1: Float
    level: Float
    shape: Float

    @property
    def rms(self) -> dict[str, float]:
        """Rms of each part, 1 where its sigma is right."""
        return {name: float(np.sqrt(np.nanmean(np.square(z)))) for name, z in zip(NAMES, (self.fgs1, self.level, self.shape), strict=True)}


def parts(y: Float, mean: Real, cov: Real | Sequence[Real]) -> Parts:
    """Errors of spectra mean (planet, 283) with covariances cov (planet, 283, 283) on the truth y, part by part.

    The level is the mean of the channels; the covariance of a part follows from cov. NaN depths: their planet has no level and no shape.

    >>> y, rng = np.zeros((400, 283)), np.random.default_rng(1)
    >>> common, own = rng.normal(size=(400, 1)), rng.normal(size=(400, 283))
    >>> cov = np.broadcast_to(np.eye(283) + 1.0, (400, 283, 283))
    >>> {name: abs(value - 1) < 0.15 for name, value in parts(y, common + own, cov).rms.items()}
    {'FGS1': True, 'AIRS level': True, 'AIRS shape': True}
    """
    fgs1, level, shape = np.empty(len(y)), np.empty(len(y)), np.empty((len(y), _AIRS.stop - _AIRS.start))
    for i, (truth, found, whole) in enumerate(zip(y, mean, cov, strict=True)):
        whole = np.asarray(whole, np.float64)
        error, airs = np.asarray(found, np.float64) - truth, whole[_AIRS, _AIRS]
        fgs1[i] = error[_FGS1][0] / np.sqrt(whole[_FGS1, _FGS1][0, 0])
        off = error[_AIRS].mean()
        level[i] = off / np.sqrt(airs.mean())
        variance = np.diag(airs) - 2.0 * airs.mean(axis=1) + airs.mean()
        shape[i] = (error[_AIRS] - off) / np.sqrt(np.maximum(variance, 1e-300))
    return Parts(fgs1, level, shape)
