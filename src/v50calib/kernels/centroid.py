"""Position of a star in each of many stamps, compiled. A stamp without a star gives NaN, never a guess.

All take background-subtracted stamps (n, ny, nx) and fill out (n, 2) with (y, x) in the stamp's pixel indices.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from v50calib.kernels.arrays import Float
from v50calib.kernels.compiler import nb
from v50calib.kernels.linear import solve_positive

_jit = nb.njit(cache=True, nogil=True, boundscheck=False)

#: a Gaussian fit has converged when its position moves less than this, px
TOLERANCE_PX = 1e-9
MAX_STEPS = 60


@_jit
def peak(stamps: Float, out: Float) -> None:
    """The brightest pixel of each stamp.

    >>> out = np.empty((1, 2))
    >>> peak(np.array([[[0.0, 1.0], [5.0, 2.0]]]), out)
    >>> out
    array([[1., 0.]])
    """
    nx = stamps.shape[2]
    for i in range(stamps.shape[0]):
        best = np.argmax(stamps[i])
        out[i, 0], out[i, 1] = best // nx, best % nx


@_jit
def quadratic(stamps: Float, out: Float) -> None:
    """Maximum of the 2-D quadratic fitted to the 3x3 pixels about the brightest (Vakili & Hogg 2016, arXiv:1610.05873).

    The least-squares coefficients on the 3x3 grid in closed form. NaN where the brightest pixel is at the
    stamp's edge, the surface has no maximum, or it lies outside the stamp.

    >>> y, x = np.mgrid[:5, :5]
    >>> out = np.empty((1, 2))
    >>> quadratic((10.0 - (y - 2.25) ** 2 - 2.0 * (x - 1.875) ** 2)[None], out)
    >>> out.round(12)
    array([[2.25 , 1.875]])
    """
    ny, nx = stamps.shape[1:]
    for i in range(stamps.shape[0]):
        out[i] = np.nan
        best = np.argmax(stamps[i])
        y0, x0 = best // nx, best % nx
        if y0 in (0, ny - 1) or x0 in (0, nx - 1):
            continue
        c10, c01, c11, rows, columns, total = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
        for v in range(-1, 2):
            for u in range(-1, 2):
                z = stamps[i, y0 + v, x0 + u]
                total += z
                c10 += u * z / 6.0
                c01 += v * z / 6.0
                c11 += u * v * z / 4.0
                columns += u * u * z
                rows += v * v * z
        c20, c02 = columns / 2.0 - total / 3.0, rows / 2.0 - total / 3.0
        det = 4.0 * c20 * c02 - c11 * c11
        if det <= 0.0 or c20 > 0.0:
            continue
        x, y = x0 + (c01 * c11 - 2.0 * c02 * c10) / det, y0 + (c10 * c11 - 2.0 * c20 * c01) / det
        if 0.0 < x < nx - 1.0 and 0.0 < y < ny - 1.0:
            out[i, 0], out[i, 1] = y, x


@_jit
def _moments(stamp: Float, p: Float) -> bool:
    """Start of the fit from the moments of the stamp above its lowest pixel: A, y, x and the inverse covariance."""
    low, high = stamp.min(), stamp.max()
    s = sy = sx = 0.0
    for y in range(stamp.shape[0]):
        for x in range(stamp.shape[1]):
            z = stamp[y, x] - low
            s, sy, sx = s + z, sy + z * y, sx + z * x
    if not s > 0.0:
        return False
    cy, cx = sy / s, sx / s
    yy = xx = 0.0
    for y in range(stamp.shape[0]):
        for x in range(stamp.shape[1]):
            z = (stamp[y, x] - low) / s
            yy, xx = yy + z * (y - cy) ** 2, xx + z * (x - cx) ** 2
    # the pedestal left in the stamp widens the moments: start narrower
    p[0], p[1], p[2] = high, cy, cx
    p[3], p[4], p[5] = 3.0 / max(yy, 0.1), 0.0, 3.0 / max(xx, 0.1)
    return True


@_jit
def _gaussian_step(stamp: Float, p: Float, normal: Float, right: Float) -> float:
    """Sum of squared residuals at p = (A, y, x, a, b, c); fills the normal equations of a Gauss-Newton step.

    Model ``A exp(-(a dy² + 2 b dy dx + c dx²) / 2)``.
    """
    normal[:] = 0.0
    right[:] = 0.0
    g = np.empty(6)
    chi = 0.0
    for y in range(stamp.shape[0]):
        dy = y - p[1]
        for x in range(stamp.shape[1]):
            dx = x - p[2]
            e = math.exp(-0.5 * (p[3] * dy * dy + 2.0 * p[4] * dy * dx + p[5] * dx * dx))
            model = p[0] * e
            g[0], g[1], g[2] = e, model * (p[3] * dy + p[4] * dx), model * (p[5] * dx + p[4] * dy)
            g[3], g[4], g[5] = -0.5 * model * dy * dy, -model * dy * dx, -0.5 * model * dx * dx
            r = stamp[y, x] - model
            chi += r * r
            for j in range(6):
                right[j] += g[j] * r
                for k in range(j + 1):
                    normal[j, k] += g[j] * g[k]
    return chi


@_jit
def gaussian2d(stamps: Float, out: Float) -> None:
    """Centre of an elliptical Gaussian fitted by unweighted least squares (Levenberg-Marquardt), as `photutils.centroid_2dg`.

    NaN where the fit does not converge or its centre leaves the stamp.

    >>> y, x = np.mgrid[:9, :9]
    >>> out = np.empty((1, 2))
    >>> gaussian2d(100.0 * np.exp(-0.5 * ((y - 4.3) ** 2 + (x - 3.9) ** 2))[None], out)
    >>> out.round(6)
    array([[4.3, 3.9]])
    """
    ny, nx = stamps.shape[1:]
    p, trial, step, right, spare = np.empty(6), np.empty(6), np.empty(6), np.empty(6), np.empty(6)
    normal, damped = np.empty((6, 6)), np.empty((6, 6))
    for i in range(stamps.shape[0]):
        out[i] = np.nan
        if not _moments(stamps[i], p):
            continue
        chi = _gaussian_step(stamps[i], p, normal, right)
        damping, done = 1e-3, False
        for _ in range(MAX_STEPS):
            for j in range(6):
                for k in range(j + 1):
                    damped[j, k] = normal[j, k]
                damped[j, j] = normal[j, j] * (1.0 + damping)
            if not solve_positive(damped, right, step):
                damping *= 10.0
                continue
            for j in range(6):
                trial[j] = p[j] + step[j]
            valid = trial[3] > 0.0 and trial[5] > 0.0 and trial[3] * trial[5] > trial[4] ** 2
            tested = _gaussian_step(stamps[i], trial, damped, spare) if valid else np.inf
            small = abs(step[1]) < TOLERANCE_PX and abs(step[2]) < TOLERANCE_PX
            if tested <= chi:
                p[:] = trial
                chi = _gaussian_step(stamps[i], p, normal, right)
                damping = max(damping * 0.1, 1e-12)
            else:
                damping *= 10.0
            if small:
                done = True
                break
        if done and 0.0 <= p[1] <= ny - 1.0 and 0.0 <= p[2] <= nx - 1.0:
            out[i, 0], out[i, 1] = p[1], p[2]


@_jit
def _climb(cross: NDArray[np.complex128], ky: Float, kx: Float, dy: float, dx: float) -> tuple[float, float, bool]:
    """Newton's method to the maximum of ``Re Σ cross exp(i(ky dy + kx dx))`` from (dy, dx)."""
    for _ in range(MAX_STEPS):
        gy = gx = hyy = hxx = hxy = 0.0
        for j in range(ky.size):
            row = complex(math.cos(ky[j] * dy), math.sin(ky[j] * dy))
            for k in range(kx.size):
                c = cross[j, k] * row * complex(math.cos(kx[k] * dx), math.sin(kx[k] * dx))
                gy -= ky[j] * c.imag
                gx -= kx[k] * c.imag
                hyy -= ky[j] * ky[j] * c.real
                hxx -= kx[k] * kx[k] * c.real
                hxy -= ky[j] * kx[k] * c.real
        det = hyy * hxx - hxy * hxy
        if not (det > 0.0 and hyy < 0.0):
            return np.nan, np.nan, False
        sy, sx = -(hxx * gy - hxy * gx) / det, -(hyy * gx - hxy * gy) / det
        dy, dx = dy + sy, dx + sx
        if abs(sy) < TOLERANCE_PX and abs(sx) < TOLERANCE_PX:
            return dy, dx, True
    return np.nan, np.nan, False


