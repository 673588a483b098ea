"""One planet's depths with their covariance, and what an estimator says of them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from v50calib.errors import DataError
from v50calib.kernels.arrays import Float, Mask
from v50calib.schema import N_CHANNELS


@dataclass(frozen=True)
class Measured:
    """Depths of one planet, (Rp/Rs)², with the covariance diag(own_var) + shared @ shared.T.

    depth    (283,) FGS1 first, AIRS-CH0 by rising wavelength (`schema.CHANNELS`); NaN: not measured
    own_var  (283,) variance of each channel's own noise; NaN, infinite or not above 0: not measured
    shared   (283, k) factor of what channels have in common; rows of channels that were not measured are not read

    >>> planet = Measured(np.full(283, 0.01), np.full(283, 1e-8), np.full((283, 1), 3e-5))
    >>> depth, sigma = planet.white()
    >>> f"{depth:.6f}, sigma {sigma * 1e6:.1f} ppm"
    '0.010000, sigma 30.6 ppm'
    """

    depth: Float
    own_var: Float
    shared: Float

    def __post_init__(self) -> None:
        shapes = (np.shape(self.depth), np.shape(self.own_var), np.shape(self.shared))
        if shapes[:2] != ((N_CHANNELS,), (N_CHANNELS,)) or len(shapes[2]) != 2 or shapes[2][0] != N_CHANNELS:
            raise DataError(
                f"depth, own_var and shared have the shapes {shapes[0]}, {shapes[1]}, {shapes[2]}: "
                f"expected ({N_CHANNELS},), ({N_CHANNELS},), ({N_CHANNELS}, k); k = 0 where channels share nothing"
            )
        for name in ("depth", "own_var", "shared"):
            object.__setattr__(self, name, np.asarray(getattr(self, name), dtype=np.float64))
        wrong = self.known & ~np.isfinite(self.shared).all(axis=1)
        if wrong.any():
            raise DataError(
                f"the shared factor of channel {int(np.argmax(wrong)) + 1} is not finite though its depth is measured "
                f"({int(wrong.sum())} such channels): give finite factors, or NaN as depth"
            )

    @classmethod
    def independent(cls, depth: Float, sigma: Float) -> Measured:
        """Depths whose channels share nothing; depth and sigma (283,).

        >>> int(Measured.independent(np.full(283, 0.01), np.full(283, 1e-4)).known.sum())
        283
        """
        return cls(depth, np.square(sigma), np.zeros((N_CHANNELS, 0)))

    @cached_property
    def known(self) -> Mask:
        """(283,) channels with a depth and a variance."""
        return np.isfinite(self.depth) & np.isfinite(self.own_var) & (self.own_var > 0)

    def covariance(self, channels: slice | Mask | None = None) -> Float:
        """Covariance of the measured channels of a band, (n, n)."""
        keep = self._band(channels)
        factor = self.shared[keep]
        return np.asarray(np.diag(self.own_var[keep]) + factor @ factor.T)

    def white(self, channels: slice | Mask | None = None) -> tuple[float, float]:
        """Depth of a band (None: all channels) by generalized least squares, and its sigma. Raises DataError without a channel.

        >>> planet = Measured.independent(np.r_[0.02, np.full(282, 0.01)], np.full(283, 1e-4))
        >>> round(planet.white(slice(1, 11))[1] * 1e6, 1)
        31.6
        """
        keep = self._band(channels)
        if not keep.any():
            raise DataError("no channel of the band was measured: its depth cannot be told; choose a band with finite depths")
        weight = np.linalg.solve(self.covariance(channels), np.ones(int(keep.sum())))
        return float(weight @ self.depth[keep] / weight.sum()), float(weight.sum() ** -0.5)

    def chi2(self, other: Measured, channels: slice | Mask | None = None) -> tuple[float, int]:
        """chi² of the difference to another, independent measurement, and the number of channels that both have.

        >>> one, two = (Measured.independent(np.full(283, d), np.full(283, 1e-4)) for d in (0.0100, 0.0102))
        >>> chi2, n = one.chi2(two)
        >>> round(chi2 / n, 3), n
        (2.0, 283)
        """
        both = self._band(channels) & other.known
        if not both.any():
            return 0.0, 0
        gap = (self.depth - other.depth)[both]
        return float(gap @ np.linalg.solve(self.covariance(both) + other.covariance(both), gap)), int(both.sum())

    def _band(self, channels: slice | Mask | None) -> Mask:
        chosen = np.zeros(N_CHANNELS, dtype=bool)
        chosen[slice(None) if channels is None else channels] = True
        return chosen & self.known


@dataclass(frozen=True)
class Posterior:
    """Spectrum after a prior: mean (283,), cov (283, 283), log of the evidence of the depths, and a note where there is one.

    A mixture's moments: mean and covariance are exact, the law itself need not be Gaussian.

    >>> Posterior(np.full(283, 0.01), np.eye(283) * 1e-8, 0.0).sigma[:2]
    array([0.0001, 0.0001])
    """

    mean: Float
    cov: Float
    log_evidence: float
    note: str = ""

    @property
    def sigma(self) -> Float:
        """(283,) standard deviation of each channel."""
        return np.asarray(np.sqrt(np.diag(self.cov)))

    def band(self, weights: Float) -> tuple[float, float]:
        """Mean and sigma of a weighted sum of channels, weights (283,).

        >>> mean, sigma = Posterior(np.full(283, 0.01), np.ones((283, 283)) * 1e-8, 0.0).band(np.full(283, 1 / 283))
        >>> f"{mean:.4f} ± {sigma:.4f}"
        '0.0100 ± 0.0001'
        """
        return float(weights @ self.mean), float(np.sqrt(weights @ self.cov @ weights))

    def draws(self, n: int, rng: np.random.Generator) -> Float:
        """n spectra of the Gaussian with this mean and covariance, (n, 283).

        >>> Posterior(np.full(283, 0.01), np.eye(283) * 1e-8, 0.0).draws(2, np.random.default_rng(1)).shape
        (2, 283)
        """
        values, vectors = np.linalg.eigh(self.cov)
        root = vectors * np.sqrt(np.maximum(values, 0.0))
        return np.asarray(self.mean + rng.standard_normal((n, len(self.mean))) @ root.T)


def nothing_measured(known: Mask) -> str:
    """The note of a planet's posterior where no channel, or not all instruments, were measured."""
    if not known.any():
        return "no channel was measured: this is the prior, no measurement"
    if not known[0]:
        return "FGS1 was not measured: its depth is inferred from AIRS-CH0 and the prior"
    if not known[1:].any():
        return "AIRS-CH0 was not measured: its depths are inferred from FGS1 and the prior"
    return ""
