"""Overlap of apertures with pixels: circle, ellipse and box, exactly or by sampling; compiled, so they may follow a star."""

from __future__ import annotations

import math

import numpy as np

from v50calib.kernels.arrays import Float
from v50calib.kernels.compiler import nb

_jit = nb.njit(cache=True, nogil=True, boundscheck=False)

#: kinds of `fill_aperture`
CIRCLE, ELLIPSE, BOX = range(3)


@_jit
def _half_disc(x: float, radius: float) -> float:
    x = min(max(x / radius, -1.0), 1.0)
    return 0.5 * radius**2 * (x * math.sqrt(1 - x * x) + math.asin(x))


@_jit
def _disc_strip(x0: float, x1: float, y0: float, y1: float, radius: float) -> float:
    """Area shared by the rectangle [x0, x1] x [y0, y1] and the disc about the origin, exactly.

    Integrates the clipped chord over x; between the breakpoints it is a constant or ``±sqrt(r² - x²)``.
    """
    x0, x1 = max(x0, -radius), min(x1, radius)
    if x1 <= x0:
        return 0.0
    knots = np.empty(6)
    knots[0], knots[1] = x0, x1
    count = 2
    for k in range(2):
        y = y0 if k == 0 else y1
        if abs(y) < radius:
            crossing = math.sqrt(radius**2 - y**2)
            for s in (-1.0, 1.0):
                if x0 < s * crossing < x1:
                    knots[count] = s * crossing
                    count += 1
    knots = np.sort(knots[:count])
    area = 0.0
    for k in range(count - 1):
        a, b = knots[k], knots[k + 1]
        chord = math.sqrt(max(radius**2 - (0.5 * (a + b)) ** 2, 0.0))
        under = _half_disc(b, radius) - _half_disc(a, radius)
        # a circle that touches the edge from inside ends there: chord == y1
        top = under if chord <= y1 else y1 * (b - a)
        bottom = -under if -chord >= y0 else y0 * (b - a)
        if chord > y0 and -chord < y1:
            area += top - bottom
    return area


@_jit
def _sector(px: float, py: float, qx: float, qy: float) -> float:
    return 0.5 * math.atan2(px * qy - py * qx, px * qx + py * qy)


@_jit
def _edge_area(px: float, py: float, qx: float, qy: float) -> float:
    """Signed area shared by the unit disc and the triangle (origin, p, q)."""
    dx, dy = qx - px, qy - py
    a, b, c = dx * dx + dy * dy, px * dx + py * dy, px * px + py * py - 1.0
    disc = b * b - a * c
    if disc <= 0.0:
        return _sector(px, py, qx, qy)
    root = math.sqrt(disc)
    enter, leave = (-b - root) / a, (-b + root) / a
    if enter >= 1.0 or leave <= 0.0:
        return _sector(px, py, qx, qy)
    u, v = max(enter, 0.0), min(leave, 1.0)
    ux, uy, vx, vy = px + u * dx, py + u * dy, px + v * dx, py + v * dy
    area = 0.5 * (ux * vy - uy * vx)
    if enter > 0.0:
        area += _sector(px, py, ux, uy)
    if leave < 1.0:
        area += _sector(vx, vy, qx, qy)
    return area


@_jit
def _ellipse_pixel(dx: float, dy: float, a: float, b: float, cos: float, sin: float) -> float:
    """Area of the unit pixel about (dx, dy) inside the ellipse: mapped to the unit disc, where it is a parallelogram."""
    ux, uy = np.empty(5), np.empty(5)
    for k in range(5):
        x = dx + (0.5 if k in (1, 2) else -0.5)
        y = dy + (0.5 if k in (2, 3) else -0.5)
        ux[k] = (x * cos + y * sin) / a
        uy[k] = (y * cos - x * sin) / b
    area = 0.0
    for k in range(4):
        area += _edge_area(ux[k], uy[k], ux[k + 1], uy[k + 1])
    return area * a * b


@_jit
def _interval(index: float, low: float, high: float) -> float:
    return min(max(min(index + 0.5, high) - max(index - 0.5, low), 0.0), 1.0)


@_jit
def _sampled(dx: float, dy: float, kind: int, a: float, b: float, cos: float, sin: float, n: int) -> float:
    inside = 0
    for j in range(n):
        y = dy + (j + 0.5) / n - 0.5
        for i in range(n):
            x = dx + (i + 0.5) / n - 0.5
            if kind == BOX:
                inside += abs(x) < a and abs(y) < b
            else:
                u, v = (x * cos + y * sin) / a, (y * cos - x * sin) / b
                inside += u * u + v * v < 1.0
    return inside / (n * n)


