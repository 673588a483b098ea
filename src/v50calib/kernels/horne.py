"""Optimal extraction frame by frame, with rejection of pixels that do not fit the profile (Horne 1986, PASP 98, 609)."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from v50calib.kernels.arrays import Float
from v50calib.kernels.compiler import nb

_jit = nb.njit(cache=True, nogil=True, boundscheck=False)


@_jit
def _estimate(column: Float, background: float, profile: Float, weighting: Float, kept: NDArray[np.bool_]) -> float:
    """Optimal flux of one column from its kept pixels; NaN where none is left."""
    top = bottom = 0.0
    for y in range(column.size):
        if kept[y]:
            top += weighting[y] * (column[y] - background)
            bottom += weighting[y] * profile[y]
    return top / bottom if bottom > 0.0 else np.nan


@_jit
def _worst(
    column: Float, background: float, flux: float, profile: Float, variance: Float, slope: Float, kept: NDArray[np.bool_], clip: float
) -> int:
    """The kept pixel furthest from the profile, in sigma, if further than clip; -1 where none is."""
    worst, where = clip * clip, -1
    for y in range(column.size):
        if kept[y]:
            r = column[y] - background - flux * profile[y]
            v = variance[y] + (flux * slope[y]) ** 2
            if r * r > worst * v:
                worst, where = r * r / v, y
    return where


@_jit
def extract_with_rejection(
    frames: Float,
    background: Float,
    profile: Float,
    variance: Float,
    weighting: Float,
    slope: Float,
    clip: float,
    max_iters: int,
    flux: Float,
    rejected: NDArray[np.int64],
) -> None:
    """Optimal flux of each column of frames (n, ny, nx), the worst pixel rejected until none differs by more than clip sigma.

    background (n, nx): per pixel; profile, variance (ny, nx): P and the model's V; weighting (ny, nx): P/V (0: pixel not
    used). slope (ny, nx) px⁻¹: what the profile may change by, as ``|∂P/∂y|·jitter``; it widens the limit, so that a
    moved star is not taken for a hit. One pixel is rejected an iteration (Horne's step 7). flux (n, nx) is
    ``Σ w d`` with the background of the *full* aperture left in, as for fixed weights; rejected (n, nx) counts.

    >>> profile, flux, rejected = np.full((4, 1), 0.25), np.empty((1, 1)), np.empty((1, 1), np.int64)
    >>> frame = np.array([[[100.0], [100.0], [900.0], [100.0]]])  # 400 electrons and a hit
    >>> extract_with_rejection(frame, np.zeros((1, 1)), profile, 400 * profile, profile / 400, 0 * profile, 5.0, 3, flux, rejected)
    >>> flux, rejected
    (array([[400.]]), array([[1]]))
    """
    n, ny, nx = frames.shape
    kept = np.empty(ny, np.bool_)
    for x in range(nx):
        full = whole = 0.0
        for y in range(ny):
            full += weighting[y, x] * profile[y, x]
            whole += weighting[y, x]
        for i in range(n):
            rejected[i, x] = 0
            flux[i, x] = 0.0
            if not full > 0.0:
                continue
            for y in range(ny):
                kept[y] = weighting[y, x] != 0.0
            estimate = _estimate(frames[i, :, x], background[i, x], profile[:, x], weighting[:, x], kept)
            for _ in range(max_iters):
                worst = _worst(frames[i, :, x], background[i, x], estimate, profile[:, x], variance[:, x], slope[:, x], kept, clip)
                if worst < 0:
                    break
                kept[worst] = False
                tried = _estimate(frames[i, :, x], background[i, x], profile[:, x], weighting[:, x], kept)
                if not np.isfinite(tried):
                    break
                estimate = tried
                rejected[i, x] += 1
            flux[i, x] = estimate + background[i, x] * whole / full


def rejection_slope(profile: Float, jitter_px: float) -> Float:
    """Change of the profile (ny, nx) when the star moves by jitter_px along y.

    >>> rejection_slope(np.array([[0.0], [0.25], [0.5]]), 0.1).ravel()
    array([0.025, 0.025, 0.025])
    """
    return math.fabs(jitter_px) * np.abs(np.gradient(profile, axis=0))
