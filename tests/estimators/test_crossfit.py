"""Cross-fit against a written-out loop, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest

from v50calib.errors import DataError
from v50calib.estimators import GaussianProcess, Measured, Population, crossfit
from v50calib.estimators.crossfit import folds_of
from v50calib.kernels.arrays import Float

from .conftest import WAVELENGTH, drawn, observed


def measured_of(truths: Float, names: list[str]) -> dict[str, Measured]:
    rng = np.random.default_rng(2)
    return {name: observed(truths[int(name)], rng) for name in names}


def test_crossfit_is_a_loop_that_leaves_planets_out(truths: Float) -> None:
    ids = [str(i) for i in range(len(truths))]
    measured = measured_of(truths, ["3", "4", "57"]) | {"stranger": observed(drawn(1, 50)[0], np.random.default_rng(3))}
    found = crossfit(truths, ids, WAVELENGTH, measured, folds=4)
    assert list(found) == list(measured)
    fold = folds_of(len(ids), 4)
    for name in ("3", "4", "57"):
        rows = [i for i in range(len(ids)) if fold[i] != fold[int(name)]]
        assert int(name) not in rows
        mean, cov = mixed(Population.fit(truths[rows], WAVELENGTH), measured[name])
        np.testing.assert_allclose(found[name].mean, mean, rtol=1e-9)
        np.testing.assert_allclose(found[name].cov, cov, rtol=1e-6, atol=1e-16)
    mean, _ = mixed(Population.fit(truths, WAVELENGTH), measured["stranger"])
    np.testing.assert_allclose(found["stranger"].mean, mean, rtol=1e-9)


def mixed(population: Population, depths: Measured) -> tuple[Float, Float]:
    """Moments of 98 % population and 2 % process, each by its evidence: E[x] and E[x xᵀ] - E[x] E[x]ᵀ."""
    one, other = population.posterior(depths), GaussianProcess(WAVELENGTH).posterior(depths)
    odds = 0.02 / 0.98 * np.exp(other.log_evidence - one.log_evidence)
    share = odds / (1 + odds)
    mean = (1 - share) * one.mean + share * other.mean
    second = (1 - share) * (one.cov + np.outer(one.mean, one.mean)) + share * (other.cov + np.outer(other.mean, other.mean))
    return mean, second - np.outer(mean, mean)


def test_a_planet_s_own_truth_never_reaches_its_posterior(truths: Float) -> None:
    ids = [str(i) for i in range(len(truths))]
    measured = measured_of(truths, ["7"])
    changed = truths.copy()
    changed[7] = changed[7][::-1]
    one, two = (crossfit(t, ids, WAVELENGTH, measured)["7"] for t in (truths, changed))
    np.testing.assert_array_equal(one.mean, two.mean)


@pytest.mark.parametrize(
    ("ids", "options", "said"),
    [
        ([str(i) for i in range(59)], {}, "60 planets and 59 ids"),
        (["1", *(str(i) for i in range(59))], {}, "planet 1 is in the truth twice"),
        ([str(i) for i in range(60)], {"folds": 1}, "folds is 1 for 60 planets: give 2 to 60"),
        ([str(i + 100) for i in range(60)], {"only_known": True}, r"the truth is of other planets: it lacks 3 \(1 of 1\)"),
    ],
)
def test_errors_say_what_is_wrong(truths: Float, ids: list[str], options: dict[str, object], said: str) -> None:
    with pytest.raises(DataError, match=said):
        crossfit(truths, ids, WAVELENGTH, measured_of(truths, ["3"]), **options)  # type: ignore[arg-type]