@_jit
def fill_aperture(cy: float, cx: float, kind: int, a: float, b: float, theta: float, subpixels: int, out: Float) -> None:
    """Overlap (0-1) of each pixel of out (ny, nx) with an aperture centred on (cy, cx), in pixel indices.

    kind CIRCLE: radius a; ELLIPSE: semi-axes a along x and b along y, turned by theta rad from +x to +y; BOX: half
    width a, half height b. subpixels 0: exact areas; n: the share of n x n sub-pixel centres inside (1: pixel centres).

    >>> out = np.empty((1, 5))
    >>> fill_aperture(0.0, 2.0, BOX, 1.25, 0.5, 0.0, 0, out)
    >>> out
    array([[0.  , 0.75, 1.  , 0.75, 0.  ]])
    """
    ny, nx = out.shape
    cos, sin = math.cos(theta), math.sin(theta)
    if kind == CIRCLE:
        b = a
    reach_x, reach_y = (a, b) if kind == BOX else (max(a, b), max(a, b))
    out[:] = 0.0
    for y in range(max(0, math.floor(cy - reach_y)), min(ny, math.ceil(cy + reach_y) + 1)):
        dy = y - cy
        for x in range(max(0, math.floor(cx - reach_x)), min(nx, math.ceil(cx + reach_x) + 1)):
            dx = x - cx
            if subpixels > 0:
                out[y, x] = _sampled(dx, dy, kind, a, b, cos, sin, subpixels)
            elif kind == CIRCLE:
                out[y, x] = _disc_strip(x - 0.5 - cx, x + 0.5 - cx, y - 0.5 - cy, y + 0.5 - cy, a)
            elif kind == ELLIPSE:
                out[y, x] = _ellipse_pixel(dx, dy, a, b, cos, sin)
            else:
                out[y, x] = _interval(float(y), cy - b, cy + b) * _interval(float(x), cx - a, cx + a)


def overlap(
    shape: tuple[int, int], centre: tuple[float, float], kind: int, a: float, b: float, theta: float, *, subpixels: int = 0
) -> Float:
    """Overlap (0-1) of each pixel with an aperture; centre (y, x) in pixel indices, lengths in px; see `fill_aperture`.

    >>> round(overlap((9, 9), (4.2, 3.9), ELLIPSE, 3.0, 2.0, 0.5).sum() / np.pi, 12)  # a·b = 6
    np.float64(6.0)
    """
    out = np.empty(shape)
    fill_aperture(centre[0], centre[1], kind, a, b, theta, subpixels, out)
    return out


def circular_aperture(shape: tuple[int, int], centre: tuple[float, float], radius: float) -> Float:
    """Exact overlap (0-1) of each pixel with a circle; centre (y, x) in pixel indices, radius in px.

    >>> round(circular_aperture((9, 9), (4.2, 3.9), 3.0).sum() / np.pi, 12)  # r² = 9
    np.float64(9.0)
    """
    return overlap(shape, centre, CIRCLE, radius, radius, 0.0)


def interval_overlap(n: int, low: float, high: float) -> Float:
    """Overlap (0-1) of pixels 0..n-1 (each ±0.5) with the interval [low, high].

    >>> interval_overlap(4, 0.0, 2.0)
    array([0.5, 1. , 0.5, 0. ])
    """
    index = np.arange(n, dtype=np.float64)
    return np.clip(np.minimum(index + 0.5, high) - np.maximum(index - 0.5, low), 0.0, 1.0)


def interval_samples(n: int, low: float, high: float, subpixels: int) -> Float:
    """As `interval_overlap`, by sampling: the share of each pixel's `subpixels` sub-pixel centres inside.

    >>> interval_samples(4, 0.0, 2.0, 10)
    array([0.5, 1. , 0.5, 0. ])
    """
    points = np.arange(n)[:, None] + (np.arange(subpixels) + 0.5) / subpixels - 0.5
    return np.asarray(((points > low) & (points < high)).mean(axis=1))


@_jit
def recentred_sums(
    frames: Float, centres: Float, kind: int, a: float, b: float, theta: float, subpixels: int, flux: Float, area: Float
) -> None:
    """Sum of each frame (n, ny, nx) in an aperture about its own centre (n, 2) [y, x], and the aperture's area on the detector.

    >>> flux, area = np.empty(1), np.empty(1)
    >>> recentred_sums(np.full((1, 9, 9), 2.0), np.array([[4.2, 3.9]]), CIRCLE, 3.0, 3.0, 0.0, 0, flux, area)
    >>> np.round(np.concatenate([flux, area]) / np.pi, 12)
    array([18.,  9.])
    """
    n, ny, nx = frames.shape
    weight = np.empty((ny, nx))
    for i in range(n):
        fill_aperture(centres[i, 0], centres[i, 1], kind, a, b, theta, subpixels, weight)
        total, covered = 0.0, 0.0
        for y in range(ny):
            for x in range(nx):
                total += weight[y, x] * frames[i, y, x]
                covered += weight[y, x]
        flux[i], area[i] = total, covered


@_jit
def recentred_strips(frames: Float, centres: Float, half: float, flux: Float) -> None:
    """Sum of each column (n, ny, nx) in a strip of rows ``centre ± half`` that follows centres (n,), exact edges; flux (n, nx).

    >>> flux = np.empty((1, 2))
    >>> recentred_strips(np.ones((1, 5, 2)), np.array([2.1]), 1.25, flux)  # a strip of 2.5 rows
    >>> np.round(flux, 12)
    array([[2.5, 2.5]])
    """
    n, ny, nx = frames.shape
    for i in range(n):
        flux[i, :] = 0.0
        for y in range(ny):
            w = _interval(float(y), centres[i] - half, centres[i] + half)
            if w > 0.0:
                for x in range(nx):
                    flux[i, x] += w * frames[i, y, x]
