"""Static extraction weights: apertures, optimal extraction, and repair of masked pixels.

Everything returns maps (ny, nx) of weights w such that a flux is ``Σ w·cds``: the hot loop then is one
weighted sum whatever the method (`fused.weighted_column_sums`).
"""

from __future__ import annotations

import itertools
import math

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]
Mask = NDArray[np.bool_]

#: half a pixel's diagonal, and a little for rounding
HALF_DIAGONAL = 0.7072


def _disc_strip(x0: float, x1: float, y0: float, y1: float, radius: float) -> float:
    """Area shared by the rectangle [x0, x1] x [y0, y1] and the disc about the origin, exactly.

    Integrates the clipped chord over x; between the breakpoints it is a constant or ``±sqrt(r² - x²)``.
    """
    x0, x1 = max(x0, -radius), min(x1, radius)
    if x1 <= x0:
        return 0.0
    crossings = [s * math.sqrt(radius**2 - y**2) for y in (y0, y1) if abs(y) < radius for s in (-1, 1)]
    knots = sorted({x0, x1, *(c for c in crossings if x0 < c < x1)})

    def half_disc(x: float) -> float:
        x = min(max(x / radius, -1.0), 1.0)
        return 0.5 * radius**2 * (x * math.sqrt(1 - x * x) + math.asin(x))

    area = 0.0
    for a, b in itertools.pairwise(knots):
        chord = math.sqrt(max(radius**2 - (0.5 * (a + b)) ** 2, 0.0))
        top = half_disc(b) - half_disc(a) if chord < y1 else y1 * (b - a)
        bottom = -(half_disc(b) - half_disc(a)) if -chord > y0 else y0 * (b - a)
        if chord > y0 and -chord < y1:
            area += top - bottom
    return area


def circular_aperture(shape: tuple[int, int], centre: tuple[float, float], radius: float) -> Float:
    """Exact overlap (0-1) of each pixel with a circle; centre (y, x) in pixel indices, radius in px."""
    ny, nx = shape
    cy, cx = centre
    out = np.zeros(shape)
    for y in range(max(0, math.floor(cy - radius)), min(ny, math.ceil(cy + radius) + 1)):
        for x in range(max(0, math.floor(cx - radius)), min(nx, math.ceil(cx + radius) + 1)):
            if math.hypot(y - cy, x - cx) + HALF_DIAGONAL <= radius:
                out[y, x] = 1.0
                continue
            out[y, x] = _disc_strip(x - 0.5 - cx, x + 0.5 - cx, y - 0.5 - cy, y + 0.5 - cy, radius)
    return out


def interval_overlap(n: int, low: float, high: float) -> Float:
    """Overlap (0-1) of pixels 0..n-1 (each ±0.5) with the interval [low, high]."""
    index = np.arange(n, dtype=np.float64)
    return np.clip(np.minimum(index + 0.5, high) - np.maximum(index - 0.5, low), 0.0, 1.0)


def box_aperture(shape: tuple[int, int], centre: tuple[float, float], size: tuple[float, float]) -> Float:
    """Exact overlap of each pixel with a box of size (height, width) px."""
    rows = interval_overlap(shape[0], centre[0] - size[0] / 2, centre[0] + size[0] / 2)
    columns = interval_overlap(shape[1], centre[1] - size[1] / 2, centre[1] + size[1] / 2)
    return rows[:, None] * columns[None, :]


def barycenter(image: Float, masked: Mask, *, half_width: int = 6) -> tuple[float, float]:
    """Flux-weighted centre (y, x) about the brightest 3x3 block, iterated twice; masked pixels are left out."""
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
        solution = np.linalg.lstsq(basis * weight[:, None], np.log(values) * weight, rcond=None)[0]
        out[y, x] = min(math.exp(solution[0]), 2.0 * float(values.max()))
    return out


