"""Static bad pixels filled from their neighbours in the same frame."""

from __future__ import annotations

from typing import Literal

import numpy as np
from scipy import ndimage

from v50calib.kernels.arrays import Float, Mask
from v50calib.kernels.products import row_products

Mode = Literal["median4", "median8", "gaussian3"]

_CROSS = ((-1, 0), (0, -1), (0, 1), (1, 0))
_RING = tuple((dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1) if (dy, dx) != (0, 0))
#: weight of a neighbour at distance d px: exp(-d²/2), a Gaussian of sigma 1 px on the 3x3 block
_WEIGHT = {(dy, dx): float(np.exp(-0.5 * (dy * dy + dx * dx))) for dy, dx in _RING}


def grow(mask: Mask, radius: int) -> Mask:
    """Mask (…, ny, nx) widened by a disc of `radius` px in the last two axes.

    >>> grow(np.eye(5, dtype=bool) & (np.arange(5) == 2), 1).astype(int)
    array([[0, 0, 0, 0, 0],
           [0, 0, 1, 0, 0],
           [0, 1, 1, 1, 0],
           [0, 0, 1, 0, 0],
           [0, 0, 0, 0, 0]])
    """
    if radius <= 0 or not mask.any():
        return mask
    yy, xx = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    disc = (yy**2 + xx**2 <= radius**2).reshape((1,) * (mask.ndim - 2) + (2 * radius + 1,) * 2)
    return ndimage.binary_dilation(mask, structure=disc)


def fillable(bad: Mask, mode: Mode) -> Mask:
    """Bad pixels (ny, nx) that have at least one good neighbour of the mode's kind.

    >>> fillable(np.array([[True, False], [True, True]]), "median4")  # the pixel at the bottom left has bad ones about it
    array([[ True, False],
           [False,  True]])
    """
    around = _CROSS if mode == "median4" else _RING
    good = np.pad(~bad, 1)
    ny, nx = bad.shape
    near = np.zeros_like(bad)
    for dy, dx in around:
        near |= good[1 + dy : 1 + dy + ny, 1 + dx : 1 + dx + nx]
    return bad & near


def fill_pixels(frames: Float, bad: Mask, mode: Mode) -> Float:
    """Frames (n, ny, nx) with bad pixels (ny, nx) replaced from their good neighbours; one without any keeps its value.

    The number of bad pixels should be small: they are filled one at a time.

    median4, median8   median of the 4 or 8 neighbours that are good
    gaussian3          mean of the 8 neighbours that are good, weighted by a Gaussian of sigma 1 px

    >>> frame, bad = np.array([[[1.0, 2.0, 3.0], [4.0, 99.0, 6.0], [7.0, 8.0, 9.0]]]), np.arange(9).reshape(3, 3) == 4
    >>> fill_pixels(frame, bad, "median4")[0, 1, 1]  # of 2, 4, 6 and 8
    np.float64(5.0)
    """
    out = frames.copy()
    ny, nx = bad.shape
    for y, x in np.argwhere(bad):
        around = _CROSS if mode == "median4" else _RING
        near = [(y + dy, x + dx, (dy, dx)) for dy, dx in around if 0 <= y + dy < ny and 0 <= x + dx < nx and not bad[y + dy, x + dx]]
        if not near:
            continue
        values = frames[:, [p[0] for p in near], [p[1] for p in near]]
        if mode == "gaussian3":
            weight = np.array([_WEIGHT[p[2]] for p in near])
            out[:, y, x] = row_products(values, (weight / weight.sum())[:, None])[:, 0]
        else:
            out[:, y, x] = np.median(values, axis=1)
    return out
