"""Point-spread functions and their fit to many frames: pixel-integrated Gaussian, Moffat, and an empirical image.

A PSF has unit sum over the infinite plane (empirical: over its own image), so that a fitted amplitude is a flux.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import spline_filter
from scipy.optimize import least_squares

from v50calib.kernels.arrays import Float
from v50calib.kernels.compiler import nb
from v50calib.kernels.linear import solve_positive

_jit = nb.njit(cache=True, nogil=True, boundscheck=False)

#: models; shape parameters (sigma_y, sigma_x) px, (gamma px, beta), or none
GAUSSIAN, MOFFAT, EMPIRICAL = range(3)
#: a fit has converged when its position moves less than this, px
TOLERANCE_PX = 1e-10
MAX_STEPS = 40
#: pixels by which an empirical table is larger than its image on each side
PAD = 2
#: Gauss-Legendre rule on a pixel
_NODES, _WEIGHTS = (0.5 * v for v in np.polynomial.legendre.leggauss(5))


@_jit
def _gaussian_axis(centre: float, sigma: float, value: Float, slope: Float) -> None:
    """Pixel integrals of a unit normal about `centre` and their derivative with respect to it."""
    scale = 1.0 / (sigma * math.sqrt(2.0))
    peak = 1.0 / (sigma * math.sqrt(2.0 * math.pi))
    u = (-0.5 - centre) * scale
    low, edge = math.erf(u), math.exp(-u * u)
    for k in range(value.size):
        u = (k + 0.5 - centre) * scale
        high, far = math.erf(u), math.exp(-u * u)
        value[k] = 0.5 * (high - low)
        slope[k] = -peak * (far - edge)
        low, edge = high, far


@_jit
def _moffat(cy: float, cx: float, gamma: float, beta: float, value: Float, by_y: Float, by_x: Float) -> None:
    norm = (beta - 1.0) / (math.pi * gamma * gamma)
    for y in range(value.shape[0]):
        for x in range(value.shape[1]):
            p = gy = gx = 0.0
            for j in range(_NODES.size):
                dy = y + _NODES[j] - cy
                for i in range(_NODES.size):
                    dx = x + _NODES[i] - cx
                    base = 1.0 + (dy * dy + dx * dx) / (gamma * gamma)
                    f = _WEIGHTS[j] * _WEIGHTS[i] * norm * base ** (-beta)
                    g = 2.0 * beta * f / (base * gamma * gamma)
                    p, gy, gx = p + f, gy + g * dy, gx + g * dx
            value[y, x], by_y[y, x], by_x[y, x] = p, gy, gx


@_jit
def _cubic(t: float, value: Float, slope: Float) -> None:
    """The four cubic B-spline weights at fraction t of an interval, and their derivatives."""
    s = 1.0 - t
    value[0], value[3] = s * s * s / 6.0, t * t * t / 6.0
    value[1] = 2.0 / 3.0 - t * t + 0.5 * t * t * t
    value[2] = 2.0 / 3.0 - s * s + 0.5 * s * s * s
    slope[0], slope[3] = -0.5 * s * s, 0.5 * t * t
    slope[1], slope[2] = -2.0 * t + 1.5 * t * t, 2.0 * s - 1.5 * s * s


@_jit
def _empirical(cy: float, cx: float, table: Float, value: Float, by_y: Float, by_x: Float) -> None:
    """The image of B-spline coefficients `table` moved by (cy, cx); zero beyond its edge."""
    ny, nx = table.shape
    wy, wx, sy, sx = np.empty(4), np.empty(4), np.empty(4), np.empty(4)
    fy, fx = math.floor(-cy), math.floor(-cx)
    _cubic(-cy - fy, wy, sy)
    _cubic(-cx - fx, wx, sx)
    for y in range(value.shape[0]):
        for x in range(value.shape[1]):
            p = gy = gx = 0.0
            for j in range(4):
                v = y + fy + j - 1 + PAD
                if v < 0 or v >= ny:
                    continue
                for i in range(4):
                    u = x + fx + i - 1 + PAD
                    if 0 <= u < nx:
                        c = table[v, u]
                        p, gy, gx = p + wy[j] * wx[i] * c, gy - sy[j] * wx[i] * c, gx - wy[j] * sx[i] * c
            value[y, x], by_y[y, x], by_x[y, x] = p, gy, gx


@_jit
def evaluate(model: int, shape: Float, table: Float, cy: float, cx: float, value: Float, by_y: Float, by_x: Float) -> None:
    """Fill value (ny, nx) with the PSF centred on (cy, cx) (EMPIRICAL: moved by it), and its derivatives by the centre.

    >>> value, by_y, by_x = np.empty((21, 21)), np.empty((21, 21)), np.empty((21, 21))
    >>> evaluate(GAUSSIAN, np.array([1.0, 2.0]), np.zeros((1, 1)), 10.2, 9.7, value, by_y, by_x)
    >>> value.sum().round(6), by_y.sum().round(6) + 0.0  # all light is on the stamp, wherever the centre is
    (np.float64(1.0), np.float64(0.0))
    """
    if model == GAUSSIAN:
        ny, nx = value.shape
        py, gy, px, gx = np.empty(ny), np.empty(ny), np.empty(nx), np.empty(nx)
        _gaussian_axis(cy, shape[0], py, gy)
        _gaussian_axis(cx, shape[1], px, gx)
        for y in range(ny):
            for x in range(nx):
                value[y, x], by_y[y, x], by_x[y, x] = py[y] * px[x], gy[y] * px[x], py[y] * gx[x]
    elif model == MOFFAT:
        _moffat(cy, cx, shape[0], shape[1], value, by_y, by_x)
    else:
        _empirical(cy, cx, table, value, by_y, by_x)


@_jit
def fit_frames(
    stamps: Float, inverse: Float, model: int, shape: Float, table: Float, start: Float, reach: float, out: Float, good: NDArray[np.bool_]
) -> None:
    """Flux and centre of a PSF of fixed shape in each stamp (n, ny, nx) by weighted least squares (Gauss-Newton, damped).

    inverse (ny, nx): 1/V of the model (0: pixel not used), the same for every stamp, so the flux is not biased by its own noise.
    start (2,) [y, x]; a centre further than reach px from it, or no convergence, leaves good False. out (n, 3): flux, y, x.

    >>> width, none = np.array([1.0, 1.2]), np.zeros((1, 1))
    >>> stamp, out, good = 500.0 * image(GAUSSIAN, width, none, (4.1, 3.8), (9, 9)), np.empty((1, 3)), np.empty(1, bool)
    >>> fit_frames(stamp[None], np.ones((9, 9)), GAUSSIAN, width, none, np.array([4.0, 4.0]), 2.0, out, good)
    >>> out.round(6), good
    (array([[500. ,   4.1,   3.8]]), array([ True]))
    """
    ny, nx = stamps.shape[1:]
    value, by_y, by_x = np.empty((ny, nx)), np.empty((ny, nx)), np.empty((ny, nx))
    normal, right, step = np.empty((3, 3)), np.empty(3), np.empty(3)
    for i in range(stamps.shape[0]):
        cy, cx, good[i] = start[0], start[1], False
        flux = 0.0
        for k in range(MAX_STEPS):
            evaluate(model, shape, table, cy, cx, value, by_y, by_x)
            # the flux is linear: solved first at the present centre, then jointly with a step of the centre
            top = bottom = 0.0
            for y in range(ny):
                for x in range(nx):
                    top += inverse[y, x] * value[y, x] * stamps[i, y, x]
                    bottom += inverse[y, x] * value[y, x] * value[y, x]
            if not bottom > 0.0:
                break
            flux = top / bottom
            normal[:] = 0.0
            right[:] = 0.0
            for y in range(ny):
                for x in range(nx):
                    w, p, gy, gx = inverse[y, x], value[y, x], flux * by_y[y, x], flux * by_x[y, x]
                    r = w * (stamps[i, y, x] - flux * p)
                    right[1] += r * gy
                    right[2] += r * gx
                    normal[0, 0] += w * p * p
                    normal[1, 0] += w * p * gy
                    normal[2, 0] += w * p * gx
                    normal[1, 1] += w * gy * gy
                    normal[2, 1] += w * gy * gx
                    normal[2, 2] += w * gx * gx
            if not solve_positive(normal, right, step):
                break
            size = math.sqrt(step[1] ** 2 + step[2] ** 2)
            if size < TOLERANCE_PX:
                good[i] = flux > 0.0
                break
            scale = min(1.0, 0.5 / size) * (1.0 if k < MAX_STEPS // 2 else 0.5)
            cy, cx = cy + scale * step[1], cx + scale * step[2]
            if math.sqrt((cy - start[0]) ** 2 + (cx - start[1]) ** 2) > reach:
                break
        out[i, 0], out[i, 1], out[i, 2] = flux, cy, cx


def image(model: int, shape: Float, table: Float, centre: tuple[float, float], size: tuple[int, int]) -> Float:
    """The PSF on a grid of pixels (see `evaluate`).

    >>> image(GAUSSIAN, np.array([1.0, 1.0]), np.zeros((1, 1)), (10.2, 9.7), (21, 21)).sum().round(6)
    np.float64(1.0)
    """
    value, by_y, by_x = np.empty(size), np.empty(size), np.empty(size)
    evaluate(model, shape, table, centre[0], centre[1], value, by_y, by_x)
    return value


def spline_table(stamp: Float) -> Float:
    """B-spline coefficients of an image of unit sum, zero beyond its edge, for the EMPIRICAL model.

    Coefficients reach two pixels past the image, so that it is exact at rest up to the border too.

    >>> stamp = image(GAUSSIAN, np.array([1.0, 1.0]), np.zeros((1, 1)), (5.0, 5.0), (11, 11))
    >>> still = image(EMPIRICAL, np.zeros(0), spline_table(stamp), (0.0, 0.0), (11, 11))
    >>> bool(np.abs(still - stamp / stamp.sum()).max() < 1e-12)
    True
    """
    padded = np.pad(stamp / stamp.sum(), 12)
    cut = slice(12 - PAD, PAD - 12)
    return np.ascontiguousarray(spline_filter(padded, order=3, mode="mirror")[cut, cut])


def fit_shape(
    stamp: Float, inverse: Float, model: int, start: tuple[float, float, float, float, float], lower: list[float], upper: list[float]
) -> tuple[Float, tuple[float, float], float, bool]:
    """Shape parameters, centre and flux of a Gaussian or Moffat PSF on a mean image, all free within bounds.

    start, lower, upper: (flux, y, x, and the two shape parameters). Weighted least squares; False where it does not converge.

    >>> stamp = 500.0 * image(GAUSSIAN, np.array([1.0, 1.2]), np.zeros((1, 1)), (4.1, 3.8), (9, 9))
    >>> low, high = [0.0, 0.0, 0.0, 0.3, 0.3], [1e4, 8.0, 8.0, 5.0, 5.0]
    >>> shape, centre, flux, good = fit_shape(stamp, np.ones((9, 9)), GAUSSIAN, (400.0, 4.0, 4.0, 1.5, 1.5), low, high)
    >>> shape.round(6), np.round(centre, 6), round(flux, 6), good
    (array([1. , 1.2]), array([4.1, 3.8]), 500.0, True)
    """
    root, empty = np.sqrt(inverse), np.zeros((1, 1))
    unit = np.array([max(abs(start[0]), 1.0), 1.0, 1.0, 1.0, 1.0])

    def residual(p: Float) -> Float:
        q = p * unit
        return np.asarray((root * (q[0] * image(model, q[3:], empty, (q[1], q[2]), (stamp.shape[0], stamp.shape[1])) - stamp)).ravel())

    bounds = (np.array(lower) / unit, np.array(upper) / unit)
    first = np.clip(np.array(start) / unit, bounds[0] + 1e-9, bounds[1] - 1e-9)
    found = least_squares(residual, first, bounds=bounds, xtol=1e-14, ftol=1e-14, gtol=1e-14, max_nfev=300, x_scale="jac")
    p = found.x * unit
    return np.ascontiguousarray(p[3:]), (float(p[1]), float(p[2])), float(p[0]), bool(found.success or found.status == 0)
