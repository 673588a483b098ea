"""Figures draw the numbers they are given."""

from __future__ import annotations

import numpy as np
import pytest

from v50calib.uncertainty import figures
from v50calib.uncertainty.metrics import LEVELS, central_coverage


def cases() -> tuple[figures.Float, dict[str, tuple[figures.Float, figures.Float]]]:
    rng = np.random.default_rng(0)
    y = rng.normal(size=(60, 283))
    return y, {"before": (np.zeros(y.shape), np.full(y.shape, 0.5)), "after": (np.zeros(y.shape), np.ones(y.shape))}


def test_reliability_shows_the_coverage() -> None:
    y, both = cases()
    lines = figures.reliability(y, both).get_lines()
    np.testing.assert_allclose(lines[1].get_ydata(), central_coverage(y / 0.5))
    np.testing.assert_allclose(np.asarray(lines[2].get_ydata(), dtype=float), LEVELS, atol=0.02)


def test_pit_is_a_density() -> None:
    y, both = cases()
    ax = figures.pit_histogram(y, both)
    values = [p.get_data() for p in ax.patches]  # type: ignore[attr-defined]
    for data in values:
        assert data.values.sum() * np.diff(data.edges)[0] == pytest.approx(1.0)
    assert values[0].values[0] > 3 * values[1].values[0]


def test_coverage_sigma_and_likelihood() -> None:
    y, both = cases()
    after = figures.coverage_per_bin(y, both).get_lines()[2]
    assert np.mean(np.asarray(after.get_ydata(), dtype=float)) == pytest.approx(0.9, abs=0.01)
    before, after = figures.sigma_against_residual(y, both).get_lines()[:2]
    assert np.asarray(before.get_xdata(), dtype=float) == pytest.approx(0.5)
    assert np.mean(np.asarray(after.get_ydata(), dtype=float)) == pytest.approx(1.0, abs=0.02)
    gll = [np.mean(np.asarray(line.get_ydata(), dtype=float)) for line in figures.likelihood_per_bin(y, both).get_lines()]
    assert gll[1] > gll[0]
    assert [bar.get_height() for bar in figures.scores({"before": 0.2, "after": 0.5}).patches] == [0.2, 0.5]  # type: ignore[attr-defined]
    assert len(figures.overview(y, both, {"before": 0.2, "after": 0.5}).axes) == 6
