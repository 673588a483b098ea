"""Optimal extraction frame by frame, with rejection of pixels that do not fit the profile (Horne 1986, PASP 98, 609)."""

from __future__ import annotations

import math

import numba as nb
import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]

_jit = nb.njit(cache=True, nogil=True, boundscheck=False)


@_jit
def extract_with_rejection(
    frames: Float,
    sky: Float,
    profile: Float,
    variance: Float,
    weighting: Float,
    slope: Float,
    clip: float,
    max_iters: int,
    flux: Float,
    rejected: NDArray[np.int64],
) -> None:
    """Optimal flux of each column of frames (n, ny, nx), the worst pixel rejected until none is off by more than clip sigma.

    sky (n, nx) background per pixel; profile, variance (ny, nx): P and the model's V; weighting (ny, nx): P/V (0: pixel not
    used). slope (ny, nx) px⁻¹: what the profile may change by, as ``|∂P/∂y|·jitter``; it widens the limit, so that a
    moved star is not taken for a hit. One pixel is rejected an iteration (Horne's step 7). flux (n, nx) is
    ``Σ w d`` with the background under the *full* aperture left in, as the fixed weights have it; rejected (n, nx) counts.
    """
    n, ny, nx = frames.shape
    kept = np.empty(ny, np.bool_)
    for i in range(n):
        for x in range(nx):
            full = whole = 0.0
            for y in range(ny):
                kept[y] = weighting[y, x] != 0.0
                full += weighting[y, x] * profile[y, x]
                whole += weighting[y, x]
            rejected[i, x] = 0
            flux[i, x] = 0.0
            if not full > 0.0:
                continue
            estimate = 0.0
            for step in range(max_iters + 1):
                top = bottom = 0.0
                for y in range(ny):
                    if kept[y]:
                        top += weighting[y, x] * (frames[i, y, x] - sky[i, x])
                        bottom += weighting[y, x] * profile[y, x]
                if not bottom > 0.0:
                    break
                estimate = top / bottom
                worst, where = clip * clip, -1
                for y in range(ny):
                    if kept[y]:
                        r = frames[i, y, x] - sky[i, x] - estimate * profile[y, x]
                        v = variance[y, x] + (estimate * slope[y, x]) ** 2
                        if r * r > worst * v:
                            worst, where = r * r / v, y
                if where < 0 or step == max_iters:
                    break
                kept[where] = False
                rejected[i, x] += 1
            flux[i, x] = estimate + sky[i, x] * whole / full


def rejection_slope(profile: Float, jitter_px: float) -> Float:
    """What the profile (ny, nx) changes by when the star moves by jitter_px along y."""
    return math.fabs(jitter_px) * np.abs(np.gradient(profile, axis=0))
