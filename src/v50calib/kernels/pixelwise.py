"""The pixel-wise corrections as formulas: ADC, linearity, dark, flat, with their variances.

All functions take frames (n, ny, nx) float64 and maps (ny, nx) and return new arrays. They are the
reading copy of the chain; `kernels.fused` evaluates the same polynomial in one compiled pass.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from v50calib.kernels.arrays import Float


def adu_to_electrons(adu: NDArray[np.generic], gain: float | Float, offset: float | Float) -> Float:
    """Electrons of raw codes: ``e = ADU / gain + offset``.

    gain [ADU/e-], offset [e-] (challenge description, 2025; blank first reads of the real sample then
    average to 0.0 ± 0.4 e-).
    """
    return adu.astype(np.float64) / gain + offset


def evaluate_polynomial(values: Float, coef: Float) -> Float:
    """Horner evaluation of ``Σ_k coef[k] values**k``; coef (terms, ny, nx), ascending powers."""
    out = np.broadcast_to(coef[-1], values.shape).copy()
    for c in coef[-2::-1]:
        out *= values
        out += c
    return out


def evaluate_derivative(values: Float, coef: Float) -> Float:
    """First derivative of the same polynomial, ``Σ_k k coef[k] values**(k-1)``."""
    powers = np.arange(1, len(coef), dtype=np.float64).reshape((-1,) + (1,) * (coef.ndim - 1))
    if len(coef) == 1:
        return np.zeros_like(values)
    return evaluate_polynomial(values, powers * coef[1:])


def substitute_affine(coef: Float, scale: float | Float, shift: float | Float) -> Float:
    """Coefficients of ``p(shift + scale·u)`` in powers of u (Horner on polynomials); exact, any degree."""
    terms = len(coef)
    out = np.zeros_like(coef)
    out[0] = coef[-1]
    for k in range(terms - 2, -1, -1):
        out[1:] = shift * out[1:] + scale * out[:-1]
        out[0] = shift * out[0] + coef[k]
    return out


def dark_signal(rate: Float, exposure_s: Float) -> Float:
    """Dark electrons (n, ny, nx) of reads taken `exposure_s` (n,) after reset, rate (ny, nx) in e-/s."""
    return exposure_s[:, None, None] * rate


def inverse_flat(flat: Float, epsilon: float) -> tuple[Float, NDArray[np.bool_]]:
    """``1/flat`` and where the flat is unusable (not finite or <= epsilon; 1 is used there)."""
    bad = ~np.isfinite(flat) | (flat <= epsilon)
    return 1.0 / np.where(bad, 1.0, flat), bad


def sigma_clip_mask(values: Float, *, sigma: float, max_iters: int) -> NDArray[np.bool_]:
    """Outliers of a map: iterative clipping about the median with the standard deviation.

    The hot-pixel criterion of the challenge's procedure (same numbers as `astropy.stats.sigma_clip` with its defaults).
    Values that are not finite count as outliers.
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
    """
    return np.maximum(electrons, 0.0)
