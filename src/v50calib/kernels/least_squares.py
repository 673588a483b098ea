"""Linear least squares of whole arrays, which LAPACK is asked for only where there is an answer."""

from __future__ import annotations

import numpy as np

from v50calib.kernels.arrays import Float


def least_squares(design: Float, target: Float) -> Float:
    """Coefficients (k,) of the columns of design (n, k) that are nearest to target (n,), the shortest where several are.

    Raises LinAlgError where a value is not finite: LAPACK would besides write about it on stdout, which is not ours to fill.

    >>> least_squares(np.array([[1.0], [1.0]]), np.array([1.0, 3.0]))
    array([2.])
    >>> least_squares(np.array([[1.0], [np.nan]]), np.array([1.0, 3.0]))
    Traceback (most recent call last):
    numpy.linalg.LinAlgError: 1 of the 4 numbers of a linear fit are not finite
    """
    bad = int((~np.isfinite(design)).sum() + (~np.isfinite(target)).sum())
    if bad:
        raise np.linalg.LinAlgError(f"{bad} of the {design.size + target.size} numbers of a linear fit are not finite")
    return np.asarray(np.linalg.lstsq(design, target, rcond=None)[0])
