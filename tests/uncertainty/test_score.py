"""The metric against an implementation of its own, and calibration numbers against scoringrules and uncertainty-toolbox."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.stats import norm

from v50calib.errors import DataError
from v50calib.uncertainty.metrics import central_coverage, crps, expected_calibration_error, group_coverage, per_bin, pit, summary
from v50calib.uncertainty.options import ScoreOptions
from v50calib.uncertainty.score import aligned, breakdown, score
from v50calib.uncertainty.tables import Predictions, Truth


def case(n: int = 40, bins: int = 283, seed: int = 0) -> tuple[Any, Any, Any]:
    rng = np.random.default_rng(seed)
    y = np.exp(rng.normal(-4.4, 0.5, (n, 1))) + rng.normal(0, 1e-4, (n, bins))
    sigma = np.exp(rng.normal(-9.5, 0.3, (n, bins)))
    return y, y + sigma * rng.normal(size=y.shape), sigma


def reference_2025(y: Any, mu: Any, sigma: Any, mean: float, std: float) -> float:
    """Element by element in plain loops, from the formula."""
    total, weights = 0.0, 0.0
    for i in range(y.shape[0]):
        for b in range(y.shape[1]):
            weight, best = (57.846, 1e-6) if b == 0 else (1.0, 1e-5)
            predicted = norm.logpdf(y[i, b], loc=mu[i, b], scale=max(sigma[i, b], 1e-15))
            ideal, naive = norm.logpdf(y[i, b], loc=y[i, b], scale=best), norm.logpdf(y[i, b], loc=mean, scale=std)
            total += weight * (predicted - naive) / (ideal - naive)
            weights += weight
    return min(max(total / weights, 0.0), 1.0)


def reference_2024(y: Any, mu: Any, sigma: Any, mean: float, std: float) -> float:
    sums = [float(norm.logpdf(y, *law).sum()) for law in ((mu, sigma), (y, 1e-5), (mean, std))]
    return min(max((sums[0] - sums[2]) / (sums[1] - sums[2]), 0.0), 1.0)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_score_is_the_formula(seed: int) -> None:
    y, mu, sigma = case(n=6, seed=seed)
    assert score(y, mu, sigma).value == pytest.approx(reference_2025(y, mu, sigma, 0.014689, 0.010661), abs=1e-9)
    changed = ScoreOptions(naive_mean=0.01, naive_sigma=0.02)
    assert score(y, mu, sigma, changed).value == pytest.approx(reference_2025(y, mu, sigma, 0.01, 0.02), abs=1e-9)
    old = ScoreOptions(edition="2024")
    assert score(y, mu, sigma, old).value == pytest.approx(reference_2024(y, mu, sigma, 0.014689, 0.010661), abs=1e-9)
    assert 0.3 < score(y, mu, sigma).value < 1


def test_ends_of_the_scale() -> None:
    y, _, _ = case()
    ideal = np.full(y.shape, 1e-5)
    ideal[:, 0] = 1e-6
    assert score(y, y, ideal).value == pytest.approx(1.0, abs=1e-12)
    naive = score(y, np.full(y.shape, 0.014689), np.full(y.shape, 0.010661))
    assert naive.unclipped == pytest.approx(0.0, abs=1e-12)
    assert score(y, y + 1.0, ideal).value == 0.0
    # sigma 0 is not an error of the metric: it counts as 1e-15
    assert score(y, y + 1e-4, np.zeros(y.shape)).value == 0.0


def test_fgs1_carries_17_percent() -> None:
    y, mu, sigma = case()
    all_bins = score(y, mu, sigma)
    share = 57.846 / (57.846 + 282)
    assert share == pytest.approx(0.17, abs=0.001)
    assert all_bins.unclipped == pytest.approx(share * all_bins.per_bin[0] + (1 - share) * all_bins.per_bin[1:].mean(), abs=1e-12)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda y, m, s: (y, np.where(m > 0, np.nan, m), s), "mu holds 11320 values that are not finite"),
        (lambda y, m, s: (y, m - 1.0, s), "mu holds 11320 negative"),
        (lambda y, m, s: (y, m, -s), "sigma holds 11320 negative"),
        (lambda y, m, s: (y, m[:, 1:], s), "shapes"),
        (lambda y, m, s: (y * np.inf, m, s), "truth holds"),
    ],
)
def test_bad_arrays_are_refused(spoil: Any, said: str) -> None:
    with pytest.raises(DataError, match=said):
        score(*spoil(*case()))


def test_planets_are_matched_by_id() -> None:
    y, mu, sigma = case(n=5)
    ids = tuple("abcde")
    order = [3, 0, 4]
    found = aligned(Predictions(ids, mu, sigma), Truth(tuple(ids[i] for i in order), y[order]))
    np.testing.assert_array_equal(found[1], mu[order])
    with pytest.raises(DataError, match="1 planets of truth are missing in predictions: z"):
        aligned(Predictions(ids, mu, sigma), Truth(("a", "z"), y[:2]))


def test_crps_is_that_of_scoringrules() -> None:
    scoringrules = pytest.importorskip("scoringrules", reason="scoringrules is not installed")
    y, mu, sigma = case()
    np.testing.assert_allclose(crps(y, mu, sigma), scoringrules.crps_normal(y, mu, sigma), rtol=1e-9, atol=1e-16)


def test_calibration_error_is_that_of_uncertainty_toolbox() -> None:
    toolbox = pytest.importorskip("uncertainty_toolbox.metrics_calibration", reason="uncertainty-toolbox is not installed")
    y, mu, sigma = case()
    wide = (0.7 * sigma).ravel()
    expected, observed = toolbox.get_proportion_lists_vectorized(mu.ravel(), wide, y.ravel(), num_bins=21, prop_type="interval")
    # its 21 levels are 0, .05, …, 1: ours without the two ends
    np.testing.assert_allclose(central_coverage((y - mu).ravel() / wide), observed[1:-1], atol=1e-12)
    mine = expected_calibration_error((y - mu).ravel() / wide)
    assert mine == pytest.approx(np.abs(expected - observed)[1:-1].mean(), abs=1e-12)
    assert mine > 0.05


def test_calibrated_numbers_and_groups() -> None:
    rng = np.random.default_rng(5)
    z = rng.normal(size=(2000, 50))
    sigma = np.full(z.shape, 2.0)
    found = summary(2.0 * z, np.zeros(z.shape), sigma)
    # 100,000 independent elements: 5 standard errors
    assert found["coverage_90"] == pytest.approx(0.9, abs=0.005)
    assert found["rms_z"] == pytest.approx(1.0, abs=0.012)
    assert found["ece"] < 0.004
    assert found["gll"] == pytest.approx(-np.log(2.0) - 0.5 * np.log(2 * np.pi) - 0.5, abs=0.012)
    assert pit(2.0 * z, np.zeros(z.shape), sigma).mean() == pytest.approx(0.5, abs=0.005)
    rows = per_bin(2.0 * z, np.zeros(z.shape), sigma)
    assert rows["crps"].shape == (50,)
    assert rows["gll"].mean() == pytest.approx(found["gll"], abs=1e-12)
    inside = np.abs(z) < 1
    inside[:400] = False
    np.testing.assert_allclose(group_coverage(inside, np.arange(2000.0))[0], 0.0)


def test_breakdown_has_a_row_a_channel() -> None:
    y, mu, sigma = case()
    table = breakdown(y, mu, sigma)
    assert set(table) >= {"channel", "score", "bias", "coverage_90", "ece", "crps"}
    assert all(len(column) == 283 for column in table.values())
