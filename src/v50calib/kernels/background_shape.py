"""The shape of a background, from pixels that the light curves' own background does not use: what a surface too simple for it misses.

Of a spectrum: the columns with the least light, along y. Of a band: a quadratic surface beside the star, fitted together with wings.
A surface is ``B = Σ_k c_k S_k``; what is handed on are the c with their covariance.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from v50calib.kernels.arrays import Float, Mask
from v50calib.kernels.background import polynomial_basis

#: share of the columns that are taken for those without light, and at least so many
FAINT, LEAST_COLUMNS = 0.05, 8
#: they have less light than this share of a usual column
FAINT_LIGHT = 0.3
#: rows at either end that stand for the background while the profile is measured
EDGE_ROWS = 3
#: wings of a star: Gaussians of these widths, and from where they are fitted, in units of the annulus' inner radius
WINGS, FROM = (0.3, 0.5, 0.8), 0.7
#: pixels of a band that are fitted; a large detector is thinned out
MOST_PIXELS = 20_000


class Surface(NamedTuple):
    """Surfaces (terms, ny, nx), their coefficients (terms,) [e- per pixel] and the covariance of these."""

    basis: Float
    coefficients: Float
    covariance: Float


def solved(design: Float, values: Float, variance: Float) -> tuple[Float, Float]:
    """Weighted least squares: coefficients and covariance, widened where the residuals scatter by more than their variance.

    >>> coefficients, covariance = solved(np.ones((4, 1)), np.array([1.0, 3.0, 1.0, 3.0]), np.full(4, 0.01))
    >>> round(float(coefficients[0]), 6), round(float(covariance[0, 0]), 3)  # ± 0.58, not ± 0.05
    (2.0, 0.333)
    """
    weight = 1.0 / np.sqrt(variance)
    inverse = np.linalg.pinv(design * weight[:, None])
    coefficients = inverse @ (values * weight)
    residual = (values - design @ coefficients) * weight
    chi2 = float((residual**2).sum()) / max(len(values) - design.shape[1], 1)
    return coefficients, inverse @ inverse.T * max(chi2, 1.0)


def across_spectrum(frame: Float, variance: Float, bad: Mask, half: float) -> Surface | None:
    """Quadratic in y of the background of a spectrum's mean frame (ny, nx) [e-], from its columns without light.

    half: rows to each side of the trace that have the star's light. None where the frame has no such columns, or too few rows.

    >>> y = np.linspace(-1.0, 1.0, 32)[:, None]
    >>> star = 1e4 * np.exp(-0.5 * (np.arange(32.0)[:, None] - 16.0) ** 2) * (np.arange(100) >= 20)
    >>> found = across_spectrum(star + 10.0 + 3.0 * y**2, np.ones((32, 100)), np.zeros((32, 100), bool), 8.0)
    >>> np.abs(found.coefficients).round(3)  # 10 + 3 y² = 11 + 2 P₂(y)
    array([11.,  0.,  2.])
    """
    ny, nx = frame.shape
    known = np.where(bad, np.nan, frame)
    whole = np.flatnonzero((~bad).sum(axis=0) > ny // 2)
    count = max(LEAST_COLUMNS, int(FAINT * nx))
    if ny < 4 * EDGE_ROWS or whole.size < 4 * count:
        return None
    rows = np.arange(ny)
    known = known[:, whole]
    edge = _middle(np.concatenate([known[:EDGE_ROWS], known[-EDGE_ROWS:]]), 0)
    light = np.where(np.isfinite(known), known - edge, 0.0).sum(axis=0)
    order = np.argsort(light)
    faint, bright = order[:count], order[whole.size // 2 :]
    usual = float(np.median(light[bright]))
    if usual <= 0 or light[faint[-1]] > FAINT_LIGHT * usual:
        return None
    profile = _middle((known - edge)[:, bright] / light[bright], 1)
    trace = float((np.maximum(profile, 0.0) * rows).sum() / max(np.maximum(profile, 0.0).sum(), 1e-30))
    use = np.abs(rows - trace) > half
    if use[: ny // 2].sum() < 3 or use[ny // 2 :].sum() < 3:
        return None
    background = _middle(known[:, faint] - profile[:, None] * np.maximum(light[faint], 0.0), 1)
    error = 0.5 * np.pi * np.median(variance[:, whole[faint]], axis=1) / count
    design = np.polynomial.legendre.legvander(np.linspace(-1.0, 1.0, ny), 2)
    if not (error[use] > 0).all():
        return None
    coefficients, covariance = solved(design[use], background[use], error[use])
    return Surface(np.repeat(design.T[:, :, None], nx, axis=2), coefficients, covariance)


def beside_star(frame: Float, variance: Float, bad: Mask, centre: tuple[float, float], inner: float) -> Surface | None:
    """Quadratic surface of the background of a star's mean frame (ny, nx) [e-], fitted together with wings of the star.

    centre (y, x) px of the star; inner: radius that the background is measured from, px. None where too few pixels are left.

    >>> y, x = np.mgrid[:32, :32].astype(float)
    >>> star = 1e4 * np.exp(-0.5 * ((y - 16.0) ** 2 + (x - 16.0) ** 2) / 9.0)
    >>> surface = 10.0 + 3.0 * np.linspace(-1.0, 1.0, 32)[:, None] ** 2
    >>> found = beside_star(star + surface, np.ones((32, 32)), np.zeros((32, 32), bool), (16.0, 16.0), 10.0)
    >>> bool(np.abs(np.tensordot(found.coefficients, found.basis, 1) - surface).max() < 0.01)
    True
    """
    ny, nx = frame.shape
    basis = polynomial_basis((ny, nx), 2)
    distance = np.hypot(np.arange(ny)[:, None] - centre[0], np.arange(nx) - centre[1])
    pixels = np.flatnonzero((~bad & (variance > 0) & (distance > FROM * inner)).ravel())
    pixels = pixels[:: max(1, pixels.size // MOST_PIXELS)]
    if pixels.size < 64:
        return None
    r = distance.ravel()[pixels]
    wings = [np.exp(-0.5 * (r / (width * inner)) ** 2) for width in WINGS]
    design = np.column_stack([basis.reshape(len(basis), -1)[:, pixels].T, *wings])
    coefficients, covariance = solved(design, frame.ravel()[pixels], variance.ravel()[pixels])
    terms = len(basis)
    return Surface(basis, coefficients[:terms], covariance[:terms, :terms])


def _middle(values: Float, axis: int) -> Float:
    """Median of the finite values along an axis; 0 where there is none."""
    lost = ~np.isfinite(values)
    none = lost.all(axis=axis, keepdims=True)
    return np.asarray(np.nanmedian(np.where(none, 0.0, values), axis=axis))
