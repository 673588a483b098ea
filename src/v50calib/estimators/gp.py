"""A spectrum without a population: a Gaussian process along wavelength about the planet's own level.

    x_FGS1 = L + f,  x_j = L + g(wavelength_j),  L ~ N(level, level_sd²),  g ~ GP(0, a² K),  f ~ N(0, (k a)²)

K is Matérn-5/2 of one length, and of a fifth of it for a tenth of the variance: bands have edges, a single length takes
their sharp parts for noise and is too sure of itself.

a, length and k are marginalized on a grid by the evidence. With g in the kernel's eigenvectors and L integrated out, one
symmetric eigenproblem for each length gives the posterior for every a and k.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from v50calib.errors import DataError
from v50calib.estimators.gaussian import Noise, matern52, normalized
from v50calib.estimators.measured import Measured, Posterior, nothing_measured
from v50calib.kernels.arrays import Float
from v50calib.schema import CHANNELS, N_CHANNELS

_AIRS = CHANNELS["AIRS-CH0"]
#: share of the kernel's variance that the eigenvectors left out may carry
_LEFT_OUT = 1e-5
#: lengths that together with all their amplitudes weigh less than this are not summed
_NO_WEIGHT = 1e-6


@dataclass(frozen=True)
class Priors:
    """Grids and priors of the process; depths as (Rp/Rs)², lengths in µm.

    amplitudes  rms of the process; prior log-normal, median `amplitude`, standard deviation of the logarithm `amplitude_ln_sd`
    lengths     of the kernel; each has the same prior weight
    fine_share  of the variance that has a length of its own, `fine_length` times the other
    fgs_scales  rms of FGS1 minus level in units of the amplitude, with their weights: a heavy-tailed law
    """

    level: float = 0.015
    level_sd: float = 0.03
    amplitudes: tuple[float, ...] = tuple(float(a) for a in np.geomspace(1e-6, 3e-3, 25))
    amplitude: float = 60e-6
    amplitude_ln_sd: float = 1.6
    lengths: tuple[float, ...] = (0.12, 0.24, 0.5)
    fine_share: float = 0.1
    fine_length: float = 0.2
    fgs_scales: tuple[float, ...] = (0.7, 2.2, 6.0)
    fgs_weights: tuple[float, ...] = (0.2, 0.5, 0.3)

    def log_amplitude(self) -> Float:
        """Log prior weight of each amplitude, (amplitude,).

        >>> round(float(np.exp(Priors().log_amplitude()).sum()), 6)
        1.0
        """
        steps = (np.log(self.amplitudes) - np.log(self.amplitude)) / self.amplitude_ln_sd
        return np.log(normalized(-0.5 * steps**2)[0])


@dataclass
class _Moments:
    """Sums over the mixture's members: mean relative to the prior's level, second moment."""

    mean: Float = field(default_factory=lambda: np.zeros(N_CHANNELS))
    second: Float = field(default_factory=lambda: np.zeros((N_CHANNELS, N_CHANNELS)))

    def add(self, weight: float, mean: Float, cov: Float) -> None:
        self.mean += weight * mean
        self.second += weight * (cov + np.outer(mean, mean))


@dataclass(frozen=True)
class _Members:
    """The mixture's members of one length, (amplitude, FGS1 scale): FGS1's deviation f and the kernel's modes u in their eigenbasis.

    log_weights (m,); mean (m, 1 + r) of (f, u); own (m, r) variance of u given f; tie (m, 1 + r) what f moves, f_var (m,) its variance
    """

    log_weights: Float
    mean: Float
    own: Float
    tie: Float
    f_var: Float
    spectrum: Float


@dataclass(frozen=True)
class Weighed:
    """A planet's depths under the process: the log evidence, and the members of the mixture (length) with weights (length, m)."""

    log_evidence: float
    origin: float
    precision: float
    level: float
    members: list[_Members]
    weights: Float
    note: str

    def posterior(self) -> Posterior:
        """The moments of the mixture."""
        moments = _Moments()
        counted = self.weights.sum(axis=1) > _NO_WEIGHT
        total = self.weights[counted].sum()
        for each, weight, count in zip(self.members, self.weights, counted, strict=True):
            if count:
                _add(moments, each, weight / total, self.level)
        cov = moments.second - np.outer(moments.mean, moments.mean) + 1.0 / self.precision
        return Posterior(self.origin + moments.mean, (cov + cov.T) / 2, self.log_evidence, self.note)


