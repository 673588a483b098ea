"""Conformal quantiles against crepes and MAPIE, their definition, and the guarantee itself by simulation."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from tests.uncertainty.worlds import correlated

from v50calib.errors import DataError
from v50calib.uncertainty.conformal import joint_quantile, least_planets, mondrian_quantile, per_bin_quantile, pooled_quantile, rank


def residuals(n: int, bins: int = 7, seed: int = 0) -> Any:
    rng = np.random.default_rng(seed)
    return rng.standard_t(5, (n, bins)), np.exp(rng.normal(0, 0.3, (n, bins)))


def test_rank() -> None:
    assert [rank(n, 0.1) for n in (8, 9, 10, 19, 20, 99, 300)] == [9, 9, 10, 18, 19, 90, 271]
    assert [least_planets(a) for a in (0.5, 0.2, 0.1, 0.05)] == [1, 4, 9, 19]
    for alpha in (0.5, 0.2, 0.1, 0.05, 0.01):
        n = least_planets(alpha)
        assert rank(n, alpha) <= n
        assert rank(n - 1, alpha) > n - 1


@pytest.mark.parametrize("n", [20, 57, 300])
@pytest.mark.parametrize("alpha", [0.1, 0.32])
def test_per_bin_is_crepes(n: int, alpha: float) -> None:
    crepes = pytest.importorskip("crepes", reason="crepes is not installed")
    r, sigma = residuals(n)
    q = per_bin_quantile(np.abs(r) / sigma, alpha)
    for b in range(r.shape[1]):
        model = crepes.ConformalRegressor().fit(residuals=r[:, b], sigmas=sigma[:, b])
        low, high = model.predict_int(y_hat=np.array([2.0]), sigmas=np.array([0.7]), confidence=1 - alpha)[0]
        assert 2.0 - 0.7 * q[b] == pytest.approx(low, abs=1e-12)
        assert 2.0 + 0.7 * q[b] == pytest.approx(high, abs=1e-12)


def test_mondrian_is_crepes() -> None:
    crepes = pytest.importorskip("crepes", reason="crepes is not installed")
    r, sigma = residuals(90)
    groups = np.arange(90) % 3
    q = mondrian_quantile(np.abs(r) / sigma, groups, 3, 0.1)
    for b in range(r.shape[1]):
        model = crepes.ConformalRegressor().fit(residuals=r[:, b], sigmas=sigma[:, b], bins=groups)
        found = model.predict_int(y_hat=np.zeros(3), sigmas=np.ones(3), bins=np.arange(3), confidence=0.9)
        np.testing.assert_allclose(q[:, b], found[:, 1], atol=1e-12)
    assert np.isinf(mondrian_quantile(np.abs(r), groups, 4, 0.1)[3]).all()


@pytest.mark.parametrize("n", [20, 57, 300])
def test_per_bin_is_mapie(n: int) -> None:
    regression = pytest.importorskip("mapie.regression", reason="MAPIE is not installed")
    dummy = pytest.importorskip("sklearn.dummy")
    r, _ = residuals(n)
    q = per_bin_quantile(np.abs(r), 0.1)
    x = np.zeros((n, 1))
    for b in range(r.shape[1]):
        zero = dummy.DummyRegressor(strategy="constant", constant=0.0).fit(x, r[:, b])
        model = regression.SplitConformalRegressor(zero, confidence_level=0.9, prefit=True).conformalize(x, r[:, b])
        _, intervals = model.predict_interval(x[:1])
        assert q[b] == pytest.approx(float(intervals[0, 1, 0]), abs=1e-12)


def test_too_few_planets_give_infinity() -> None:
    r, _ = residuals(8)
    assert np.isinf(per_bin_quantile(np.abs(r), 0.1)).all()
    assert math.isinf(pooled_quantile(np.abs(r), 0.1))
    assert np.isinf(joint_quantile(np.abs(r), 0.1)).all()


def test_pooled_is_its_definition_and_the_usual_one_for_one_bin() -> None:
    r, _ = residuals(40)
    s = np.abs(r)
    q = pooled_quantile(s, 0.1)
    weight = 1.0 / (s.shape[1] * (len(s) + 1))
    assert (s <= q).sum() * weight >= 0.9
    assert (s < q).sum() * weight < 0.9
    assert pooled_quantile(s[:, :1], 0.1) == per_bin_quantile(s[:, :1], 0.1)[0]


def test_joint_is_the_usual_one_of_the_worst_bin() -> None:
    r, _ = residuals(40)
    scale = np.linspace(0.5, 2.0, r.shape[1])
    q = joint_quantile(np.abs(r), 0.1, scale)
    inside = (np.abs(r) <= q).all(axis=1)
    assert inside.sum() == rank(40, 0.1)
    np.testing.assert_allclose(q / scale, q[0] / scale[0], rtol=1e-14)


def test_bad_scores() -> None:
    with pytest.raises(DataError, match="one planet at least"):
        per_bin_quantile(np.zeros((0, 3)), 0.1)
    with pytest.raises(DataError, match="NaN"):
        pooled_quantile(np.full((3, 3), np.nan), 0.1)


@pytest.mark.parametrize("n", [20, 60])
def test_guarantee_over_many_calibration_sets(n: int) -> None:
    """Coverage of a new planet: 1 - α to 1 - α + 1/(n + 1) per bin, at least 1 - α jointly; bins strongly correlated."""
    rng = np.random.default_rng(n)
    trials, bins = 3000, 12
    own, joint, pooled, naive = np.zeros(trials), np.zeros(trials), np.zeros(trials), np.zeros(trials)
    for t in range(trials):
        s = np.abs(correlated(rng, n + 1, bins))
        old, new = s[:n], s[n]
        own[t] = (new <= per_bin_quantile(old, 0.1)).mean()
        joint[t] = (new <= joint_quantile(old, 0.1)).all()
        pooled[t] = (new <= pooled_quantile(old, 0.1)).mean()
        naive[t] = (new <= np.quantile(old, 0.9, axis=0, method="inverted_cdf")).mean()
    noise = 4 * own.std() / np.sqrt(trials)
    assert 0.9 - noise <= own.mean() <= 0.9 + 1 / (n + 1) + noise
    assert 0.9 - 4 * 0.3 / np.sqrt(trials) <= joint.mean() <= 0.9 + 1 / (n + 1) + 4 * 0.3 / np.sqrt(trials)
    assert pooled.mean() >= 0.9 - 4 * pooled.std() / np.sqrt(trials)
    # the plain (1 - α) quantile is one planet short: 18 of 20 instead of 19
    assert naive.mean() == pytest.approx(rank(n, 0.1) / (n + 1) - 1 / (n + 1), abs=noise)
    assert naive.mean() < 0.9 - 0.002


def test_coverage_of_one_calibration_set_scatters_as_beta() -> None:
    rng = np.random.default_rng(1)
    n, k = 300, rank(300, 0.1)
    from scipy.stats import norm

    covered = 2 * norm.cdf([per_bin_quantile(np.abs(rng.normal(size=(n, 1))), 0.1)[0] for _ in range(2000)]) - 1
    a, b = k, n + 1 - k
    sd = math.sqrt(a * b / ((a + b) ** 2 * (a + b + 1)))
    assert sd == pytest.approx(0.0173, abs=2e-4)
    assert covered.std() == pytest.approx(sd, rel=0.08)
