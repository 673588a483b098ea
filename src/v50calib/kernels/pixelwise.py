"""The pixel-wise corrections as formulas: ADC, linearity, dark, flat, with their variances.

All functions take frames (n, ny, nx) float64 and maps (ny, nx) and return new arrays. They are the
readable form of the chain; `kernels.fused` evaluates the same polynomial in one compiled pass.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from v50calib.kernels.arrays import Float


def adu_to_electrons(adu: NDArray[np.generic], gain: float | Float, offset: float | Float) -> Float:
    """Electrons of raw codes: ``e = ADU / gain + offset``.

    gain [ADU/e-], offset [e-] (challenge description, 2025; blank first reads of the real sample then
    average to 0.0 ± 0.4 e-).

    >>> adu_to_electrons(np.array([437], np.uint16), gain=0.437, offset=-1000.0).round(9) + 0.0
    array([0.])
    """
    return adu.astype(np.float64) / gain + offset


def evaluate_polynomial(values: Float, coef: Float) -> Float:
    """Horner evaluation of ``Σ_k coef[k] values**k``; coef (terms, ny, nx), ascending powers.

    >>> evaluate_polynomial(np.full((1, 1, 1), 3.0), np.array([1.0, 2.0, 4.0]).reshape(3, 1, 1)).item()  # 1 + 2·3 + 4·3²
    43.0
    """
    out = np.broadcast_to(coef[-1], values.shape).copy()
    for c in coef[-2::-1]:
        out *= values
        out += c
    return out


def evaluate_derivative(values: Float, coef: Float) -> Float:
    """First derivative of the same polynomial, ``Σ_k k coef[k] values**(k-1)``.

    >>> evaluate_derivative(np.full((1, 1, 1), 3.0), np.array([1.0, 2.0, 4.0]).reshape(3, 1, 1)).item()  # 2 + 2·4·3
    26.0
    """
    powers = np.arange(1, len(coef), dtype=np.float64).reshape((-1,) + (1,) * (coef.ndim - 1))
    if len(coef) == 1:
        return np.zeros_like(values)
    return evaluate_polynomial(values, powers * coef[1:])


def substitute_affine(coef: Float, scale: float | Float, shift: float | Float) -> Float:
    """Coefficients of ``p(shift + scale·u)`` in powers of u (Horner on polynomials); exact, any degree.

    >>> substitute_affine(np.array([0.0, 0.0, 1.0]), scale=2.0, shift=1.0)  # (1 + 2u)²
    array([1., 4., 4.])
    """
    terms = len(coef)
    out = np.zeros_like(coef)
    out[0] = coef[-1]
    for k in range(terms - 2, -1, -1):
        out[1:] = shift * out[1:] + scale * out[:-1]
        out[0] = shift * out[0] + coef[k]
    return out


def dark_signal(rate: Float, exposure_s: Float) -> Float:
    """Dark electrons (n, ny, nx) of reads taken `exposure_s` (n,) after reset, rate (ny, nx) in e-/s.

    >>> dark_signal(np.array([[0.5]]), np.array([0.1, 4.6])).ravel()
    array([0.05, 2.3 ])
    """
    return exposure_s[:, None, None] * rate


def inverse_flat(flat: Float, epsilon: float) -> tuple[Float, NDArray[np.bool_]]:
    """``1/flat`` and where the flat is unusable (not finite or <= epsilon; 1 is used there).

    >>> inverse_flat(np.array([2.0, 0.0, np.nan]), epsilon=1e-3)
    (array([0.5, 1. , 1. ]), array([False,  True,  True]))
    """
    bad = ~np.isfinite(flat) | (flat <= epsilon)
    return 1.0 / np.where(bad, 1.0, flat), bad


def sigma_clip_mask(values: Float, *, sigma: float, max_iters: int) -> NDArray[np.bool_]:
    """Outliers of a map: iterative clipping about the median with the standard deviation.

    The hot-pixel criterion of the challenge's procedure (same numbers as `astropy.stats.sigma_clip` with its defaults).
    Values that are not finite count as outliers.

    >>> sigma_clip_mask(np.array([1.0, 1.1, 0.9, 1.0, 50.0, np.nan]), sigma=1.5, max_iters=5)
    array([False, False, False, False,  True,  True])
    """
    good = np.isfinite(values)
    for _ in range(max_iters):
        kept = values[good]
        centre, scale = np.median(kept), np.std(kept)
        new = good & (np.abs(values - centre) <= sigma * scale)
        if new.sum() == good.sum():
            break
        good = new
    return ~good


def photon_variance(electrons: Float) -> Float:
    """Poisson variance [e-²] of linearized electrons: their expected number, estimated by ``max(e, 0)``.

    After linearization the photon variance is the number of photo-electrons itself: the detector's
    response G squeezes their scatter by G' and its inverse stretches it back.

    >>> photon_variance(np.array([100.0, -3.0]))
    array([100.,   0.])
    """
    return np.maximum(electrons, 0.0)