@_jit
def _climb_all(cross: NDArray[np.complex128], ky: Float, kx: Float, start: Float, out: Float) -> None:
    for i in range(cross.shape[0]):
        dy, dx, good = _climb(cross[i], ky, kx, start[i, 0], start[i, 1])
        if good and abs(dy - start[i, 0]) < 1.0 and abs(dx - start[i, 1]) < 1.0:
            out[i, 0], out[i, 1] = dy, dx
        else:
            out[i] = np.nan


def correlation_shift(stamps: Float, reference: Float) -> Float:
    """Shift (n, 2) [dy, dx] px of stamps against reference (ny, nx): maximum of their cross-correlation.

    The limit of the up-sampled correlation of Guizar-Sicairos et al. (2008, Opt. Lett. 33, 156): from the peak of
    the FFT correlation, Newton's method on its trigonometric interpolation. No phase normalization: for white noise the
    plain correlation is the maximum-likelihood shift. NaN where there is no maximum within a pixel of the peak.

    >>> y, x = np.mgrid[:17, :17]
    >>> star = lambda cy, cx: np.exp(-0.25 * ((y - cy) ** 2 + (x - cx) ** 2))
    >>> correlation_shift(star(8.25, 7.9)[None], star(8.0, 8.0)).round(6)
    array([[ 0.25, -0.1 ]])
    """
    ny, nx = reference.shape
    ky, kx = (np.asarray(2.0 * np.pi * np.fft.fftfreq(k), np.float64) for k in (ny, nx))
    cross: NDArray[np.complex128] = np.fft.fft2(stamps) * np.conj(np.fft.fft2(reference))
    flat = np.fft.ifft2(cross).real.reshape(len(stamps), -1).argmax(axis=1)
    start = np.stack([(flat // nx + ny // 2) % ny - ny // 2, (flat % nx + nx // 2) % nx - nx // 2], axis=1)
    # the Nyquist term has no sign of its own: it would pull the interpolated maximum to whole pixels
    cross[:, ky == -np.pi] = 0.0
    cross[:, :, kx == -np.pi] = 0.0
    out = np.empty((len(stamps), 2))
    _climb_all(np.ascontiguousarray(cross), ky, kx, start.astype(np.float64), out)
    return out
