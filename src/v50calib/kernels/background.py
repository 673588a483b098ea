"""Backgrounds of frames: surfaces as linear maps of fixed sky pixels, and their robust forms, compiled, frame by frame.

A background is ``B(y, x) = Σ_k c_k S_k(y, x)``. Where the coefficients c are linear in the sky pixels they are maps, and
the light curve's background is one more weighted sum; with clipping or medians they are measured on each frame.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import BSpline

from v50calib.kernels.arrays import Float, Index
from v50calib.kernels.compiler import nb
from v50calib.kernels.linear import solve_positive

_jit = nb.njit(cache=True, nogil=True, boundscheck=False)

#: statistics of a box of sky pixels
MEAN, MEDIAN, BIWEIGHT = range(3)
#: variance of a median of n normal samples, in units of that of their mean
MEDIAN_VARIANCE = math.pi / 2.0


def polynomial_basis(shape: tuple[int, int], degree: int) -> Float:
    """Products of Legendre polynomials in y and x of total degree <= degree: (terms, ny, nx), axes scaled to -1 … 1.

    >>> constant, by_x, by_y = polynomial_basis((2, 3), 1)
    >>> by_x
    array([[-1.,  0.,  1.],
           [-1.,  0.,  1.]])
    """
    rows, columns = (np.polynomial.legendre.legvander(np.linspace(-1.0, 1.0, n), degree).T for n in shape)
    return np.stack([rows[i][:, None] * columns[j] for i in range(degree + 1) for j in range(degree + 1 - i)])


def spline_axis(n: int, intervals: int) -> Float:
    """Cubic B-splines on equal intervals over pixels 0 … n-1: (intervals + 3, n).

    >>> spline_axis(5, 2).shape, spline_axis(5, 2).sum(axis=0).round(12)  # B-splines add up to 1
    ((5, 5), array([1., 1., 1., 1., 1.]))
    """
    step = (n - 1) / intervals
    knots = np.arange(-3, intervals + 4) * step
    inside = np.clip(np.arange(n, dtype=np.float64), 0.0, (n - 1) * (1.0 - 1e-12))
    return np.asarray(BSpline.design_matrix(inside, knots, 3).toarray().T)


def spline_basis(shape: tuple[int, int], intervals: int) -> tuple[Float, Float]:
    """Tensor products of cubic B-splines (terms, ny, nx) and their roughness penalty (terms, terms).

    The penalty is on second differences of neighbouring coefficients along both axes (P-splines, Eilers & Marx 1996,
    Stat. Sci. 11, 89): planes cost nothing, and a gap in the sky pixels (the star) is bridged smoothly.

    >>> basis, penalty = spline_basis((8, 8), 2)
    >>> plane = np.add.outer(np.arange(5.0), 2.0 * np.arange(5.0)).ravel()
    >>> round(float(plane @ penalty @ plane), 12)
    0.0
    """
    rows, columns = (spline_axis(n, intervals) for n in shape)
    basis = np.einsum("iy,jx->ijyx", rows, columns).reshape(-1, *shape)
    difference = np.diff(np.eye(intervals + 3), n=2, axis=0)
    one, rough = np.eye(intervals + 3), difference.T @ difference
    return basis, np.kron(rough, one) + np.kron(one, rough)


def least_squares_maps(basis: Float, sky: NDArray[np.bool_], penalty: Float | None) -> Float:
    """Maps (terms, ny, nx) of the coefficients of an unweighted least-squares surface through the pixels `sky`.

    basis (terms, ny, nx); penalty (terms, terms) is added to the normal matrix. Each coefficient is ``Σ map·frame``.

    >>> basis = polynomial_basis((5, 5), 1)
    >>> maps = least_squares_maps(basis, np.ones((5, 5), bool), None)
    >>> (maps * (7.0 + 2.0 * basis[1])).sum(axis=(1, 2)).round(12) + 0.0  # the plane 7 + 2 x
    array([7., 2., 0.])
    """
    chosen = basis[:, sky]
    normal = chosen @ chosen.T + (0.0 if penalty is None else penalty)
    out = np.zeros_like(basis)
    out[:, sky] = np.linalg.pinv(normal, hermitian=True) @ chosen
    return out


def mesh_boxes(sky: NDArray[np.bool_], box: tuple[int, int]) -> tuple[Index, Index, Float]:
    """Boxes of sky pixels: flat pixel indices grouped by box, start of each group (boxes + 1,), centres (boxes, 2) [y, x].

    box (height, width) px; a box with sky on less than a quarter of its pixels is left out.

    >>> pixels, starts, centres = mesh_boxes(np.ones((2, 4), bool), (2, 2))
    >>> pixels, starts, centres
    (array([0, 1, 4, 5, 2, 3, 6, 7]), array([0, 4, 8]), array([[0.5, 0.5], [0.5, 2.5]]))
    """
    ny, nx = sky.shape
    pixels, starts, centres = [], [0], []
    for y in range(0, ny, box[0]):
        for x in range(0, nx, box[1]):
            part = sky[y : y + box[0], x : x + box[1]]
            if part.sum() * 4 < box[0] * box[1]:
                continue
            inside = np.argwhere(part) + np.array([y, x])
            pixels.append(inside[:, 0] * nx + inside[:, 1])
            starts.append(starts[-1] + len(inside))
            centres.append(inside.mean(axis=0))
    flat = np.concatenate(pixels) if pixels else np.zeros(0)
    return flat.astype(np.int64), np.array(starts, np.int64), np.array(centres).reshape(-1, 2)


def interpolation_maps(centres: Float, shape: tuple[int, int]) -> Float:
    """Surfaces S_k (boxes, ny, nx) that carry values at scattered centres to every pixel, exactly for a plane.

    Thin-plate spline (Duchon 1977): the smoothest surface through the values, on gaps and beyond the edge too. Fewer than three
    centres, or centres on a line, get the mean over them.

    >>> centres = np.array([[0.0, 0.0], [0.0, 3.0], [2.0, 1.0], [2.0, 3.0]])
    >>> values = centres @ [1.0, 10.0]  # the plane y + 10 x
    >>> np.tensordot(values, interpolation_maps(centres, (2, 3)), 1).round(9) + 0.0
    array([[ 0., 10., 20.],
           [ 1., 11., 21.]])
    """
    k = len(centres)
    scaled = (centres - centres.mean(axis=0)) / max(shape)
    if np.linalg.matrix_rank(np.column_stack([np.ones(k), scaled]), tol=1e-6) < 3:
        return np.full((k, *shape), 1.0 / k)

    def kernel(a: Float, b: Float) -> Float:
        square = ((a[:, None, :] - b[None, :, :]) ** 2).sum(axis=-1)
        return np.asarray(0.5 * square * np.log(np.maximum(square, 1e-300)))

    plane = np.column_stack([np.ones(k), scaled])
    system = np.block([[kernel(scaled, scaled), plane], [plane.T, np.zeros((3, 3))]])
    yy, xx = np.mgrid[: shape[0], : shape[1]].reshape(2, -1).astype(np.float64)
    targets = (np.column_stack([yy, xx]) - centres.mean(axis=0)) / max(shape)
    design = np.column_stack([kernel(targets, scaled), np.ones(len(targets)), targets])
    solved = np.linalg.solve(system, np.vstack([np.eye(k), np.zeros((3, k))]))
    return np.ascontiguousarray((design @ solved).T).reshape(k, *shape)


@_jit
def _statistic(values: Float, statistic: int) -> float:
    if statistic == MEAN:
        return float(values.mean())
    middle = float(np.median(values))
    if statistic == MEDIAN:
        return middle
    # Tukey's biweight location with c = 6 (Beers, Flynn & Gebhardt 1990, AJ 100, 32, eq. 5)
    mad = float(np.median(np.abs(values - middle)))
    if mad == 0.0:
        return middle
    top = bottom = 0.0
    for v in values:
        u = (v - middle) / (6.0 * mad)
        if abs(u) < 1.0:
            w = (1.0 - u * u) ** 2
            top, bottom = top + (v - middle) * w, bottom + w
    return middle + top / bottom


@_jit
def _clipped(values: Float, clip: float, max_iters: int) -> Float:
    """Values within clip standard deviations of their median, iterated (as astropy.stats.sigma_clip)."""
    for _ in range(max_iters):
        middle, limit = np.median(values), clip * np.std(values)
        kept = values[np.abs(values - middle) <= limit]
        if kept.size == values.size or kept.size == 0:
            break
        values = kept
    return values


@_jit
def group_statistics(frames: Float, pixels: Index, starts: Index, statistic: int, clip: float, max_iters: int, out: Float) -> None:
    """A statistic of groups of pixels of each frame (n, npix): out (n, groups); clip in sigma (inf: none).

    Group k is pixels[starts[k] : starts[k + 1]]; an empty one gives 0.

    >>> out = np.empty((1, 2))
    >>> group_statistics(np.array([[1.0, 2.0, 30.0, 4.0]]), np.array([0, 1, 2, 3]), np.array([0, 3, 4]), MEDIAN, np.inf, 0, out)
    >>> out
    array([[2., 4.]])
    """
    for i in range(frames.shape[0]):
        for k in range(starts.size - 1):
            group = pixels[starts[k] : starts[k + 1]]
            if group.size == 0:
                out[i, k] = 0.0
                continue
            values = np.empty(group.size)
            for j in range(group.size):
                values[j] = frames[i, group[j]]
            out[i, k] = _statistic(_clipped(values, clip, max_iters) if clip < np.inf else values, statistic)


@_jit
def _fit_kept(
    frame: Float, pixels: Index, basis: Float, penalty: Float, kept: NDArray[np.bool_], normal: Float, right: Float, solution: Float
) -> bool:
    """Least-squares coefficients of one frame (npix,) from its kept sky pixels; False where the system is singular."""
    terms = len(basis)
    normal[:] = penalty
    right[:] = 0.0
    for j in range(pixels.size):
        if kept[j]:
            d = frame[pixels[j]]
            for a in range(terms):
                right[a] += basis[a, j] * d
                for b in range(a + 1):
                    normal[a, b] += basis[a, j] * basis[b, j]
    return solve_positive(normal, right, solution)


@_jit
def _reject(frame: Float, pixels: Index, basis: Float, solution: Float, clip: float, kept: NDArray[np.bool_]) -> bool:
    """Keep the pixels within clip standard deviations of the surface; returns whether that changed anything."""
    residual = frame[pixels] - solution @ basis
    limit = clip * math.sqrt((residual[kept] ** 2).mean())
    now = np.abs(residual) <= limit
    changed = bool((now != kept).any())
    kept[:] = now
    return changed


@_jit
def clipped_surface(frames: Float, pixels: Index, basis: Float, penalty: Float, clip: float, max_iters: int, out: Float) -> None:
    """Least-squares surface coefficients of each frame (n, npix), sky pixels off it by more than clip sigma rejected.

    basis (terms, sky pixels) at `pixels`; penalty (terms, terms). Sigma is the standard deviation of the kept residuals.
    A frame whose system is singular keeps its last coefficients (0 at first). out (n, terms).

    >>> frame, out = np.full((1, 10), 5.0), np.empty((1, 1))
    >>> frame[0, 3] = 100.0
    >>> clipped_surface(frame, np.arange(10), np.ones((1, 10)), np.zeros((1, 1)), 2.0, 5, out)
    >>> out
    array([[5.]])
    """
    terms, m = basis.shape
    normal, right, solution = np.empty((terms, terms)), np.empty(terms), np.empty(terms)
    kept = np.empty(m, np.bool_)
    for i in range(frames.shape[0]):
        out[i] = 0.0
        kept[:] = True
        for _ in range(max_iters + 1):
            if not _fit_kept(frames[i], pixels, basis, penalty, kept, normal, right, solution):
                break
            out[i] = solution
            if not _reject(frames[i], pixels, basis, solution, clip, kept):
                break
