"""A population's law of spectra, fitted to a user's own file of true spectra, and the exact posterior under it.

A spectrum is a level, an amplitude times a shape, and a residual:

    x = L 1 + U c + e,   L ~ N(level, level_sd²),   e ~ N(0, a² G)

U holds FGS1's own direction and the leading principal components of the shapes (mean-removed AIRS spectra of unit rms). The
law of c is a mixture: one Gaussian about every training planet, whose covariance is that of its neighbours among the shapes
(a manifold Parzen window), and for planets unlike all of them a background of Gaussians of the whole population's
covariance, at a grid of amplitudes whose weights EM finds. G is what the components lack: without it a truncated basis
claims to know what it cannot say. Given the depths every member is conjugate, so mean and covariance are exact.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.linalg import cholesky, solve_triangular

from v50calib.errors import DataError
from v50calib.estimators import fitting
from v50calib.estimators.gaussian import normalized
from v50calib.estimators.measured import Measured, Posterior, nothing_measured
from v50calib.kernels.arrays import Float, Index
from v50calib.schema import N_CHANNELS
from v50calib.untrusted.npz import DAMAGED, read_npz

#: amplitudes of less weight than this, and members of less beside the heaviest of theirs, are not summed
_NO_WEIGHT, _NO_MEMBER = 1e-4, 1e-5
_FORMAT = 1


@dataclass(frozen=True)
class Population:
    """A fitted population; `fit` makes one.

    basis       (283, 1 + r) level, FGS1's own direction, components
    residual    (283, 283) G, the residual's covariance at amplitude 1
    amplitudes  (a,) grid of the residual's amplitude and of the background
    means       (m, 1 + r) of level and c, one row a member of the mixture
    roots       (m, 1 + r, 1 + r) Cholesky factors of the members' covariances
    log_weights (m,)
    group       (m,) index of the member's amplitude
    n_planets   that the population was fitted to

    >>> rng = np.random.default_rng(1)
    >>> wavelength = np.r_[0.7, np.linspace(1.95, 3.9, 282)]
    >>> truths = 0.01 + 1e-4 * rng.lognormal(size=(40, 1)) * np.sin(wavelength + rng.normal(size=(40, 1)))
    >>> population = Population.fit(truths, wavelength)
    >>> posterior = population.posterior(Measured.independent(truths[0] + 1e-4 * rng.normal(size=283), np.full(283, 1e-4)))
    >>> bool(posterior.sigma[1:].max() < 5e-5)
    True
    """

    basis: Float
    residual: Float
    amplitudes: Float
    means: Float
    roots: Float
    log_weights: Float
    group: Index
    n_planets: int

    @classmethod
    def fit(cls, truths: Float, wavelength: Float, options: fitting.Options | None = None) -> Population:
        """A population of true spectra, truths (n, 283), wavelength (283,) in µm. Raises DataError for a file that is none."""
        options = options or fitting.Options()
        truths = fitting.checked(truths, wavelength, options.fewest)
        shapes = fitting.shapes_of(truths, wavelength, options)
        background = fitting.background(shapes, options)
        own = fitting.about_each_planet(shapes, options)
        means, covs, log_weights, group = (np.concatenate(pair) for pair in zip(background, own, strict=True))
        return cls(shapes.basis, shapes.residual, shapes.amplitudes, means, np.linalg.cholesky(covs), log_weights, group, len(truths))

    def posterior(self, measured: Measured) -> Posterior:
        """Mean, covariance and log evidence given one planet's depths; the prior where nothing was measured."""
        depths = _Whitened.of(self, measured)
        log_weights, updates = np.empty(len(self.means)), []
        for index, amplitude in enumerate(self.amplitudes):
            rows = np.flatnonzero(self.group == index)
            log_weights[rows], update = self._update(rows, depths.seen(float(amplitude)))
            updates.append(update)
        weights, log_evidence = normalized(log_weights + self.log_weights)
        mean, second = np.zeros(N_CHANNELS), np.zeros((N_CHANNELS, N_CHANNELS))
        origin = self.means[0, 0]
        by_group = np.bincount(self.group, weights, len(updates))
        counted = np.where(by_group > _NO_WEIGHT, by_group, 0.0)
        counted /= counted.sum()
        for index in np.flatnonzero(counted):
            part, cov = depths.spectrum(self, float(self.amplitudes[index]), updates[index], weights[self.group == index] / by_group[index])
            part = part - origin
            mean += counted[index] * part
            second += counted[index] * (cov + np.outer(part, part))
        cov = second - np.outer(mean, mean) + depths.residual_left(self, counted)
        return Posterior(origin + mean, (cov + cov.T) / 2, log_evidence, nothing_measured(measured.known))

    def _update(self, rows: Index, view: _Seen) -> tuple[Float, _Update]:
        """Log evidence of the members `rows` of one amplitude, and their posterior in c."""
        means, roots = self.means[rows], self.roots[rows]
        inner = np.eye(means.shape[1]) + np.swapaxes(roots, 1, 2) @ (view.precision @ roots)
        pull = np.einsum("mji,mj->mi", roots, view.pull - means @ view.precision)
        factor, half = _factored(inner, pull)
        log_det = 2.0 * np.log(np.diagonal(factor, axis1=1, axis2=2)).sum(axis=1)
        fit = (half**2).sum(axis=1) + 2.0 * means @ view.pull - np.einsum("mi,ij,mj->m", means, view.precision, means)
        return view.constant + 0.5 * (fit - log_det), _Update(means, roots, factor, half)

    def save(self, location: str | Path) -> None:
        """Write the population as arrays (.npz, no pickle).

        It holds the spectra of the training file in another form: their licence goes along.
        """
        arrays: dict[str, Any] = {name: np.asarray(value) for name, value in vars(self).items()}
        # in one step: an older file stays until the new one is whole
        part = Path(location).with_name(f".{Path(location).name}.part")
        with part.open("wb") as stream:
            np.savez_compressed(stream, format=np.array(_FORMAT), **arrays)
        part.replace(location)

    @classmethod
    def load(cls, location: str | Path) -> Population:
        """Read what `save` wrote. Raises DataError for another file."""
        try:
            arrays: dict[str, Any] = dict(read_npz(Path(location)))
        except DAMAGED as error:
            raise DataError(f"'{location}' cannot be read as a population: {error}; fit one with Population.fit and save it") from error
        names = set(cls.__dataclass_fields__) | {"format"}
        if set(arrays) != names or int(arrays["format"]) != _FORMAT:
            raise DataError(
                f"'{location}' holds {', '.join(sorted(arrays)) or 'nothing'}: expected {', '.join(sorted(names))} "
                f"of format {_FORMAT}; fit the population again"
            )
        arrays.pop("format")
        return cls(**arrays | {"n_planets": int(arrays["n_planets"])})


