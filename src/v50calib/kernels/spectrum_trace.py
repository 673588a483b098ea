"""The trace of a spectrum: its centre and width in each detector column, and a smooth line through the centres."""

from __future__ import annotations

import numpy as np

from v50calib.kernels.arrays import Float, Mask
from v50calib.kernels.least_squares import least_squares
from v50calib.kernels.series import robust_sigma

#: rows to each side of the trace that its centre is measured on
REACH = 4.0
#: columns further than this many sigma from the line are left out of its fit
CLIP = 5.0


def moment_centres(image: Float, variance: Float, guess: float) -> tuple[Float, Float, Float]:
    """Flux-weighted row of each column of image (ny, nx) within 4 rows of itself, its standard error, and the rms width.

    Columns without light get NaN.

    >>> y = np.arange(25.0)[:, None]
    >>> image = np.exp(-0.5 * (y - np.array([12.0, 12.3])) ** 2)
    >>> centre, error, width = moment_centres(image, np.full((25, 2), 1e-6), guess=12.0)
    >>> centre.round(3), width.round(2)
    (array([12. , 12.3]), array([1., 1.]))
    """
    yy = np.arange(image.shape[0], dtype=np.float64)[:, None]
    centre = np.full(image.shape[1], float(guess))
    total, weight = np.zeros_like(centre), np.zeros_like(image)
    for _ in range(6):
        # fractional rows at the ends: the centre must not jump when it passes a pixel's edge
        share = np.clip(REACH + 0.5 - np.abs(yy - centre), 0.0, 1.0)
        weight = share * image
        total = weight.sum(axis=0)
        found = (weight * yy).sum(axis=0) / np.where(total > 0, total, np.nan)
        centre = np.where(np.isfinite(found), np.clip(found, guess - REACH, guess + REACH), guess)
    lost = ~(total > 0)
    safe = np.where(lost, 1.0, total)
    error = np.sqrt((np.clip(REACH + 0.5 - np.abs(yy - centre), 0.0, 1.0) ** 2 * (yy - centre) ** 2 * variance).sum(axis=0)) / safe
    width = np.sqrt(np.maximum((weight * (yy - centre) ** 2).sum(axis=0) / safe, 0.1))
    return np.where(lost, np.nan, centre), np.where(lost, np.nan, error), np.where(lost, np.nan, width)


def gaussian_centres(image: Float, variance: Float, guess: float) -> tuple[Float, Float, Float]:
    """Centre, its standard error and sigma of a Gaussian fitted to each column within 4 rows of `guess` (Gauss-Newton).

    Weighted by 1/variance; columns whose fit does not converge get NaN.

    >>> y = np.arange(25.0)[:, None]
    >>> image = np.exp(-0.5 * ((y - np.array([12.0, 12.3])) / 1.5) ** 2)
    >>> centre, error, sigma = gaussian_centres(image, np.full((25, 2), 1e-6), guess=12.0)
    >>> centre.round(6), sigma.round(6)
    (array([12. , 12.3]), array([1.5, 1.5]))
    """
    ny, nx = image.shape
    centre, _, width = moment_centres(image, variance, guess)
    lost = ~np.isfinite(centre)
    p = np.stack([image.max(axis=0), np.where(lost, guess, centre), np.where(lost, 1.0, width)], axis=1)
    yy = np.arange(ny, dtype=np.float64)[:, None]
    inverse = np.where(np.abs(yy - guess) <= REACH, 1.0 / variance, 0.0)
    normal, step = np.zeros((nx, 3, 3)), np.zeros((nx, 3))
    for _ in range(30):
        u = (yy - p[:, 1]) / p[:, 2]
        e = np.exp(-0.5 * u**2)
        jacobian = np.stack([e, p[:, 0] * e * u / p[:, 2], p[:, 0] * e * u**2 / p[:, 2]])
        residual = image - p[:, 0] * e
        normal = np.einsum("iyx,yx,jyx->xij", jacobian, inverse, jacobian, optimize=True)
        right = np.einsum("iyx,yx,yx->xi", jacobian, inverse, residual, optimize=True)
        step = np.einsum("xij,xj->xi", np.linalg.pinv(normal, hermitian=True), right)
        p[:, 0] += step[:, 0]
        p[:, 1] += np.clip(step[:, 1], -0.5, 0.5)
        p[:, 2] = np.clip(p[:, 2] + np.clip(step[:, 2], -0.5, 0.5), 0.3, 6.0)
    error = np.sqrt(np.maximum(np.linalg.pinv(normal, hermitian=True)[:, 1, 1], 0.0))
    lost |= (np.abs(step[:, 1]) > 1e-3) | (np.abs(p[:, 1] - guess) > REACH) | ~(error > 0)
    return tuple(np.where(lost, np.nan, v) for v in (p[:, 1], error, p[:, 2]))  # type: ignore[return-value]


def smooth_line(values: Float, error: Float, basis: Float, use: Mask) -> Float:
    """Weighted least-squares combination of basis (terms, n) through values (n,) with standard errors, clipped at 5 sigma.

    `use` chooses the samples; NaN are left out. The samples' own scatter is added to the errors, so that a few bright ones do not
    dominate. Where fewer samples than terms are left, their median is returned everywhere.

    >>> x = np.linspace(-1.0, 1.0, 21)
    >>> centres, basis = np.where(x == x[4], 30.0, 15.0 + 2.0 * x), np.stack([np.ones(21), x])
    >>> bool(np.abs(smooth_line(centres, np.full(21, 0.01), basis, x >= -1.0) - (15.0 + 2.0 * x)).max() < 1e-9)
    True
    """
    kept = use & np.isfinite(values) & np.isfinite(error) & (error > 0)
    terms, n = basis.shape
    if kept.sum() <= terms:
        return np.full(n, np.median(values[kept]) if kept.any() else np.nan)
    line, floor = np.zeros(n), 0.0
    for _ in range(6):
        weight = 1.0 / np.hypot(error[kept], floor)
        solution = least_squares((basis[:, kept] * weight).T, values[kept] * weight)
        line = solution @ basis
        floor = float(robust_sigma((values - line)[kept][:, None])[0])
        within = kept & (np.abs(values - line) <= CLIP * np.hypot(np.where(kept, error, 1.0), floor))
        if within.sum() <= terms or (within == kept).all():
            break
        kept = within
    return line
