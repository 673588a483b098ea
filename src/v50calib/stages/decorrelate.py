"""Regressors measured from the frames: pointing, width, sky; and patterns of the residuals (PCA, common mode)."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from pydantic import Field

from v50calib.errors import ConfigError
from v50calib.kernels.series import bin_mean
from v50calib.stages.base import Float, Section
from v50calib.stages.series_base import Mask, Series
from v50calib.stages.timebins import TimeBins

Vector = Literal["x", "y", "width", "sky"]
#: degrees that `auto` tries in turn, and how much each further term must lower chi² of white light's differences
DEGREES = (2, 3, 5)
GAIN = 10.0
#: differences of neighbouring pairs that this is judged on, at most
DIFFERENCES = 3000
#: bins that residual patterns are taken from: short against ingress, long enough to beat photon noise down
PATTERN_BINS = 400


class Decorrelate(Section):
    """Pointing measured from the frames themselves: x from the spectrum's shift, y from the rows; polynomial terms.

    degree auto: quadratic; cubic or quintic where the frames show it. A channel with a dead pixel near the trace bends
    with y³ and more; where the jitter is too small to show that, slow terms would cost depth precision for nothing.

    fit: joint = the terms are free in the transit fit as well; masked = fitted out of transit and divided out.
    """

    enabled: bool = True
    vectors: list[Vector] = ["x", "y"]
    degree: Literal["auto", 1, 2, 3, 4, 5] = "auto"
    fit: Literal["joint", "masked"] = "joint"
    pca_components: int = Field(default=0, ge=0, le=10)
    common_mode: bool = False


def regressors(series: Series, vectors: tuple[str, ...], degree: Literal["auto"] | int) -> Float:
    """Terms (pair, k) of the chosen vectors, centred: all their products up to `degree`: x, y, x², xy, y², x³, …."""
    chosen = _centred(series, vectors)
    if degree == "auto":
        degree = _degree_shown(series, chosen) if chosen else DEGREES[0]
    terms = [t for part in _products(chosen, degree) for t in part]
    return np.stack(terms, axis=1) if terms else np.zeros((len(series.time_h), 0))


def _centred(series: Series, vectors: tuple[str, ...]) -> list[Float]:
    known: dict[str, Float | None] = {"x": series.x, "y": series.y, "width": series.width, "sky": series.sky}
    chosen = []
    for name in vectors:
        values = known[name]
        if values is None:
            raise ConfigError(f"calib.trace.along_time.decorrelate.vectors names '{name}', but these light curves come without it")
        chosen.append(values - np.median(values))
    return chosen


def _products(chosen: list[Float], degree: int) -> list[list[Float]]:
    """Products of the series (n,) of each degree from 1 up, every one once."""
    products = [list(chosen)]
    for _ in range(degree - 1):
        # lead[i]: first of the last products that begins with vector i, so that none is made twice
        lead = np.cumsum([0, *(math.comb(len(chosen) - i + len(products) - 2, len(products) - 1) for i in range(len(chosen)))])
        products.append([v * p for i, v in enumerate(chosen) for p in products[-1][lead[i] :]])
    return products


def _degree_shown(series: Series, chosen: list[Float]) -> int:
    """The degree that white light asks for: 2, or the next of DEGREES as long as it explains more.

    Judged on differences of neighbouring pairs, which see the jitter and neither transit nor trend: chi² must fall by
    GAIN for each term, in units of what is left.
    """
    n = len(series.time_h) // 2
    first = 2 * np.unique(np.linspace(0, n - 1, min(n, DIFFERENCES)).astype(int))
    products = _products([np.stack([v[first], v[first + 1]]) for v in chosen], DEGREES[-1])
    white = np.nansum(series.flux[first + 1].astype(np.float64) - series.flux[first], axis=1)
    design = np.stack([np.diff(t, axis=0)[0] for part in products for t in part], axis=1)
    terms = [sum(map(len, products[:degree])) for degree in DEGREES]
    if len(white) < 2 * terms[-1]:
        return DEGREES[0]
    norm = np.sqrt(np.square(design).sum(axis=0))
    design = design / np.where(norm > 0, norm, 1.0)
    # one factorization serves all degrees: the columns are in order of degree
    explained = np.cumsum(np.square(np.linalg.qr(design)[0].T @ white))
    total, taken = float(white @ white), 0
    for step in range(1, len(DEGREES)):
        fewer, more = terms[step - 1] - 1, terms[step] - 1
        left = (total - explained[more]) / (len(white) - terms[step])
        if explained[more] - explained[fewer] <= GAIN * (more - fewer) * left:
            break
        taken = step
    return DEGREES[taken]


def rms_height(cube: Float, background: Float, centre: float, reach: int, *, round_star: bool) -> Float:
    """Root mean square distance [px] of the light from its centroid, per frame.

    cube (bins, ny, nx) e-, masked pixels 0; background (bins, nx) or (bins, 1) e- per pixel; rows within `reach` of
    `centre` count. round_star: columns within reach of their own centroid count too (rms over both axes).
    """
    ny, nx = cube.shape[1:]
    rows = np.arange(ny, dtype=np.float64)
    near = np.abs(rows - centre) <= reach
    light = np.where(cube[:, near] != 0, cube[:, near] - background[:, None, :], 0.0)
    if round_star:
        columns = np.arange(nx, dtype=np.float64)
        x0 = float((light.sum(axis=(0, 1)) * columns).sum() / light.sum())
        light = light[:, :, np.abs(columns - x0) <= reach]
    total = light.sum(axis=(1, 2))
    along_y = light.sum(axis=2)
    mean = along_y @ rows[near] / total
    square = along_y @ rows[near] ** 2 / total - mean**2
    if round_star:
        columns = np.arange(light.shape[2], dtype=np.float64)
        along_x = light.sum(axis=1)
        square = 0.5 * (square + along_x @ columns**2 / total - (along_x @ columns / total) ** 2)
    return np.sqrt(np.maximum(square, 0.0))


def to_pairs(values: Float, bins: np.ndarray, time_h: Float) -> Float:
    """Series of time bins (bin,) at the pairs (pair,) by straight lines; bins (pair,) index, -1: none."""
    times = bin_mean(time_h[:, None], bins, len(values))[0][:, 0]
    return np.interp(time_h, times, values)


def residual_patterns(series: Series, residual: Float, sigma: Float, outside: Mask, components: int) -> Float:
    """Time series (pair, components) of the strongest patterns that channels share out of transit, white light apart.

    residual (pair, channel) normalized flux minus 1; sigma (channel,) its noise. Principal components of the binned
    residuals out of transit, in units of the noise, in the space orthogonal to a dip common to all channels: an
    achromatic transit therefore does not enter its own regressors, a chromatic one may.
    """
    whole = np.isfinite(residual.sum(axis=0, dtype=np.float64)) & np.isfinite(sigma) & (sigma > 0)
    bins = TimeBins(series.time_h, PATTERN_BINS, series.used)
    table = bins.mean(residual[:, whole]) / sigma[whole]
    common = 1.0 / sigma[whole]
    common /= np.sqrt((common**2).sum())
    table = table - np.outer(table @ common, common)
    fitted = table[bins.mean(outside[:, None].astype(np.float64))[:, 0] > 0.5]
    patterns = np.linalg.svd(fitted - fitted.mean(axis=0), full_matrices=False)[2][:components]
    return np.stack([np.interp(series.time_h, bins.time_h, table @ p) for p in patterns], axis=1)