def _factored(inner: Float, pull: Float) -> tuple[Float, Float]:
    """Cholesky factors L (m, r, r) of inner (m, r, r), and L⁻¹ pull (m, r): the last row of the factor of inner bordered by pull.

    inner is not below 1, so pull·inner⁻¹·pull is less than the corner.
    """
    m, r = pull.shape
    bordered = np.zeros((m, r + 1, r + 1))
    bordered[:, :r, :r] = inner
    bordered[:, r, :r] = bordered[:, :r, r] = pull
    bordered[:, r, r] = 1.0 + (1.0 + 1e-9) * np.square(pull).sum(axis=1)
    factor = np.asarray(np.linalg.cholesky(bordered), dtype=np.float64)
    return factor[:, :r, :r], factor[:, r, :r]


@dataclass(frozen=True)
class _Update:
    """Members of one amplitude after the depths: cov = root inner⁻¹ rootᵀ with inner = factor factorᵀ, mean = means + root inner⁻¹ pull."""

    means: Float
    roots: Float
    factor: Float
    half: Float

    def moments(self, weights: Float) -> tuple[Float, Float]:
        """Mean and covariance of level and c over the members, weights (m,) that sum to 1."""
        keep = weights > _NO_MEMBER * weights.max()
        w = weights[keep] / weights[keep].sum()
        inverse = np.linalg.solve(self.factor[keep], np.swapaxes(self.roots[keep], 1, 2))
        means = self.means[keep] + np.einsum("mij,mi->mj", inverse, self.half[keep])
        mean = w @ means
        away = means - mean
        stacked = (inverse * np.sqrt(w)[:, None, None]).reshape(-1, inverse.shape[2])
        return mean, stacked.T @ stacked + away.T @ (w[:, None] * away)


