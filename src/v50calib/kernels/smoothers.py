"""Linear smoothers of a spectrum along wavelength: polynomial, penalized cubic spline, lowess.

Each is given as its matrix H (n, n): continuum = H @ spectrum. One H serves every frame, and robustness enters
through the weights that H was made with.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
from scipy.interpolate import BSpline

from v50calib.kernels.arrays import Float, Mask

ClipMode = Literal["both", "lower", "upper"]

#: standard deviation of a normal distribution per median absolute deviation
_MAD_TO_SIGMA = 1.4826022185056018


def _projector(basis: Float, weights: Float, penalty: Float | None = None) -> Float:
    """``B (Bᵀ W B + P)⁻¹ Bᵀ W``, by least squares on the weighted rows so that conditioning is not squared."""
    root = np.sqrt(weights)[:, None]
    rows = basis * root
    if penalty is not None:
        value, vector = np.linalg.eigh(penalty)
        rows = np.concatenate([rows, np.sqrt(np.clip(value, 0.0, None))[:, None] * vector.T])
    scale = np.sqrt(np.square(rows).sum(axis=0))
    scale[scale == 0] = 1.0
    inverse = np.linalg.pinv(rows / scale) / scale[:, None]
    return np.asarray(basis @ (inverse[:, : len(basis)] * root.T))


def poly_operator(x: Float, weights: Float, *, degree: int) -> Float:
    """Weighted least-squares polynomial in x (n,), Legendre basis.

    >>> x = np.linspace(1.9, 3.9, 8)
    >>> spectrum = 3.0 - x + 0.5 * x**2
    >>> bool(np.abs(poly_operator(x, np.ones(8), degree=2) @ spectrum - spectrum).max() < 1e-12)  # a parabola is kept
    True
    """
    scaled = 2.0 * (x - x.min()) / max(float(np.ptp(x)), 1e-300) - 1.0
    return _projector(np.polynomial.legendre.legvander(scaled, degree), weights)


def spline_operator(
    x: Float, weights: Float, *, knots: Float, smoothing: float = 0.0, boundary: Literal["free", "natural"] = "natural"
) -> Float:
    """Weighted cubic spline with interior knots (k,); minimizes ``Σ w (y - s)² + smoothing·∫ s''² dx``.

    natural: s'' = 0 at both ends (straight outward), which steadies ends with few points; free: no condition.

    >>> x = np.linspace(0.0, 1.0, 12)
    >>> smooth = spline_operator(x, np.ones(12), knots=np.array([0.3, 0.6]), smoothing=1e3)
    >>> bool(np.abs(smooth @ (2.0 + 3.0 * x) - (2.0 + 3.0 * x)).max() < 1e-9)  # a line has no ∫ s''²
    True
    """
    grid = np.concatenate([[x.min()], np.sort(knots), [x.max()]])
    full = np.concatenate([[grid[0]] * 3, grid, [grid[-1]] * 3])
    n = len(full) - 4
    splines = BSpline(full, np.eye(n), 3)
    basis = splines(x)
    change = np.eye(n)
    if boundary == "natural":
        ends = splines(grid[[0, -1]], nu=2)
        # null space of the two conditions: combinations of B-splines without curvature at the ends
        change = np.linalg.svd(ends / np.abs(ends).max(axis=1, keepdims=True))[2][2:].T
    penalty = smoothing * change.T @ _roughness(splines, grid) @ change if smoothing > 0 else None
    return _projector(basis @ change, weights, penalty)


def _roughness(splines: BSpline, grid: Float) -> Float:
    """∫ B_i'' B_j'' dx, exact: B'' is linear between knots, so two Gauss points an interval suffice."""
    middle, half = 0.5 * (grid[1:] + grid[:-1]), 0.5 * np.diff(grid)
    points = np.concatenate([middle - half / np.sqrt(3.0), middle + half / np.sqrt(3.0)])
    second = splines(points, nu=2)
    return np.asarray(second.T @ (np.concatenate([half, half])[:, None] * second))


def lowess_operator(x: Float, weights: Float, *, frac: float) -> Float:
    """Local straight lines with tricube weights over the nearest ``frac·n`` points (Cleveland 1979, JASA 74, 829).

    x (n,); weights (n,) multiply the tricube weights, points of weight 0 are no neighbours.

    >>> x = np.arange(6.0)
    >>> (lowess_operator(x, np.ones(6), frac=0.5) @ (2.0 + 3.0 * x)).round(9)
    array([ 2.,  5.,  8., 11., 14., 17.])
    """
    used = np.flatnonzero(weights > 0)
    near = min(max(int(frac * len(used) + 1e-10), 2), len(used))
    distance = np.abs(x[:, None] - x[used])
    reach = np.partition(distance, near - 1, axis=1)[:, near - 1 : near]
    share = distance / np.maximum(reach, 1e-300)
    kernel = np.where(share < 0.999, (1.0 - share**3) ** 3, 0.0) * weights[used]
    # all neighbours at the same distance: the tricube is 0 for each of them
    lone = kernel.sum(axis=1) == 0
    kernel[lone] = (share[lone] <= 1.0) * weights[used]
    kernel /= kernel.sum(axis=1, keepdims=True)
    mean = (kernel * x[used]).sum(axis=1, keepdims=True)
    spread = (kernel * (x[used] - mean) ** 2).sum(axis=1, keepdims=True)
    lean = np.where(spread > (1e-3 * np.ptp(x)) ** 2 / len(x), (x[:, None] - mean) / np.maximum(spread, 1e-300), 0.0)
    out = np.zeros((x.size, x.size))
    out[:, used] = kernel * (1.0 + lean * (x[used] - mean))
    return out


def bisquare_weights(residual: Float, used: Mask) -> Float:
    """Robust weights of lowess: ``(1 - (r / 6 MAD)²)²`` within 6 median absolute residuals (Cleveland 1979).

    >>> bisquare_weights(np.array([0.0, 1.0, -1.0, 3.0, 60.0]), np.ones(5, bool)).round(4)  # (1 - (r/6)²)²
    array([1.    , 0.9452, 0.9452, 0.5625, 0.    ])
    """
    scale = 6.0 * float(np.median(np.abs(residual[used])))
    if scale == 0:
        return np.ones_like(residual)
    u = np.clip(residual / scale, -1.0, 1.0)
    return np.where(np.abs(u) < 0.999, (1.0 - u**2) ** 2, 0.0)


def robust_continuum(
    spectrum: Float, use: Mask, weights: Float, build: Callable[[Float], Float], *, sigma: float, iterations: int, mode: ClipMode
) -> tuple[Float, Mask]:
    """Operator H (n, n) of a smoother, and the channels (n,) it kept, after clipping the channels that are not on the continuum.

    build(weights) makes H; channels whose relative residual exceeds ``sigma`` robust standard deviations (on both
    sides, or only below for absorption, or only above for emission) get weight 0 and the fit is repeated, as long as
    half of the channels are left.

    >>> x, line = np.linspace(0.0, 1.0, 20), np.arange(20) == 7
    >>> spectrum = np.where(line, 0.5, 1.0 + 1e-3 * np.cos(40 * x))
    >>> build = lambda weights: poly_operator(x, weights, degree=1)
    >>> np.flatnonzero(~robust_continuum(spectrum, x >= 0, np.ones(20), build, sigma=5.0, iterations=3, mode="lower")[1])
    array([7])
    """
    kept = use.copy()
    operator = build(np.where(kept, weights, 0.0))
    for _ in range(iterations):
        continuum = operator @ spectrum
        residual = spectrum / continuum - 1.0
        limit = sigma * _MAD_TO_SIGMA * float(np.median(np.abs(residual[kept] - np.median(residual[kept]))))
        far = {"both": np.abs(residual), "lower": -residual, "upper": residual}[mode] > limit
        now = kept & ~far
        # a clip that would reject most channels means a smoother that does not fit, not lines
        if limit == 0 or now.sum() == kept.sum() or now.sum() < 0.5 * use.sum():
            break
        kept = now
        operator = build(np.where(kept, weights, 0.0))
    return operator, kept
