"""The steps of the white fit where parameters say nothing of their own."""

from __future__ import annotations

import numpy as np

from v50calib.kernels.white_fit import _levenberg


def test_parameters_that_cannot_be_told_apart_make_no_singular_matrix() -> None:
    """One changes nothing (the mid-time of a depth of 0), two do the same; a slow descent leaves no damping that would hide it."""

    def residuals(theta: np.ndarray) -> np.ndarray:
        return np.array([1e6 * theta[1] ** 2, theta[2], theta[3], theta[4] + theta[5]])

    start = np.array([3.0, 100.0, 1.0, 0.5, 0.5, 0.5])
    theta, _, left, converged = _levenberg(residuals, start, np.full(6, -1e3), np.full(6, 1e3), np.zeros(6, bool))
    assert converged
    assert float(left @ left) < 1e-3
    assert theta[0] == 3.0
