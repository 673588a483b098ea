"""Algebra that the estimators share: the noise's inverse by Woodbury, moments of mixtures, the Matérn kernel."""

from __future__ import annotations

import numpy as np
from scipy.linalg import cho_factor, cho_solve

from v50calib.estimators.measured import Measured
from v50calib.kernels.arrays import Float


class Noise:
    """Inverse of a planet's noise covariance over its measured channels; others have no weight.

    >>> noise = Noise(Measured.independent(np.full(283, 0.01), np.full(283, 2.0)))
    >>> noise.solve(np.ones((283, 1)))[0], round(noise.log_det / 283, 4)
    (array([0.25]), 1.3863)
    """

    def __init__(self, measured: Measured) -> None:
        known = measured.known
        self.weight = np.where(known, 1.0 / np.where(known, measured.own_var, 1.0), 0.0)
        self.n = int(known.sum())
        factor = np.where(known[:, None], measured.shared, 0.0)
        self._weighted = factor * self.weight[:, None]
        capacity = np.eye(factor.shape[1]) + factor.T @ self._weighted
        self._capacity = cho_factor(capacity, lower=True) if factor.shape[1] else None
        self.log_det = float(np.log(measured.own_var[known]).sum())
        if self._capacity is not None:
            self.log_det += 2.0 * float(np.log(np.diag(self._capacity[0])).sum())

    def solve(self, right: Float) -> Float:
        """N⁻¹ right, right (283, m); rows that were not measured come back 0."""
        out = right * self.weight[:, None]
        if self._capacity is None:
            return np.asarray(out)
        return np.asarray(out - self._weighted @ cho_solve(self._capacity, self._weighted.T @ right))


def matern52(distance: Float, length: float) -> Float:
    """Matérn covariance of unit variance, nu = 5/2 (Rasmussen & Williams 2006, eq. 4.17).

    >>> matern52(np.array([0.0, 1.0]), 1.0).round(6)
    array([1.      , 0.523994])
    """
    scaled = np.sqrt(5.0) * np.abs(distance) / length
    return np.asarray((1.0 + scaled + scaled**2 / 3.0) * np.exp(-scaled))


def normalized(log_weights: Float) -> tuple[Float, float]:
    """Weights that sum to 1, and the log of the sum, of log weights of any shape.

    >>> normalized(np.log([1.0, 3.0]))[0]
    array([0.25, 0.75])
    """
    top = log_weights.max()
    weights = np.exp(log_weights - top)
    total = weights.sum()
    return weights / total, float(top + np.log(total))