class GaussianProcess:
    """Posterior spectra under the process, wavelength (283,) in µm, FGS1 first.

    >>> wavelength = np.r_[0.7, np.linspace(1.95, 3.9, 282)]
    >>> depth = np.r_[np.nan, np.full(282, 0.01)]
    >>> posterior = GaussianProcess(wavelength).posterior(Measured.independent(depth, np.full(283, 1e-4)))
    >>> f"FGS1 {posterior.mean[0]:.4f}", posterior.note
    ('FGS1 0.0100', 'FGS1 was not measured: its depth is inferred from AIRS-CH0 and the prior')
    """

    def __init__(self, wavelength: Float, priors: Priors | None = None) -> None:
        wavelength = np.asarray(wavelength, dtype=np.float64)
        if wavelength.shape != (N_CHANNELS,) or not np.isfinite(wavelength).all():
            raise DataError(f"wavelength has the shape {wavelength.shape} or a NaN: expected {N_CHANNELS} finite values, FGS1 first")
        self.priors = priors or Priors()
        distance = wavelength[_AIRS, None] - wavelength[None, _AIRS]
        self._bases = [_modes(self._kernel(distance, length)) for length in self.priors.lengths]

    def posterior(self, measured: Measured) -> Posterior:
        """Mean, covariance and log evidence given one planet's depths."""
        return self.weighed(measured).posterior()

    def weighed(self, measured: Measured) -> Weighed:
        """The members of the mixture and their evidence: what is known before moments are summed."""
        p, noise = self.priors, Noise(measured)
        gap = np.where(measured.known, measured.depth - p.level, 0.0)
        ones = np.ones(N_CHANNELS)
        by_noise = noise.solve(np.column_stack([ones, gap]))
        precision, pull = float(ones @ by_noise[:, 0]) + p.level_sd**-2, float(ones @ by_noise[:, 1])
        common = -0.5 * (noise.n * np.log(2 * np.pi) + noise.log_det + gap @ by_noise[:, 1] - pull**2 / precision)
        common -= 0.5 * np.log(precision * p.level_sd**2)
        members = [self._members(basis, noise, by_noise, precision, pull) for basis in self._bases]
        weights, log_sum = normalized(np.array([m.log_weights for m in members]))
        return Weighed(float(common) + log_sum, p.level, precision, pull / precision, members, weights, nothing_measured(measured.known))

    def _kernel(self, distance: Float, length: float) -> Float:
        share = self.priors.fine_share
        return (1 - share) * matern52(distance, length) + share * matern52(distance, length * self.priors.fine_length)

    def _members(self, basis: Float, noise: Noise, by_noise: Float, precision: float, pull: float) -> _Members:
        """All amplitudes and FGS1 scales of one length, the level integrated out."""
        p = self.priors
        level, data = basis.T @ by_noise[:, 0], basis.T @ by_noise[:, 1] - basis.T @ by_noise[:, 0] * pull / precision
        inner = basis.T @ noise.solve(basis) - np.outer(level, level) / precision
        gamma, vectors = np.linalg.eigh(inner[1:, 1:])
        gamma, along, cross = np.maximum(gamma, 0.0), vectors.T @ data[1:], vectors.T @ inner[1:, 0]
        amplitude = np.repeat(p.amplitudes, len(p.fgs_scales))
        scale = np.tile(p.fgs_scales, len(p.amplitudes))
        share = np.log(np.tile(p.fgs_weights, len(p.amplitudes)) / sum(p.fgs_weights) / len(self._bases))
        own = 1.0 / (gamma + amplitude[:, None] ** -2)
        f_precision = inner[0, 0] + (scale * amplitude) ** -2 - own @ cross**2
        f_pull = data[0] - own @ (cross * along)
        f = f_pull / f_precision
        gain = own @ along**2 + f_pull * f - np.log(f_precision * (scale * amplitude) ** 2)
        gain -= np.log1p(amplitude[:, None] ** 2 * gamma).sum(axis=1)
        tie = np.column_stack([np.ones(len(f)), -own * cross])
        spread = basis - level / precision
        spectrum = np.column_stack([spread[:, 0], spread[:, 1:] @ vectors])
        log_weights = 0.5 * gain + np.repeat(p.log_amplitude(), len(p.fgs_scales)) + share
        mean = np.column_stack([np.zeros(len(f)), own * along]) + f[:, None] * tie
        return _Members(log_weights, mean, own, tie, 1.0 / f_precision, spectrum)


def _add(moments: _Moments, members: _Members, weights: Float, level: float) -> None:
    """Add the members of one length, weights (m,), to the sums."""
    share = weights.sum()
    w = weights / share
    mean = w @ members.mean
    away, tie = members.mean - mean, members.tie * (w * members.f_var)[:, None]
    cov = away.T @ (w[:, None] * away) + members.tie.T @ tie
    cov[1:, 1:] += np.diag(w @ members.own)
    moments.add(float(share), level + members.spectrum @ mean, members.spectrum @ cov @ members.spectrum.T)


def _modes(kernel: Float) -> Float:
    """Basis (283, 1 + r): FGS1's own direction, then the kernel's eigenvectors scaled by their standard deviations."""
    values, vectors = np.linalg.eigh(kernel)
    values, vectors = values[::-1], vectors[:, ::-1]
    tail = 1.0 - np.cumsum(values) / values.sum()
    rank = int(np.argmax(tail < _LEFT_OUT)) + 1
    basis = np.zeros((N_CHANNELS, 1 + rank))
    basis[CHANNELS["FGS1"], 0] = 1.0
    basis[_AIRS, 1:] = vectors[:, :rank] * np.sqrt(values[:rank])
    return basis
