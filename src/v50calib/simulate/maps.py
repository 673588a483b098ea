"""Calibration maps of one visit: drawn with the statistics of the real maps, and exact by definition."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from v50calib.kernels.arrays import Float
from v50calib.schema import INSTRUMENT, LINEARITY_TERMS
from v50calib.simulate.config import SimConfig


@dataclass(frozen=True)
class _Statistics:
    """Bulk statistics of one instrument's real maps (median and scatter; maxima of the tails)."""

    dark: tuple[float, float]
    hot_max: float
    read: tuple[float, float]
    read_max: float
    flat_mean: float
    linear: tuple[float, ...]
    linear_std: tuple[float, ...]


_STATISTICS = {
    "AIRS-CH0": _Statistics(
        dark=(0.0063, 0.0013),
        hot_max=11.9,
        read=(13.0, 0.55),
        read_max=153.0,
        flat_mean=1.014,
        linear=(0.14, 0.9999, -5.7e-9, 1.18e-11, -6.03e-17, 1.34e-22),
        linear_std=(0.154, 5.03e-3, 6.0e-8, 1.25e-12, 9.1e-18, 1.9e-23),
    ),
    "FGS1": _Statistics(
        dark=(0.0069, 0.0013),
        hot_max=1.35,
        read=(13.3, 0.55),
        read_max=114.0,
        flat_mean=1.008,
        linear=(0.27, 0.9999, 5.7e-9, 8.45e-12, -3.62e-17, 6.62e-23),
        linear_std=(0.105, 5.09e-3, 5.25e-8, 9.5e-13, 5.6e-18, 7.8e-24),
    ),
}
#: correlations between the scatters of the coefficients c0..c5: high orders partly cancel each other
_LINEAR_CORRELATION = np.array(
    [
        [1.00, 0.00, -0.70, 0.23, 0.17, -0.70],
        [0.00, 1.00, 0.00, 0.00, 0.00, 0.00],
        [-0.70, 0.00, 1.00, -0.74, 0.51, 0.09],
        [0.23, 0.00, -0.74, 1.00, -0.89, 0.28],
        [0.17, 0.00, 0.51, -0.89, 1.00, -0.60],
        [-0.70, 0.00, 0.09, 0.28, -0.60, 1.00],
    ]
)
#: polynomials must rise at least this steeply up to the highest reading of the converter, e-
_MIN_SLOPE, _USED_RANGE_E = 0.4, (-500.0, 1.5e5)


@dataclass(frozen=True)
class Maps:
    """dark [e-/s], dead, flat, read [e-], all [y, x]; linear_corr [order, y, x], ascending; hot: where dark was raised.

    `response` is the detector's true response: `flat`, and 0 at dead pixels.
    """

    dark: Float
    dead: NDArray[np.bool_]
    flat: Float
    read: Float
    linear_corr: Float
    hot: NDArray[np.bool_]

    @property
    def response(self) -> Float:
        """[y, x] electrons per electron-equivalent of light."""
        return np.where(self.dead, 0.0, self.flat)


def draw_maps(config: SimConfig, instrument: str, rng: np.random.Generator) -> Maps:
    """Maps of one visit and instrument. Pixels are dead or hot, never both; every switch of `config` is honoured.

    >>> maps = draw_maps(SimConfig(dead_fraction=0.01, flat_rms=0.0), "FGS1", np.random.default_rng(1))
    >>> int(maps.dead.sum()), maps.response[maps.dead].max(), maps.flat[~maps.dead].max()  # 1 % of 1024 pixels
    (10, np.float64(0.0), np.float64(1.0))
    """
    stats, shape = _STATISTICS[instrument], INSTRUMENT[instrument].shape
    size = shape[0] * shape[1]
    order = rng.permutation(size)
    n_dead, n_hot = round(config.dead_fraction * size), round(config.hot_fraction * size)
    dead, hot = np.zeros(size, dtype=bool), np.zeros(size, dtype=bool)
    dead[order[:n_dead]] = True
    hot[order[n_dead : n_dead + n_hot]] = True

    dark = rng.normal(*stats.dark, size=size)
    # log-uniform tail: as many hot pixels between 0.1 and 1 e-/s as between 1 and 10
    tail = 0.1 * (stats.hot_max / 0.1) ** rng.random(size)
    dark = np.where(hot, tail, dark) if config.dark else np.zeros(size)

    read = _read_map(stats, rng, size)
    read[dead] = rng.uniform(30.0, 60.0, size=n_dead)
    flat = stats.flat_mean + rng.normal(0.0, 1.0, size=size) * config.flat_rms if config.flat_rms else np.ones(size)
    flat[dead] = rng.normal(-0.002, 0.006, size=n_dead)
    linear = _linearity(config, stats, rng, size)
    return Maps(
        dark.reshape(shape),
        dead.reshape(shape),
        flat.reshape(shape),
        read.reshape(shape),
        linear.reshape(LINEARITY_TERMS, *shape),
        hot.reshape(shape) & config.dark,
    )


def _read_map(stats: _Statistics, rng: np.random.Generator, size: int) -> Float:
    """Normal core with an exponential tail in the logarithm: 5 % above 17 e-, 1 % above 29, 0.1 % above 78."""
    core = rng.normal(*stats.read, size=size)
    tail = 14.0 * np.exp(rng.exponential(0.354, size=size))
    read = np.where(rng.random(size) < 0.08, tail, core)
    return np.clip(read, 0.9 * stats.read[0], stats.read_max)


def _linearity(config: SimConfig, stats: _Statistics, rng: np.random.Generator, size: int) -> Float:
    """[order, pixel] coefficients; a draw that does not rise steeply enough everywhere is replaced by the median polynomial."""
    median = np.array(stats.linear)
    values, vectors = np.linalg.eigh(_LINEAR_CORRELATION)
    mixing = vectors * np.sqrt(np.clip(values, 0.0, None))
    scatter = (mixing @ rng.normal(size=(LINEARITY_TERMS, size))) * np.array(stats.linear_std)[:, None]
    linear = median[:, None] + scatter
    reading = np.linspace(*_USED_RANGE_E, 32)
    slope = sum(k * linear[k][:, None] * reading ** (k - 1) for k in range(1, LINEARITY_TERMS))
    linear[:, np.min(slope, axis=1) < _MIN_SLOPE] = median[:, None]
    if not config.nonlinearity:
        linear[:] = np.array([0.0, 1.0, 0.0, 0.0, 0.0, 0.0])[:, None]
    return linear
