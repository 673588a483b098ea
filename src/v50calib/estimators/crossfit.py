"""A population for planets of its own training file: each is estimated by a fit that has not seen it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from v50calib.errors import DataError
from v50calib.estimators.fitting import Options
from v50calib.estimators.gp import GaussianProcess
from v50calib.estimators.measured import Measured, Posterior
from v50calib.estimators.population import Population
from v50calib.kernels.arrays import Float, Index

#: prior share of planets unlike all of the training file; weights below NO_WEIGHT change nothing
UNLIKE, NO_WEIGHT = 0.02, 1e-6


def folds_of(n: int, folds: int, seed: int = 0) -> Index:
    """Which fold each of n planets is in, (n,): equal numbers, in an order drawn from the seed.

    >>> np.bincount(folds_of(10, 5))
    array([2, 2, 2, 2, 2])
    """
    return np.random.default_rng(seed).permutation(np.arange(n) % folds)


def crossfit(
    truths: Float,
    ids: Sequence[str],
    wavelength: Float,
    measured: Mapping[str, Measured],
    *,
    folds: int = 5,
    options: Options | None = None,
    only_known: bool = False,
) -> dict[str, Posterior]:
    """Posterior of every measured planet; one that the truth holds is estimated by a population fitted without its fold.

    truths (n, 283) of the planets `ids`, wavelength (283,) in µm. Planets that the truth does not hold get the population of
    all of it; with `only_known` their presence is an error. Raises DataError: no planet in common though `only_known`,
    planets twice, too few for the folds, and what `Population.fit` refuses.

    >>> rng = np.random.default_rng(1)
    >>> wavelength = np.r_[0.7, np.linspace(1.95, 3.9, 282)]
    >>> truths = 0.01 + 1e-4 * rng.lognormal(size=(40, 1)) * np.sin(wavelength + rng.normal(size=(40, 1)))
    >>> seen = {"3": Measured.independent(truths[3], np.full(283, 1e-4)), "new": Measured.independent(truths[4], np.full(283, 1e-4))}
    >>> list(crossfit(truths, [str(i) for i in range(40)], wavelength, seen))
    ['3', 'new']
    """
    found = dict(one_by_one(truths, ids, wavelength, measured, folds=folds, options=options, only_known=only_known))
    return {planet: found[planet] for planet in measured}


def one_by_one(
    truths: Float, ids: Sequence[str], wavelength: Float, measured: Mapping[str, Measured], *, folds: int = 5,
    options: Options | None = None, only_known: bool = False,
) -> Iterator[tuple[str, Posterior]]:  # fmt: skip
    """As `crossfit`, a planet at a time and one fitted population in memory: planets come in the order of their folds."""
    ids, truths = [str(name) for name in ids], np.asarray(truths, dtype=np.float64)
    _check(ids, truths, measured, folds, only_known)
    fold = dict(zip(ids, folds_of(len(ids), folds), strict=True))
    process = GaussianProcess(wavelength)
    for index in sorted({int(fold.get(planet, -1)) for planet in measured}):
        keep = np.array([fold[name] != index for name in ids])
        population = Population.fit(truths[keep], wavelength, options)
        for planet, depths in measured.items():
            if int(fold.get(planet, -1)) == index:
                yield planet, guarded(population.posterior(depths), process, depths)


def guarded(posterior: Posterior, process: GaussianProcess, measured: Measured) -> Posterior:
    """A population's posterior mixed with that of a Gaussian process, by evidence: a planet unlike all of the training file is not pulled
    to it. The process counts as UNLIKE a priori.

    >>> process = GaussianProcess(np.r_[0.7, np.linspace(1.95, 3.9, 282)])
    >>> seen = Measured.independent(np.full(283, 0.02), np.full(283, 1e-4))
    >>> wrong = Posterior(np.full(283, 0.01), np.eye(283) * 1e-10, -1e6)
    >>> mixed = guarded(wrong, process, seen)
    >>> round(float(mixed.mean[5]), 4), mixed.note
    (0.02, 'unlike the planets of the training file: the Gaussian process has 100 % of the weight')
    """
    seen = process.weighed(measured)
    logs = np.array([np.log1p(-UNLIKE) + posterior.log_evidence, np.log(UNLIKE) + seen.log_evidence])
    weights = np.exp(logs - logs.max())
    log_evidence = float(logs.max() + np.log(weights.sum()))
    weights /= weights.sum()
    if weights[1] < NO_WEIGHT:
        return replace(posterior, log_evidence=log_evidence)
    other = seen.posterior()
    gap = other.mean - posterior.mean
    cov = weights[0] * posterior.cov + weights[1] * other.cov + weights[0] * weights[1] * np.outer(gap, gap)
    note = posterior.note
    if weights[1] > 0.5:
        unlike = f"unlike the planets of the training file: the Gaussian process has {weights[1]:.0%} of the weight".replace("%", " %")
        note = f"{note}; {unlike}" if note else unlike
    return Posterior(posterior.mean + weights[1] * gap, cov, log_evidence, note)


def _check(ids: list[str], truths: Float, measured: Mapping[str, Measured], folds: int, only_known: bool) -> None:
    if len(ids) != len(truths):
        raise DataError(f"the truth has {len(truths)} planets and {len(ids)} ids: give one id a planet")
    if len(set(ids)) < len(ids):
        twice = next(name for name in ids if ids.count(name) > 1)
        raise DataError(f"planet {twice} is in the truth twice: it would be in and out of the fit at once; leave one row")
    if not 2 <= folds <= max(len(ids), 2):
        raise DataError(f"folds is {folds} for {len(ids)} planets: give 2 to {len(ids)}")
    if not only_known:
        return
    strangers = [name for name in measured if name not in set(ids)]
    if strangers:
        raise DataError(
            f"the truth is of other planets: it lacks {', '.join(strangers[:3])}{' ...' if len(strangers) > 3 else ''} "
            f"({len(strangers)} of {len(measured)}) and has {', '.join(ids[:3])} ...; give the truth of these planets, or only_known=False"
        )
