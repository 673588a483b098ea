"""Regressors measured from the frames: pointing, width, background; and patterns of the residuals (PCA, common mode)."""

from __future__ import annotations

from itertools import combinations_with_replacement
from typing import Literal

import numpy as np
from pydantic import Field

from v50calib.errors import ConfigError
from v50calib.kernels.arrays import Float, Mask
from v50calib.kernels.series import bin_mean
from v50calib.stages.config import Section
from v50calib.stages.series.curves import Series, whole_channels
from v50calib.stages.series.time_bins import TimeBins

Vector = Literal["x", "y", "width", "sky"]
#: indices of the vectors that are multiplied: (0, 0, 1) is x²y
Term = tuple[int, ...]
#: `auto` has all terms of this degree, and tries powers of one vector and products of several up to these
QUADRATIC, CUBIC, HIGHEST_POWER, HIGHEST_PRODUCT = 2, 3, 7, 5
#: how much each further term must lower chi² of white light's differences
GAIN = 10.0
#: differences of neighbouring pairs that this is judged on, at most
DIFFERENCES = 3000
#: bins that residual patterns are taken from: short against ingress, long enough to beat photon noise down
PATTERN_BINS = 400


class Decorrelate(Section):
    """Pointing measured from the frames themselves: x from the spectrum's shift, y from the rows; polynomial terms.

    degree auto: quadratic; powers to the seventh and products to the fifth degree where the frames show them. A channel with a dead
    pixel near the trace bends with y³ and more; where the jitter is too small to show that, slow terms would cost depth
    precision for nothing.

    fit: joint = the terms are free in the transit fit as well; masked = fitted out of transit and divided out.
    """

    enabled: bool = Field(default=True, description="fit terms of the measured vectors")
    vectors: list[Vector] = Field(default=["x", "y"], description="pointing measured from the frames themselves")
    degree: Literal["auto", 1, 2, 3, 4, 5] = Field(
        default="auto", description="highest degree of the vectors' products; `auto`: 2, and higher terms where the frames show them"
    )
    fit: Literal["joint", "masked"] = Field(
        default="joint", description="`joint`: free in the transit fits too; `masked`: fitted out of transit and divided out"
    )
    pca_components: int = Field(default=0, ge=0, le=10, description="patterns between channels that join the terms")
    common_mode: bool = Field(default=False, description="divide by the white light curve over its transit model")

    @property
    def takes_shift(self) -> bool:
        """Whether the measured x is a term."""
        return self.enabled and "x" in self.vectors


def regressors(series: Series, vectors: tuple[str, ...], degree: Literal["auto"] | int) -> Float:
    """Terms (pair, k) of the chosen vectors, centred: all their products up to `degree`: x, y, x², xy, y², x³, …."""
    chosen = _centred(series, vectors)
    terms = _terms_shown(series, chosen) if degree == "auto" else _up_to(len(chosen), degree)
    return np.stack(_evaluated(chosen, terms), axis=1) if terms else np.zeros((len(series.time_h), 0))


def _centred(series: Series, vectors: tuple[str, ...]) -> list[Float]:
    known: dict[str, Float | None] = {"x": series.x, "y": series.y, "width": series.width, "sky": series.background}
    chosen = []
    for name in vectors:
        values = known[name]
        if values is None:
            raise ConfigError(f"calib.trace.along_time.decorrelate.vectors names '{name}', but these light curves come without it")
        chosen.append(values - np.median(values))
    return chosen


def _up_to(vectors: int, degree: int) -> list[Term]:
    """Products of 1 to `degree` of the vectors, every one once, low degrees first."""
    return [term for d in range(1, degree + 1) for term in combinations_with_replacement(range(vectors), d)]


def _evaluated(chosen: list[Float], terms: list[Term]) -> list[Float]:
    """The products' values, each from one of a degree less."""
    known: dict[Term, Float] = {(i,): v for i, v in enumerate(chosen)}

    def value(term: Term) -> Float:
        if term not in known:
            known[term] = value(term[:-1]) * chosen[term[-1]]
        return known[term]

    return [value(term) for term in terms]


def _terms_shown(series: Series, chosen: list[Float]) -> list[Term]:
    """The terms that white light asks for: the quadratic ones, and each further group that explains enough.

    The groups: cubic terms, higher powers of one vector alone, the products of several. Judged on differences of
    neighbouring pairs, which see the jitter and neither transit nor trend: chi² must fall by GAIN for each term, in
    units of what is left.
    """
    count = len(chosen)
    taken = _up_to(count, QUADRATIC)
    groups = [[t for t in _up_to(count, CUBIC) if len(t) == CUBIC]]
    groups += [[(i,) * k for k in range(CUBIC + 1, HIGHEST_POWER + 1)] for i in range(count)]
    groups.append([t for t in _up_to(count, HIGHEST_PRODUCT) if len(t) > CUBIC and len(set(t)) > 1])
    n = len(series.time_h) // 2
    first = 2 * np.unique(np.linspace(0, n - 1, min(n, DIFFERENCES)).astype(int))
    ends = [np.stack([v[first], v[first + 1]]) for v in chosen]
    if not taken or len(first) < 2 * (len(taken) + sum(map(len, groups))):
        return taken

    def differences(terms: list[Term]) -> Float:
        columns = np.stack([b - a for a, b in _evaluated(ends, terms)], axis=1)
        norm = np.sqrt(np.square(columns).sum(axis=0))
        return columns / np.where(norm > 0, norm, 1.0)

    basis = np.linalg.qr(differences(taken))[0]
    if whole_channels(series.flux).all():
        left = series.white[0][first + 1] - series.white[0][first]
    else:
        left = np.nansum(series.flux[first + 1].astype(np.float64) - series.flux[first], axis=1)
    left -= basis @ (basis.T @ left)
    for group in filter(None, groups):
        columns = differences(group)
        columns -= basis @ (basis.T @ columns)
        columns = np.linalg.qr(columns)[0]
        share = columns.T @ left
        rest = (left @ left - share @ share) / (len(first) - len(taken) - len(group))
        if share @ share > GAIN * len(group) * rest:
            taken, basis, left = taken + group, np.hstack([basis, columns]), left - columns @ share
    return taken


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
    whole = whole_channels(residual) & np.isfinite(sigma) & (sigma > 0)
    bins = TimeBins(series.time_h, PATTERN_BINS, series.used)
    table = bins.mean(residual[:, whole]) / sigma[whole]
    common = 1.0 / sigma[whole]
    common /= np.sqrt((common**2).sum())
    table = table - np.outer(table @ common, common)
    fitted = table[bins.mean(outside[:, None].astype(np.float64))[:, 0] > 0.5]
    patterns = np.linalg.svd(fitted - fitted.mean(axis=0), full_matrices=False)[2][:components]
    return np.stack([np.interp(series.time_h, bins.time_h, table @ p) for p in patterns], axis=1)
