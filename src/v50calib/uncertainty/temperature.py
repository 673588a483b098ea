"""Temperature: sigma' = T sigma, one T for all bins or one per bin, in closed form.

The Gaussian likelihood is largest at T² = mean z², z = (y - mu)/sigma (Guo et al. 2017, arXiv:1706.04599, for regression).
Per bin only the *deviation* of log T from the pooled level is shrunk; the pooled mean z²/T² stays 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from v50calib.errors import DataError
from v50calib.kernels.arrays import Float

#: fewer planets are refused: one T, and one T a bin
MIN_PLANETS, MIN_PLANETS_PER_BIN = 5, 10
#: steps of the grid search, in log T
GRID_STEP = 0.002


@dataclass(frozen=True)
class Temperature:
    """T (bins,), the share of the deviations that was kept, and the number of bins that were clamped."""

    T: Float
    kept: float
    clamped: int


def need(planets: int, least: int, what: str) -> None:
    """Refuse too few planets. Raises DataError.

    >>> need(4, 5, "temperature")
    Traceback (most recent call last):
    v50calib.errors.DataError: temperature needs at least 5 planets with truth, but there are 4: give more, or a simpler method
    """
    if planets < least:
        raise DataError(f"{what} needs at least {least} planets with truth, but there are {planets}: give more, or a simpler method")


def fit_temperature(
    z: Float,
    *,
    per_bin: bool = False,
    shrinkage: Literal["auto"] | float = "auto",
    clamp: Sequence[float] = (0.1, 10.0),
    grid: bool = False,
) -> Temperature:
    """T of standardized residuals z (planet, bin).

    shrinkage  0 keeps every bin's own T, 1 gives all the pooled one; auto: the share of the spread of log T that a jackknife
               over planets finds to be noise
    grid       search T on a grid in log T (step 0.002) instead of the closed form

    Raises DataError for too few planets, and where a bin's residuals are all 0.

    >>> z = np.tile([[2.0, 1.0], [-2.0, -1.0]], (10, 1))
    >>> fit_temperature(z).T.round(6), fit_temperature(z, per_bin=True, shrinkage=0.0).T.round(6)  # √2.5; each bin's own
    (array([1.581139, 1.581139]), array([2., 1.]))
    """
    need(z.shape[0], MIN_PLANETS_PER_BIN if per_bin else MIN_PLANETS, "temperature per bin" if per_bin else "temperature")
    square = np.square(z)
    if grid:
        square = np.broadcast_to(_on_grid(square if per_bin else square.mean(axis=1, keepdims=True), clamp), z.shape)
    pooled = float(square.mean())
    if not per_bin:
        T, kept = np.full(z.shape[1], np.sqrt(pooled)), 0.0
    else:
        level = square.mean(axis=0)
        if (level == 0).any():
            raise DataError(f"the residuals of channel {int(np.argmin(level)) + 1} are all exactly 0: the truth was used as the prediction")
        kept = kept_share(square) if shrinkage == "auto" else 1.0 - float(shrinkage)
        log_T = 0.5 * np.log(level)
        T = np.exp(kept * (log_T - log_T.mean()))
        # the level is not shrunk: all planets and bins together determine it best
        T *= np.sqrt((level / T**2).mean())
    if pooled == 0:
        raise DataError("all residuals are exactly 0: the truth was used as the prediction")
    limited = np.clip(T, clamp[0], clamp[1])
    return Temperature(limited, kept, int((limited != T).sum()))


def kept_share(square: Float) -> float:
    """Share of the spread of log T over bins that is not noise, 0-1; square (planet, bin) is z².

    >>> kept_share(np.tile([[4.0, 1.0], [4.0, 1.0]], (10, 1)))  # planets agree: no noise
    1.0
    """
    level = square.mean(axis=0)
    influence = 0.5 * (square / level - 1.0)
    deviation = influence - influence.mean(axis=1, keepdims=True)
    noise = float((np.square(deviation).sum(axis=0) / (square.shape[0] * (square.shape[0] - 1.0))).mean())
    spread = float(np.var(0.5 * np.log(level)))
    return 0.0 if spread <= noise else 1.0 - noise / spread


def _on_grid(square: Float, clamp: Sequence[float]) -> Float:
    """T² (bin,) of the largest mean log-likelihood -log T - mean z²/(2T²) on a grid of log T."""
    log_T = np.arange(np.log(clamp[0]), np.log(clamp[1]) + GRID_STEP, GRID_STEP)
    level = square.mean(axis=0)
    gain = -log_T[:, None] - 0.5 * level[None, :] * np.exp(-2.0 * log_T)[:, None]
    return np.exp(2.0 * log_T[np.argmax(gain, axis=0)])
