"""A population for planets of its own training file: each is estimated by a fit that has not seen it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from v50calib.errors import DataError
from v50calib.estimators.fitting import Options
from v50calib.estimators.measured import Measured, Posterior
from v50calib.estimators.population import Population
from v50calib.kernels.arrays import Float, Index


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
    ids, truths = [str(name) for name in ids], np.asarray(truths, dtype=np.float64)
    _check(ids, truths, measured, folds, only_known)
    fold = dict(zip(ids, folds_of(len(ids), folds), strict=True))
    fitted: dict[int, Population] = {}
    out = {}
    for planet, depths in measured.items():
        index = int(fold.get(planet, -1))
        if index not in fitted:
            keep = np.array([fold[name] != index for name in ids])
            fitted[index] = Population.fit(truths[keep], wavelength, options)
        out[planet] = fitted[index].posterior(depths)
    return out


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