def redistribute_masked(maps: Float, masked: Mask, image: Float) -> tuple[Float, Mask]:
    """Move the weight of masked pixels to their neighbours so that neither flux nor pointing changes it.

    For a masked pixel d the smallest coefficients a_j on its good 5x5 neighbours are found with
    ``Σ a_j·I_j = I_d`` and ``Σ a_j·∇I_j = ∇I_d`` (I: the filled mean image): the estimate then follows a
    change of flux exactly and a shift of the image to first order. maps (m, ny, nx); returns new maps
    and where weight was moved (FLUX_ESTIMATED).
    """
    filled = fill_masked(image, masked)
    gy, gx = np.gradient(filled, axis=0), np.gradient(filled, axis=1)
    out = maps.copy()
    moved = masked & (maps != 0).any(axis=0)
    ny, nx = image.shape
    for y, x in np.argwhere(moved):
        ys, xs = np.mgrid[max(0, y - 2) : min(ny, y + 3), max(0, x - 2) : min(nx, x + 3)]
        keep = ~masked[ys, xs]
        ys, xs = ys[keep], xs[keep]
        if ys.size:
            system = np.stack([filled[ys, xs], gy[ys, xs], gx[ys, xs]])
            target = np.array([filled[y, x], gy[y, x], gx[y, x]])
            share = np.asarray(np.linalg.lstsq(system, target, rcond=None)[0])
            for m in range(len(out)):
                out[m, ys, xs] += share * maps[m, y, x]
        out[:, y, x] = 0.0
    return out, moved


def rescale_masked_columns(weights: Float, masked: Mask, profile: Float) -> Float:
    """Zero masked pixels and scale each column by ``Σ w·P / Σ_good w·P``: a missing pixel keeps the flux."""
    kept = np.where(masked, 0.0, weights)
    whole, rest = (weights * profile).sum(axis=0), (kept * profile).sum(axis=0)
    usable = rest > 0
    return kept * np.where(usable, whole / np.where(usable, rest, 1.0), np.nan)


def spatial_profile(image: Float, variance: Float, masked: Mask, rows: slice, *, degree: int = 5, fit: slice = slice(None)) -> Float:
    """Normalized spatial profile P (ny, nx), Σ_y P = 1 over `rows`: Horne (1986) step 5.

    Each row's fraction of the column flux is a Chebyshev polynomial of the column, fitted with inverse
    variances to the mean image over the columns `fit`; masked pixels take no part and get the polynomial's value.
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
    inside = np.clip(scaled, scaled[columns[0]], scaled[columns[-1]])
    everywhere = np.polynomial.chebyshev.chebvander(inside, degree)
    inverse = np.where(good, 1.0 / variance, 0.0)[:, columns]
    for _ in range(3):
        flux = np.where(good, image, 0.0).sum(axis=0) / np.maximum(np.where(good, profile, 0.0).sum(axis=0), 1e-12)
        bright = np.maximum(flux[columns], 0.0)
        weight = inverse * bright**2
        enough = (weight > 0).sum(axis=1) > degree
        normal = np.einsum("ck,yc,cl->ykl", basis, weight, basis, optimize=True)
        right = (weight * image[:, columns] / np.maximum(bright, 1e-12)) @ basis
        unit = np.maximum(np.trace(normal, axis1=1, axis2=2), 1e-300)
        solution = np.einsum("ykl,yl->yk", np.linalg.pinv(normal / unit[:, None, None], hermitian=True), right / unit[:, None])
        new = np.where(enough[:, None] & window, np.maximum(solution @ everywhere.T, 0.0), np.where(window, profile, 0.0))
        profile = new / np.maximum(new.sum(axis=0), 1e-12)
    return profile


def optimal_weights(profile: Float, variance: Float, masked: Mask) -> Float:
    """Horne (1986, eq. 8) weights ``(P/V) / Σ_y P²/V`` over unmasked pixels; NaN where a column has none.

    `variance` is the model's (read noise plus the profile's own photons), never the data's: weights that
    follow the data's noise bias the flux.
    """
    weight = np.where(masked, 0.0, profile / variance)
    norm = (weight * profile).sum(axis=0)
    usable = norm > 0
    return weight / np.where(usable, norm, np.nan)
