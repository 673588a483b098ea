"""Regressors measured from the frames: pointing, width, sky; and patterns of the residuals (PCA, common mode)."""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field

from v50calib.errors import ConfigError
from v50calib.kernels.series import bin_mean
from v50calib.stages.base import Float, Section
from v50calib.stages.series_base import Mask, Series
from v50calib.stages.timebins import TimeBins

Vector = Literal["x", "y", "width", "sky"]
#: bins that residual patterns are taken from: short against ingress, long enough to beat photon noise down
PATTERN_BINS = 400


class Decorrelate(Section):
    """Pointing measured from the frames themselves: x from the spectrum's shift, y from the rows; quadratic.

    fit: joint = the terms are free in the transit fit as well; masked = fitted out of transit and divided out.
    """

    enabled: bool = True
    vectors: list[Vector] = ["x", "y"]
    degree: Literal[1, 2] = 2
    fit: Literal["joint", "masked"] = "joint"
    pca_components: int = Field(default=0, ge=0, le=10)
    common_mode: bool = False


def regressors(series: Series, vectors: tuple[str, ...], degree: int = 2) -> Float:
    """Terms (pair, k) of the chosen vectors, centred: x, y, …; with degree 2 also x², xy, y², …."""
    known: dict[str, Float | None] = {"x": series.x, "y": series.y, "width": series.width, "sky": series.sky}
    chosen = []
    for name in vectors:
        values = known[name]
        if values is None:
            raise ConfigError(f"calib.trace.along_time.decorrelate.vectors names '{name}', but these light curves come without it")
        chosen.append(values - np.median(values))
    terms = list(chosen) + ([a * b for i, a in enumerate(chosen) for b in chosen[i:]] if degree == 2 else [])
    return np.stack(terms, axis=1) if terms else np.zeros((len(series.time_h), 0))


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