@dataclass(frozen=True)
class _Seen:
    """The depths as one amplitude sees them, residual and noise together: precision and pull of level and c, the evidence's rest."""

    precision: Float
    pull: Float
    constant: float


@dataclass(frozen=True)
class _Whitened:
    """The n measured depths in coordinates where the noise N is 1 and the residual's covariance G diagonal, for every amplitude at once.

    T (n, n) with N = T Tᵀ and G = T Λ Tᵀ. eigenvalues (n,) Λ; basis (n, 1 + r) and depth (n,) times T⁻¹; towards (283, n) G T⁻ᵀ: how the
    residual of every channel goes with these coordinates; log_det of N.
    """

    eigenvalues: Float
    basis: Float
    depth: Float
    towards: Float
    log_det: float

    @classmethod
    def of(cls, population: Population, measured: Measured) -> _Whitened:
        known, residual = measured.known, population.residual
        root = cholesky(measured.covariance(), lower=True, check_finite=False)
        # L⁻¹ of G, of the basis and of the depths in one solve
        right = np.column_stack([residual[known], population.basis[known], measured.depth[known]])
        white = solve_triangular(root, right, lower=True, check_finite=False)
        across = white[:, :N_CHANNELS]
        inner = solve_triangular(root, across[:, known].T, lower=True, check_finite=False)
        eigenvalues, vectors = np.linalg.eigh((inner + inner.T) / 2)
        turned = vectors.T @ white
        return cls(
            np.maximum(eigenvalues, 0.0), turned[:, N_CHANNELS:-1], turned[:, -1], turned[:, :N_CHANNELS].T,
            2.0 * float(np.log(np.diag(root)).sum()),
        )  # fmt: skip

    def weight(self, amplitude: float) -> Float:
        """(n,) inverse variance of each coordinate, residual and noise together."""
        return 1.0 / (1.0 + amplitude**2 * self.eigenvalues)

    def seen(self, amplitude: float) -> _Seen:
        """The depths under a residual of one amplitude."""
        weight = self.weight(amplitude)
        weighted = self.basis * weight[:, None]
        constant = len(weight) * np.log(2 * np.pi) + self.log_det - np.log(weight).sum() + weight @ np.square(self.depth)
        return _Seen(self.basis.T @ weighted, weighted.T @ self.depth, -0.5 * float(constant))

    def spectrum(self, population: Population, amplitude: float, update: _Update, weights: Float) -> tuple[Float, Float]:
        """Mean (283,) of x = U c + e for the members of one amplitude, and the part (283, 283) of its covariance that c has."""
        mean, cov = update.moments(weights)
        gain = self.towards * (amplitude**2 * self.weight(amplitude))
        carried = population.basis - gain @ self.basis
        return carried @ mean + gain @ self.depth, carried @ cov @ carried.T

    def residual_left(self, population: Population, shares: Float) -> Float:
        """Covariance (283, 283) of the residual after the depths: a²G - a⁴ (G T⁻ᵀ) w (G T⁻ᵀ)ᵀ, its mean by the amplitudes' shares."""
        square = np.square(population.amplitudes)
        told = sum(share * a**4 * self.weight(a) for share, a in zip(shares, population.amplitudes, strict=True))
        return np.asarray((shares @ square) * population.residual - (self.towards * told) @ self.towards.T)
