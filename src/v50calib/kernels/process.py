"""A Matérn-3/2 process beside linear terms in one light curve: its course, what that is good to, and what it leaves in the terms.

``y = S (F c + g) + Z z + n``: y (n,) samples, g the process with covariance `matern32`, n white noise; S (n,) the light that the process
modulates; F (n, terms) of the baseline; Z (n, m) what else is fitted, a transit's derivatives for one. Exact, by Cholesky: meant for a
few hundred bins. Amplitude and length are known as badly as one light curve shows them, so nothing is taken from their best values
alone: everything is averaged over a grid, weighted by likelihood.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from scipy.linalg import cholesky, solve_triangular

from v50calib.kernels.arrays import Float, Mask
from v50calib.kernels.least_squares import least_squares

#: nodes of the grid; amplitudes up to this many times the scatter and down to this share of a sample's noise; lengths in spans of time
AMPLITUDES, LENGTHS = 12, 6
LARGEST, SMALLEST, LONGEST = 5.0, 0.05, 2.0
#: nodes less likely than this, relative to the best, are left out
UNLIKELY = 1e-3


def matern32(distance: Float, amplitude: float, length: float) -> Float:
    """Covariance of the Matérn-3/2 process: ``a² (1 + √3 d/l) exp(-√3 d/l)`` (Rasmussen & Williams 2006, eq. 4.17).

    >>> matern32(np.array([0.0, 1.0]), amplitude=2.0, length=1.0) / 4.0  # 1, (1 + √3) exp(-√3)
    array([1.        , 0.48335772])
    """
    r = np.sqrt(3.0) * distance / length
    return np.asarray(amplitude**2 * (1.0 + r) * np.exp(-r))


@dataclass(frozen=True)
class Samples:
    """A light curve: time, values and white noise sigma (n,), light S (n,), terms F (n, terms), others Z (n, m).

    centre, width (m,): normal prior of each coefficient of Z; the baseline's have none.
    """

    time: Float
    values: Float
    sigma: Float
    light: Float
    terms: Float
    others: Float = field(default_factory=lambda: np.zeros((0, 0)))
    centre: Float = field(default_factory=lambda: np.zeros(0))
    width: Float = field(default_factory=lambda: np.zeros(0))

    def of(self, use: Mask) -> Samples:
        """The samples `use` (n,)."""
        others = self.others[use] if self.others.size else self.others
        parts = (self.time, self.values, self.sigma, self.light, self.terms)
        return replace(
            self, **dict(zip(("time", "values", "sigma", "light", "terms"), (p[use] for p in parts), strict=True)), others=others
        )

    @property
    def columns(self) -> Float:
        """Every linear term in units of the values, (n, terms + m)."""
        lit = self.terms * self.light[:, None]
        return np.concatenate([lit, self.others], axis=1) if self.others.size else lit


@dataclass(frozen=True)
class Course:
    """A trend at given times, and what its terms are known to.

    terms, process (t,) as expected, and the variance (t,) of their sum; amplitude (relative to the light) and length (of time), means
    of their logarithms; others, others_var (m,): each coefficient of Z and its variance.
    """

    terms: Float
    process: Float
    variance: Float
    amplitude: float
    length: float
    others: Float
    others_var: Float


def course(
    samples: Samples, at: Float, terms_at: Float, *, shortest: float, fixed: tuple[float | None, float | None] = (None, None)
) -> Course:  # fmt: skip
    """The trend at times `at` (t,), terms_at (t, terms) of the baseline there, given the samples.

    Each of amplitude and length (at least `shortest`) is averaged over where `fixed` does not give it, evenly in its logarithm.

    >>> time = np.linspace(0.0, 7.0, 50)
    >>> samples = Samples(time, np.sin(time), np.full(50, 1e-3), np.ones(50), np.ones((50, 1)))
    >>> found = course(samples.of(time != time[25]), time, np.ones((50, 1)), shortest=0.5)
    >>> bool(np.abs(found.terms + found.process - np.sin(time)).max() < 2e-3), found.variance.argmax()
    (True, np.int64(25))
    """
    nodes = [_Node(samples, a, length) for a, length in grid(samples, shortest, fixed)]
    cost = np.array([node.cost for node in nodes])
    weight = np.exp(-0.5 * (cost - cost.min()))
    likely = [(float(w), node, node.solve(at, terms_at)) for w, node in zip(weight, nodes, strict=True) if w > UNLIKELY]
    share = np.array([w for w, _, _ in likely])
    share /= share.sum()

    def mean(parts: list[Float]) -> Float:
        return np.asarray(share @ np.stack(parts))

    terms, process = mean([one.terms for _, _, one in likely]), mean([one.process for _, _, one in likely])
    others = mean([one.others for _, _, one in likely])
    variance = mean([one.variance + np.square(one.terms + one.process - terms - process) for _, _, one in likely])
    others_var = mean([one.others_var + np.square(one.others - others) for _, _, one in likely])
    amplitude, length = (
        float(np.exp(share @ np.log(of))) for of in ([n.amplitude for _, n, _ in likely], [n.length for _, n, _ in likely])
    )
    return Course(terms, process, variance, amplitude, length, others, others_var)


def cost_of(samples: Samples, amplitude: float, length: float) -> float:
    """Minus twice the log of the restricted likelihood, up to a constant.

    >>> samples = Samples(np.arange(2.0), np.array([1.0, -1.0]), np.ones(2), np.ones(2), np.ones((2, 1)))
    >>> round(cost_of(samples, amplitude=1e-9, length=1.0), 6)  # white noise: Σ (v/σ)², and ln 2 of the level
    2.0
    """
    return _Node(samples, amplitude, length).cost


def white_variances(samples: Samples) -> Float:
    """Variance (m,) of each coefficient of Z with white noise alone.

    >>> ones = np.ones(4)
    >>> white_variances(Samples(np.arange(4.0), ones, ones, ones, np.zeros((4, 0)), ones[:, None], np.zeros(1), np.array([np.inf])))
    array([0.25])
    """
    return _Node(samples, 0.0, 1.0).solve(samples.time[:0], samples.terms[:0]).others_var


def grid(samples: Samples, shortest: float, fixed: tuple[float | None, float | None]) -> list[tuple[float, float]]:
    """Amplitudes and lengths that a course is averaged over, evenly in their logarithms.

    >>> samples = Samples(np.arange(3.0), np.arange(3.0), np.ones(3), np.ones(3), np.ones((3, 1)))
    >>> len(grid(samples, 0.5, (None, None))), grid(samples, 0.5, (0.1, 2.0))
    (72, [(0.1, 2.0)])
    """
    columns = samples.columns
    left = samples.values - columns @ least_squares(columns, samples.values)
    least = SMALLEST * float(np.median(samples.sigma / samples.light))
    most = max(LARGEST * float(np.std(left / samples.light)), 2.0 * least)
    longest = max(LONGEST * float(np.ptp(samples.time)), 2.0 * shortest)
    amplitudes = np.geomspace(least, most, AMPLITUDES).tolist() if fixed[0] is None else [fixed[0]]
    lengths = np.geomspace(shortest, longest, LENGTHS).tolist() if fixed[1] is None else [fixed[1]]
    return [(a, length) for a in amplitudes for length in lengths]


class _Node:
    """The fit with one amplitude and length. cost: minus twice the log of the likelihood that the linear terms leave, up to a constant.

    That restricted likelihood (Patterson & Thompson 1971, Biometrika 58, 545) does not mistake what the terms took for a small amplitude.
    """

    def __init__(self, samples: Samples, amplitude: float, length: float) -> None:
        self.samples, self.amplitude, self.length = samples, amplitude, length
        light = samples.light
        covariance = np.outer(light, light) * matern32(np.abs(samples.time[:, None] - samples.time), amplitude, length)
        covariance[np.diag_indices_from(covariance)] += samples.sigma**2
        self.factor = cholesky(covariance, lower=True)
        self.columns = samples.columns
        self.unit = np.maximum(np.sqrt(np.square(self.columns).sum(axis=0)), 1e-300)
        # a prior is one more sample of its coefficient
        precision = np.concatenate([np.zeros(samples.terms.shape[1]), 1.0 / samples.width])
        centre = np.concatenate([np.zeros(samples.terms.shape[1]), samples.centre])
        self.white = self._solve(np.column_stack([self.columns / self.unit, samples.values]))
        prior = np.column_stack([np.diag(precision / self.unit), precision * centre])
        self.r: Float = np.asarray(np.linalg.qr(np.concatenate([self.white, prior]), mode="r"))
        size = np.maximum(np.abs(np.diag(self.r)), 1e-12)
        self.cost = float(size[-1] ** 2 + 2.0 * np.log(np.diag(self.factor)).sum() + 2.0 * np.log(size[:-1]).sum())

    def _solve(self, columns: Float) -> Float:
        return np.asarray(solve_triangular(self.factor, columns, lower=True))

    def solve(self, at: Float, terms_at: Float) -> Course:
        """The trend at times `at`; its coefficients are unknown in the variance (Rasmussen & Williams 2006, eq. 2.42)."""
        k, s = self.samples.terms.shape[1], self.samples
        root = np.linalg.pinv(self.r[:-1, :-1], rcond=1e-12)
        solution, inverse = root @ self.r[:-1, -1], root @ root.T
        cross = self._solve(s.light[:, None] * matern32(np.abs(s.time[:, None] - at), self.amplitude, self.length))
        white, values = self.white[:, :-1], self.white[:, -1]
        there = np.concatenate([terms_at, np.zeros((len(at), self.unit.size - k))], axis=1) / self.unit
        off = there - cross.T @ white
        variance = np.maximum(self.amplitude**2 - np.square(cross).sum(axis=0) + np.einsum("ij,jk,ik->i", off, inverse, off), 0.0)
        others, others_var = (solution / self.unit)[k:], (np.diag(inverse) / self.unit**2)[k:]
        process = np.asarray(cross.T @ (values - white @ solution))
        return Course(there @ solution, process, variance, self.amplitude, self.length, others, others_var)
