"""How a population is fitted: the check of the file, shapes and their basis, and the members of the mixture."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from v50calib.errors import DataError
from v50calib.estimators.gaussian import matern52
from v50calib.kernels.arrays import Float, Index
from v50calib.schema import CHANNELS, N_CHANNELS

_AIRS = CHANNELS["AIRS-CH0"]
#: means (m, 1 + r), covariances (m, 1 + r, 1 + r), log weights (m,) and amplitude index (m,) of members
Members = tuple[Float, Float, Float, Index]


@dataclass(frozen=True)
class Options:
    """What a fit may be told; the defaults were chosen on planets left out (docs/explanation/estimators.md).

    fewest             training planets below which a fit is refused
    components         of the basis, at most a third of the planets
    amplitudes         of the grid
    neighbours         whose covariance a planet's member has
    compared           components, and FGS1, in which neighbours are looked for
    whole_planets      divided by the planets (at most 1/2): share of the whole population's covariance in a member's
    amplitude_ln_sd    spread of a member's amplitude
    background         weight of the members that no single planet stands for
    residual_planets   planets that the Matérn form of the residual counts for beside the measured form
    residual_length    its length, µm
    fgs_clip           FGS1 minus level in units of the amplitude beyond which planets count as equally far
    """

    fewest: int = 20
    components: int = 24
    amplitudes: int = 14
    neighbours: int = 12
    compared: int = 12
    whole_planets: float = 10.0
    amplitude_ln_sd: float = 0.4
    background: float = 0.1
    residual_planets: float = 20.0
    residual_length: float = 0.05
    fgs_clip: float = 12.0


@dataclass(frozen=True)
class Shapes:
    """Training planets as level (n,), amplitude (n,) and shape coordinates q (n, r): FGS1, components; with basis, G and grid."""

    level: Float
    amplitude: Float
    q: Float
    basis: Float
    residual: Float
    amplitudes: Float


def checked(truths: Float, wavelength: Float, fewest: int) -> Float:
    """The truths as float64. Raises DataError: wrong columns, too few planets, NaN, no FGS1, what is no depth.

    >>> checked(np.full((3, 283), 0.01), np.linspace(0.7, 3.9, 283), 20)
    Traceback (most recent call last):
    v50calib.errors.DataError: 3 planets are too few for a population: give at least 20, or use the estimator 'gp', which needs none
    """
    truths, wavelength = np.asarray(truths, dtype=np.float64), np.asarray(wavelength, dtype=np.float64)
    if wavelength.shape != (N_CHANNELS,) or not np.isfinite(wavelength).all():
        raise DataError(f"wavelength has the shape {wavelength.shape} or a NaN: expected {N_CHANNELS} finite values, FGS1 first")
    if truths.ndim == 2 and truths.shape[1] == N_CHANNELS - 1:
        raise DataError(
            f"the truth has {N_CHANNELS - 1} channels: FGS1 (wl_1) is missing; give all {N_CHANNELS}, FGS1 first, as train.csv has them"
        )
    if truths.ndim != 2 or truths.shape[1] != N_CHANNELS:
        raise DataError(f"the truth has the shape {truths.shape}: expected (planets, {N_CHANNELS}), wl_1 (FGS1) to wl_{N_CHANNELS}")
    if len(truths) < fewest:
        raise DataError(
            f"{len(truths)} planets are too few for a population: give at least {fewest}, or use the estimator 'gp', which needs none"
        )
    if np.isnan(truths[:, 0]).all():
        raise DataError("the truth has no depth of FGS1 (wl_1 is NaN for every planet): give a file that has it")
    wrong = ~(np.isfinite(truths) & (truths >= 0) & (truths < 1))
    if wrong.any():
        row, channel = np.argwhere(wrong)[0]
        raise DataError(
            f"the truth of planet {row + 1} (row of the file), wl_{channel + 1}, is {truths[row, channel]}, "
            f"and {int(wrong.sum()) - 1} more values are no depth in 0 <= depth < 1: complete these planets or leave them out"
        )
    return truths


def shapes_of(truths: Float, wavelength: Float, options: Options) -> Shapes:
    """Level, amplitude and shape of each planet, the basis of the shapes, and the residual that it leaves."""
    level = truths[:, _AIRS].mean(axis=1)
    spectra = truths - level[:, None]
    amplitude = spectra[:, _AIRS].std(axis=1)
    if not (amplitude > 0).any():
        raise DataError("every spectrum of the truth is flat over AIRS-CH0: no population of shapes can be fitted; use the estimator 'gp'")
    amplitude = np.maximum(amplitude, max(1e-7, np.quantile(amplitude, 0.02) / 4))
    normal = spectra / amplitude[:, None]
    rank = min(options.components, len(truths) // 3)
    rows = np.linalg.svd(normal[:, _AIRS], full_matrices=False)[2][:rank]
    basis = np.zeros((N_CHANNELS, rank + 2))
    basis[:, 0] = 1.0
    basis[CHANNELS["FGS1"], 1] = 1.0
    basis[_AIRS, 2:] = rows.T
    q = np.column_stack([normal[:, CHANNELS["FGS1"]], normal[:, _AIRS] @ rows.T])
    left = normal[:, _AIRS] - normal[:, _AIRS] @ rows.T @ rows
    residual = np.zeros((N_CHANNELS, N_CHANNELS))
    residual[_AIRS, _AIRS] = _residual(left, wavelength[_AIRS], options)
    low, high = np.quantile(amplitude, 0.01) / 2, 2 * amplitude.max()
    return Shapes(level, amplitude, q, basis, residual, np.geomspace(low, high, options.amplitudes))


def _residual(left: Float, wavelength: Float, options: Options) -> Float:
    """Covariance of what the components leave, (282, 282): the measured one, drawn to a Matérn process of the same variances."""
    n = len(left)
    # components were fitted to these planets: of others they leave more
    measured = left.T @ left / n
    spread = np.sqrt(np.diag(measured).mean() / 2 + np.diag(measured) / 2)
    smooth = np.outer(spread, spread) * matern52(wavelength[:, None] - wavelength, options.residual_length)
    share = options.residual_planets / (n + options.residual_planets)
    return (1 - share) * measured + share * smooth + 1e-6 * np.eye(len(spread))


def amplitude_weights(amplitude: Float, grid: Float, rounds: int = 100) -> Float:
    """Weights of the grid's amplitudes by EM: a mixture of log-normals one step wide, amplitude (n,) of the planets.

    >>> amplitude_weights(np.repeat([1.0, 1000.0], [200, 100]), np.array([1.0, 10.0, 100.0, 1000.0])).round(2)
    array([0.67, 0.  , 0.  , 0.33])
    """
    step = np.log(grid[1] / grid[0])
    likely = np.exp(-0.5 * (np.log(amplitude[:, None] / grid) / step) ** 2) + 1e-300
    weights = np.full(len(grid), 1.0 / len(grid))
    for _ in range(rounds):
        share = likely * weights
        weights = (share / share.sum(axis=1, keepdims=True)).mean(axis=0)
    # an amplitude between those seen, or a little beyond them, is not impossible
    weights = weights + 1.0 / (len(amplitude) * len(grid))
    return np.asarray(weights / weights.sum())


def background(shapes: Shapes, options: Options) -> Members:
    """One Gaussian of the whole population's covariance at each amplitude of the grid."""
    weights = amplitude_weights(shapes.amplitude, shapes.amplitudes) * options.background
    whole = shapes.q.T @ shapes.q / len(shapes.q)
    covs = np.array([_with_level(shapes, a * a * whole) for a in shapes.amplitudes])
    means = np.zeros((len(covs), covs.shape[1]))
    means[:, 0] = shapes.level.mean()
    return means, covs, np.log(weights), np.arange(len(covs))


