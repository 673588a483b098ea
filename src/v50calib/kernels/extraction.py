"""Static extraction weights: optimal extraction, and repair of masked pixels (apertures: `apertures.py`).

Everything returns maps (ny, nx) of weights w such that a flux is ``Σ w·cds``: the hot loop then is one
weighted sum whatever the method (`fused.weighted_column_sums`).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.special import erf

from v50calib.kernels.arrays import Float, Mask
from v50calib.kernels.compiler import nb
from v50calib.kernels.least_squares import least_squares
from v50calib.kernels.series import robust_sigma

_jit = nb.njit(cache=True, nogil=True, boundscheck=False)


def barycenter(image: Float, masked: Mask, *, half_width: int = 6) -> tuple[float, float]:
    """Flux-weighted centre (y, x) about the brightest 3x3 block, iterated twice; masked pixels are left out.

    >>> image = np.zeros((9, 9))
    >>> image[4, 3:5] = 1.0, 3.0
    >>> barycenter(image, np.zeros((9, 9), bool))
    (4.0, 3.75)
    """
    ny, nx = image.shape
    good = np.where(masked, 0.0, image)
    padded = np.pad(good, 1)
    block = sum(padded[1 + dy : 1 + dy + ny, 1 + dx : 1 + dx + nx] for dy in (-1, 0, 1) for dx in (-1, 0, 1))
    cy, cx = (float(v) for v in np.unravel_index(int(np.argmax(block)), image.shape))
    yy, xx = np.mgrid[:ny, :nx]
    for _ in range(3):
        window = (np.abs(yy - cy) <= half_width) & (np.abs(xx - cx) <= half_width) & ~masked
        weight = np.where(window, np.maximum(image, 0.0), 0.0)
        total = weight.sum()
        if total <= 0:
            break
        cy, cx = float((weight * yy).sum() / total), float((weight * xx).sum() / total)
    return cy, cx


def fill_masked(image: Float, masked: Mask) -> Float:
    """Replace masked pixels by a local quadratic surface through the log of their 5x5 neighbours.

    Where fewer than 8 usable neighbours exist, or they are not positive, their median is taken.

    >>> y, x = np.mgrid[:7, :7]
    >>> star, masked = np.exp(-0.1 * ((y - 3) ** 2 + (x - 3) ** 2)), (y == 3) & (x == 3)
    >>> fill_masked(np.where(masked, 0.0, star), masked)[3, 3].round(12)  # the peak of a Gaussian
    np.float64(1.0)
    """
    out = image.copy()
    ny, nx = image.shape
    for y, x in np.argwhere(masked):
        ys, xs = np.mgrid[max(0, y - 2) : min(ny, y + 3), max(0, x - 2) : min(nx, x + 3)]
        good = ~masked[ys, xs]
        values = image[ys, xs][good]
        if not good.any():
            out[y, x] = 0.0
            continue
        if good.sum() < 8 or (values <= 0).any():
            out[y, x] = np.median(values)
            continue
        dy, dx = (ys - y)[good].astype(float), (xs - x)[good].astype(float)
        weight = np.exp(-0.25 * (dy**2 + dx**2))
        basis = np.stack([np.ones_like(dy), dy, dx, dy**2, dx * dy, dx**2], axis=1)
        solution = least_squares(basis * weight[:, None], np.log(values) * weight)
        out[y, x] = min(math.exp(solution[0]), 2.0 * float(values.max()))
    return out


def masked_shares(image: Float, masked: Mask) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], Float]:
    """Each masked pixel as a weighted sum of its good 5x5 neighbours that follows flux and pointing.

    For a masked pixel d the smallest coefficients a_j on its good 5x5 neighbours are found with
    ``Σ a_j·I_j = I_d`` and ``Σ a_j·∇I_j = ∇I_d`` (I: the filled mean image): the estimate then follows a
    change of flux exactly and a shift of the image to first order. Returns flat indices of the masked pixels (m,), the start
    of each one's neighbours (m + 1,), their flat indices and coefficients.

    >>> masked = np.zeros((5, 5), bool)
    >>> masked[2, 2] = True
    >>> targets, starts, neighbours, shares = masked_shares(np.full((5, 5), 8.0), masked)
    >>> targets, neighbours.size, round(float(shares.sum()), 12)  # the mean of its 24 neighbours
    (array([12]), 24, 1.0)
    """
    filled = fill_masked(image, masked)
    gy, gx = np.gradient(filled, axis=0), np.gradient(filled, axis=1)
    ny, nx = image.shape
    targets, starts, neighbours, shares = [], [0], [np.zeros(0, np.int64)], [np.zeros(0)]
    for y, x in np.argwhere(masked):
        ys, xs = np.mgrid[max(0, y - 2) : min(ny, y + 3), max(0, x - 2) : min(nx, x + 3)]
        keep = ~masked[ys, xs]
        ys, xs = ys[keep], xs[keep]
        if ys.size:
            system = np.stack([filled[ys, xs], gy[ys, xs], gx[ys, xs]])
            target = np.array([filled[y, x], gy[y, x], gx[y, x]])
            shares.append(least_squares(system, target))
            neighbours.append(ys * nx + xs)
        targets.append(y * nx + x)
        starts.append(starts[-1] + ys.size)
    return np.array(targets, np.int64), np.array(starts, np.int64), np.concatenate(neighbours), np.concatenate(shares)


def redistribute_masked(maps: Float, masked: Mask, image: Float) -> tuple[Float, Mask]:
    """Move the weight of masked pixels to their neighbours so that neither flux nor pointing changes it.

    By the shares of `masked_shares`. maps (m, ny, nx); returns new maps and where weight was moved (FLUX_ESTIMATED).

    >>> masked = np.zeros((5, 5), bool)
    >>> masked[2, 2] = True
    >>> maps, moved = redistribute_masked(np.ones((1, 5, 5)), masked, np.full((5, 5), 8.0))
    >>> maps[0, 2, 2], maps.sum().round(12)
    (np.float64(0.0), np.float64(25.0))
    """
    moved = masked & (maps != 0).any(axis=0)
    flat = maps.reshape(len(maps), -1).copy()
    targets, starts, neighbours, shares = masked_shares(image, masked)
    for k, target in enumerate(targets):
        if moved.flat[target]:
            part = slice(starts[k], starts[k + 1])
            flat[:, neighbours[part]] += flat[:, [target]] * shares[part]
            flat[:, target] = 0.0
    return flat.reshape(maps.shape), moved


@_jit
def repair_frames(
    frames: Float, targets: NDArray[np.int64], starts: NDArray[np.int64], neighbours: NDArray[np.int64], shares: Float
) -> None:
    """Fill the masked pixels of frames (n, npix) in place with their neighbours' weighted sum (see `masked_shares`).

    >>> frames = np.array([[4.0, np.nan, 8.0]])
    >>> repair_frames(frames, np.array([1]), np.array([0, 2]), np.array([0, 2]), np.array([0.5, 0.5]))
    >>> frames
    array([[4., 6., 8.]])
    """
    for i in range(frames.shape[0]):
        for k in range(targets.size):
            total = 0.0
            for j in range(starts[k], starts[k + 1]):
                total += shares[j] * frames[i, neighbours[j]]
            frames[i, targets[k]] = total


def rescale_masked_columns(weights: Float, masked: Mask, profile: Float) -> Float:
    """Zero masked pixels and scale each column by ``Σ w·P / Σ_good w·P``: a missing pixel keeps the flux.

    >>> profile, masked = np.array([[0.25], [0.5], [0.25]]), np.array([[False], [False], [True]])
    >>> weights = rescale_masked_columns(np.ones((3, 1)), masked, profile)
    >>> (weights * profile).sum(), weights.ravel()
    (np.float64(1.0), array([1.33333333, 1.33333333, 0.        ]))
    """
    kept = np.where(masked, 0.0, weights)
    whole, rest = (weights * profile).sum(axis=0), (kept * profile).sum(axis=0)
    usable = rest > 0
    return kept * np.where(usable, whole / np.where(usable, rest, 1.0), np.nan)


def spatial_profile(image: Float, variance: Float, masked: Mask, rows: slice | Mask, *, degree: int = 5, fit: slice = slice(None)) -> Float:
    """Normalized spatial profile P (ny, nx), Σ_y P = 1 over `rows` (a slice, or a mask (ny, nx)): Horne (1986) step 5.

    Each row's fraction of the column flux is a Chebyshev polynomial of the column, fitted with inverse
    variances to the mean image over the columns `fit`; masked pixels are left out of the fit and get the polynomial's value.

    >>> image = np.outer([1.0, 2.0, 1.0], np.linspace(50.0, 100.0, 20))
    >>> spatial_profile(image, np.ones((3, 20)), np.zeros((3, 20), bool), slice(0, 3), degree=1)[:, 7].round(9)
    array([0.25, 0.5 , 0.25])
    """
    nx = image.shape[1]
    window = np.zeros(image.shape, bool)
    window[rows] = True
    good = window & ~masked
    columns = np.arange(nx)[fit]
    scaled = np.linspace(-1.0, 1.0, nx)
    profile = np.where(window, np.median(np.where(good, image, 0.0)[:, columns], axis=1)[:, None], 0.0)
    profile = np.maximum(profile, 0.0)
    profile /= profile.sum(axis=0)
    basis = np.polynomial.chebyshev.chebvander(scaled[columns], degree)
    products = (basis[:, :, None] * basis[:, None, :]).reshape(len(basis), -1)
    inside = np.clip(scaled, scaled[columns[0]], scaled[columns[-1]])
    everywhere = np.polynomial.chebyshev.chebvander(inside, degree)
    inverse = np.where(good, 1.0 / variance, 0.0)[:, columns]
    for _ in range(3):
        flux = np.where(good, image, 0.0).sum(axis=0) / np.maximum(np.where(good, profile, 0.0).sum(axis=0), 1e-12)
        bright = np.maximum(flux[columns], 0.0)
        weight = inverse * bright**2
        enough = (weight > 0).sum(axis=1) > degree
        normal = (weight @ products).reshape(len(weight), degree + 1, degree + 1)
        right = (weight * image[:, columns] / np.maximum(bright, 1e-12)) @ basis
        unit = np.maximum(np.trace(normal, axis1=1, axis2=2), 1e-300)
        solution = np.einsum("ykl,yl->yk", np.linalg.pinv(normal / unit[:, None, None], hermitian=True), right / unit[:, None])
        new = np.where(enough[:, None] & window, np.maximum(solution @ everywhere.T, 0.0), np.where(window, profile, 0.0))
        profile = new / np.maximum(new.sum(axis=0), 1e-12)
    return profile


def profile_outliers(image: Float, variance: Float, profile: Float, good: Mask, *, clip: float) -> Mask:
    """The worst pixel of each column of a mean image, if off profile x column flux by more than clip sigma: Horne (1986) step 7.

    Sigma is the larger of the model's and the row's own robust scatter: what the smooth profile cannot follow in a whole row
    is not an outlier.

    >>> image, profile = np.full((4, 6), 100.0), np.full((4, 6), 0.25)
    >>> image[2, 3] = 900.0
    >>> np.argwhere(profile_outliers(image, np.full((4, 6), 100.0), profile, np.ones((4, 6), bool), clip=5.0))
    array([[2, 3]])
    """
    flux = np.where(good, image, 0.0).sum(axis=0) / np.maximum(np.where(good, profile, 0.0).sum(axis=0), 1e-12)
    off = (image - flux * profile) / np.sqrt(variance)
    level = np.where(good, off, np.nan)
    scatter = robust_sigma(level.T)
    size = np.where(good, np.abs(off) / np.fmax(scatter, 1.0)[:, None], 0.0)
    return np.asarray((size > clip) & (size == size.max(axis=0)))


def gaussian_profile(shape: tuple[int, int], centre: Float, sigma: Float, window: Mask) -> Float:
    """Pixel-integrated Gaussian about centre (nx,) of width sigma (nx,), of unit sum over the window's rows of each column.

    >>> profile = gaussian_profile((5, 1), np.array([2.0]), np.array([1.0]), np.ones((5, 1), bool))
    >>> profile.sum().round(12), profile.ravel().round(4)
    (np.float64(1.0), array([0.0614, 0.2448, 0.3877, 0.2448, 0.0614]))
    """
    edges = (np.arange(shape[0] + 1)[:, None] - 0.5 - centre) / (sigma * math.sqrt(2.0))
    profile = np.where(window, np.diff(erf(edges), axis=0), 0.0)
    return np.asarray(profile / np.maximum(profile.sum(axis=0), 1e-300))


def optimal_weights(profile: Float, variance: Float, masked: Mask) -> Float:
    """Horne (1986, eq. 8) weights ``(P/V) / Σ_y P²/V`` over unmasked pixels; NaN where a column has none.

    `variance` is the model's (read noise plus the profile's own photons), never the data's: weights that
    follow the data's noise bias the flux.

    >>> profile = np.array([[0.25], [0.5], [0.25]])
    >>> weights = optimal_weights(profile, np.ones((3, 1)), np.zeros((3, 1), bool))
    >>> (weights * 1000.0 * profile).sum().round(9)  # a column of 1000 electrons
    np.float64(1000.0)
    """
    weight = np.where(masked, 0.0, profile / variance)
    norm = (weight * profile).sum(axis=0)
    usable = norm > 0
    return weight / np.where(usable, norm, np.nan)
