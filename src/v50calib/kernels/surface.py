"""Large-scale surfaces of a detector map: what distinguishes an illumination pattern from pixel response."""

from __future__ import annotations

import numpy as np
from numpy.polynomial import legendre
from scipy.interpolate import LSQBivariateSpline
from scipy.ndimage import gaussian_filter

from v50calib.kernels.arrays import Float, Mask


def poly2d_design(shape: tuple[int, int], degree: int) -> Float:
    """Legendre products P_i(y) P_j(x), i + j <= degree, on [-1, 1] each way: (ny*nx, terms), constant first."""
    y, x = (np.linspace(-1.0, 1.0, n) if n > 1 else np.zeros(1) for n in shape)
    by, bx = legendre.legvander(y, degree), legendre.legvander(x, degree)
    terms = [np.outer(by[:, i], bx[:, j]).ravel() for i in range(degree + 1) for j in range(degree + 1 - i)]
    return np.stack(terms, axis=1)


def fit_poly2d(image: Float, good: Mask, degree: int) -> Float:
    """Least-squares polynomial surface (ny, nx) through the good pixels."""
    design = poly2d_design((image.shape[0], image.shape[1]), degree)
    use = good.ravel()
    solution = np.linalg.lstsq(design[use], image.ravel()[use], rcond=None)[0]
    return (design @ solution).reshape(image.shape)


def fit_spline2d(image: Float, good: Mask, knots: int) -> Float:
    """Least-squares bicubic spline (ny, nx) with `knots` inner knots each way, through the good pixels."""
    ny, nx = image.shape
    y, x = np.nonzero(good)
    inner = [np.linspace(0, n - 1, knots + 2)[1:-1] for n in (ny, nx)]
    spline = LSQBivariateSpline(y, x, image[good], *inner, bbox=[0, ny - 1, 0, nx - 1])
    return np.asarray(spline(np.arange(ny), np.arange(nx)), dtype=np.float64)


def smooth_gaussian(image: Float, good: Mask, sigma: float) -> Float:
    """Gaussian-weighted mean (ny, nx) of the good pixels about each, sigma in px; 1 where none is within reach."""
    weight = gaussian_filter(good.astype(np.float64), sigma, mode="constant")
    total = gaussian_filter(np.where(good, image, 0.0), sigma, mode="constant")
    return np.where(weight > 1e-12, total / np.maximum(weight, 1e-12), 1.0)


def large_scale(image: Float, good: Mask, *, method: str, scale: float, sigma_clip: float | None, max_iters: int) -> Float:
    """Surface of a map by `poly2d` (scale: degree), `spline2d` (inner knots) or `gaussian` (sigma, px).

    sigma_clip  pixels whose residual is further than that many 1.4826·MAD off the median are left out and the surface
                is fitted again, at most max_iters times (None: once, with all good pixels)
    """

    def fitted(use: Mask) -> Float:
        if method == "poly2d":
            return fit_poly2d(image, use, int(scale))
        if method == "spline2d":
            return fit_spline2d(image, use, int(scale))
        return smooth_gaussian(image, use, scale)

    use = good
    surface = fitted(use)
    for _ in range(max_iters if sigma_clip is not None else 0):
        residual = image - surface
        centre = np.median(residual[use])
        spread = 1.4826022185056018 * np.median(np.abs(residual[use] - centre))
        new = good & (np.abs(residual - centre) <= float(sigma_clip or 0.0) * spread) if spread > 0 else use
        if (new == use).all():
            break
        use = new
        surface = fitted(use)
    return surface
