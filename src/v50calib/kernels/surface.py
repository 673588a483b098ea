"""Large-scale surfaces of a detector map: they separate an illumination pattern from the response of single pixels."""

from __future__ import annotations

import numpy as np
from numpy.polynomial import legendre
from scipy.interpolate import LSQBivariateSpline
from scipy.ndimage import gaussian_filter

from v50calib.kernels.arrays import Float, Mask
from v50calib.kernels.least_squares import least_squares


def poly2d_design(shape: tuple[int, int], degree: int) -> Float:
    """Legendre products P_i(y) P_j(x), i + j <= degree, on [-1, 1] each way: (ny*nx, terms), constant first.

    >>> poly2d_design((2, 2), 1)  # 1, x, y of the four pixels
    array([[ 1., -1., -1.],
           [ 1.,  1., -1.],
           [ 1., -1.,  1.],
           [ 1.,  1.,  1.]])
    """
    y, x = (np.linspace(-1.0, 1.0, n) if n > 1 else np.zeros(1) for n in shape)
    by, bx = legendre.legvander(y, degree), legendre.legvander(x, degree)
    terms = [np.outer(by[:, i], bx[:, j]).ravel() for i in range(degree + 1) for j in range(degree + 1 - i)]
    return np.stack(terms, axis=1)


def fit_poly2d(image: Float, good: Mask, degree: int) -> Float:
    """Least-squares polynomial surface (ny, nx) through the good pixels.

    >>> y, x = np.mgrid[:4, :5].astype(float)
    >>> plane, good = 2.0 + y - 0.5 * x, (y != 1) | (x != 2)
    >>> bool(np.abs(fit_poly2d(np.where(good, plane, 99.0), good, 1) - plane).max() < 1e-12)
    True
    """
    design = poly2d_design((image.shape[0], image.shape[1]), degree)
    use = good.ravel()
    solution = least_squares(design[use], image.ravel()[use])
    return (design @ solution).reshape(image.shape)


def fit_spline2d(image: Float, good: Mask, knots: int) -> Float:
    """Least-squares bicubic spline (ny, nx) with `knots` inner knots each way, through the good pixels.

    >>> y, x = np.mgrid[:12, :12].astype(float)
    >>> cubic = 1.0 + 1e-3 * y**3 - 1e-2 * x**2
    >>> bool(np.abs(fit_spline2d(cubic, y >= 0, 1) - cubic).max() < 1e-9)
    True
    """
    ny, nx = image.shape
    y, x = np.nonzero(good)
    inner = [np.linspace(0, n - 1, knots + 2)[1:-1] for n in (ny, nx)]
    spline = LSQBivariateSpline(y, x, image[good], *inner, bbox=[0, ny - 1, 0, nx - 1])
    return np.asarray(spline(np.arange(ny), np.arange(nx)), dtype=np.float64)


def smooth_gaussian(image: Float, good: Mask, sigma: float) -> Float:
    """Gaussian-weighted mean (ny, nx) of the good pixels about each, sigma in px; 1 where none is within reach.

    >>> image, good = np.full((9, 9), 2.0), np.ones((9, 9), bool)
    >>> image[4, 4], good[4, 4] = 99.0, False
    >>> smooth_gaussian(image, good, 2.0)[4, 4].round(12)
    np.float64(2.0)
    """
    weight = gaussian_filter(good.astype(np.float64), sigma, mode="constant")
    total = gaussian_filter(np.where(good, image, 0.0), sigma, mode="constant")
    return np.where(weight > 1e-12, total / np.maximum(weight, 1e-12), 1.0)


def large_scale(image: Float, good: Mask, *, method: str, scale: float, sigma_clip: float | None, max_iters: int) -> Float:
    """Surface of a map by `poly2d` (scale: degree), `spline2d` (inner knots) or `gaussian` (sigma, px).

    sigma_clip  pixels whose residual is further than this many 1.4826·MAD from the median are left out and the surface
                is fitted again, at most max_iters times (None: once, with all good pixels)

    >>> y, x = np.mgrid[:8, :8].astype(float)
    >>> plane = 1.0 + 0.01 * y
    >>> flat = np.where((y == 3) & (x == 5), 9.0, plane + 1e-4 * (-1.0) ** x)  # one pixel that responds too much
    >>> bool(np.abs(large_scale(flat, y >= 0, method="poly2d", scale=1, sigma_clip=5.0, max_iters=5) - plane).max() < 1e-4)
    True
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