def about_each_planet(shapes: Shapes, options: Options) -> Members:
    """One Gaussian about each training planet, with the covariance of its neighbours among the shapes."""
    q, n = shapes.q, len(shapes.q)
    compared = q[:, : 1 + options.compared].copy()
    compared[:, 0] = np.clip(compared[:, 0], -options.fgs_clip, options.fgs_clip)
    square = (compared**2).sum(axis=1)
    # planets of the same shape are at 0 but for rounding
    distance = np.maximum(square[:, None] + square - 2 * compared @ compared.T, 0.0)
    np.fill_diagonal(distance, 0.0)
    whole, level = min(options.whole_planets / n, 0.5) * q.T @ q / n, shapes.level.mean()
    means, covs = [], []
    for planet in range(n):
        near = np.argsort(distance[planet], kind="stable")[: min(options.neighbours, n // 3) + 1]
        weight = np.exp(-1.5 * distance[planet, near] / max(distance[planet, near[-1]], 1e-30))
        weight /= weight.sum()
        mean = weight @ q[near]
        away, a = q[near] - mean, shapes.amplitude[planet]
        # the amplitude's spread to first order: along the mean shape
        cov = (away * weight[:, None]).T @ away + whole + options.amplitude_ln_sd**2 * np.outer(mean, mean)
        means.append(np.r_[level, a * mean])
        covs.append(_with_level(shapes, a * a * cov))
    group = np.abs(np.log(shapes.amplitude[:, None] / shapes.amplitudes)).argmin(axis=1)
    return np.array(means), np.array(covs), np.full(n, np.log((1 - options.background) / n)), group


def _with_level(shapes: Shapes, cov: Float) -> Float:
    """Covariance of (level, c): the level's is twice as wide as the population's, and 1 % of the level more."""
    out = np.zeros((len(cov) + 1, len(cov) + 1))
    out[0, 0] = (2 * shapes.level.std() + 0.01 * shapes.level.mean()) ** 2
    # a floor far below any noise keeps the factor of a planet without neighbours regular
    out[1:, 1:] = cov + 1e-10 * np.trace(cov) * np.eye(len(cov))
    return out
