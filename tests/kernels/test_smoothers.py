"""Smoothers along wavelength against NumPy, SciPy and statsmodels; clipping against injected lines."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from scipy.interpolate import make_lsq_spline, make_smoothing_spline
from statsmodels.nonparametric.smoothers_lowess import lowess

from v50calib.kernels.smoothers import bisquare_weights, lowess_operator, poly_operator, robust_continuum, spline_operator

RNG = np.random.default_rng(4)
X = np.sort(RNG.uniform(-1, 1, 120))
Y = 100 + 30 * np.sin(3 * X) + RNG.standard_normal(120)
W = RNG.uniform(0.5, 2.0, 120)


def test_polynomial_is_numpys_weighted_fit() -> None:
    fit = np.polynomial.Polynomial.fit(X, Y, 5, w=np.sqrt(W))
    np.testing.assert_allclose(poly_operator(X, W, degree=5) @ Y, fit(X), rtol=1e-11)


def test_free_spline_is_scipys_least_squares_spline() -> None:
    knots = np.linspace(-1, 1, 14)[1:-1]
    full = np.concatenate([[X[0]] * 4, knots, [X[-1]] * 4])
    expected = make_lsq_spline(X, Y, full, k=3, w=np.sqrt(W))(X)
    np.testing.assert_allclose(spline_operator(X, W, knots=knots, boundary="free") @ Y, expected, rtol=1e-9)


@pytest.mark.parametrize("smoothing", [1e-5, 1e-3, 1e-1])
def test_natural_spline_with_a_knot_at_every_point_is_the_smoothing_spline(smoothing: float) -> None:
    """The minimizer of Σ w r² + λ ∫ s''² over all functions is the natural cubic spline with these knots."""
    expected = make_smoothing_spline(X, Y, w=W, lam=smoothing)(X)
    operator = spline_operator(X, W, knots=X[1:-1], smoothing=smoothing, boundary="natural")
    np.testing.assert_allclose(operator @ Y, expected, rtol=1e-6)


def test_natural_spline_has_no_curvature_at_its_ends() -> None:
    x = np.linspace(-1, 1, 401)
    curve = spline_operator(x, np.ones(401), knots=np.linspace(-1, 1, 10)[1:-1]) @ np.exp(2 * x)
    second = np.gradient(np.gradient(curve, x), x)
    assert abs(second[2]) < 0.05 * np.abs(second).max()
    assert abs(second[-3]) < 0.05 * np.abs(second).max()


@pytest.mark.parametrize("frac", [0.1, 0.3, 0.8])
def test_lowess_is_statsmodels_without_robust_steps(frac: float) -> None:
    expected = lowess(Y, X, frac=frac, it=0, delta=0.0, return_sorted=False)
    np.testing.assert_allclose(lowess_operator(X, np.ones(120), frac=frac) @ Y, expected, rtol=1e-9)


def test_robust_lowess_is_statsmodels() -> None:
    """The robust steps as Cleveland wrote them; weights that vanish are kept at 1e-12 here, hence the tolerance."""
    y = Y.copy()
    y[[20, 60, 61]] += 40
    expected = lowess(y, X, frac=0.3, it=3, delta=0.0, return_sorted=False)
    operator = lowess_operator(X, np.ones(120), frac=0.3)
    for _ in range(3):
        robust = bisquare_weights(y - operator @ y, np.ones(120, bool))
        operator = lowess_operator(X, np.maximum(robust, 1e-12), frac=0.3)
    np.testing.assert_allclose(operator @ y, expected, rtol=1e-6)


@pytest.mark.parametrize("build", [partial(poly_operator, degree=3), partial(spline_operator, knots=np.linspace(-0.8, 0.8, 6))])
def test_every_smoother_keeps_a_straight_line(build: object) -> None:
    line = 5 + 2 * X
    np.testing.assert_allclose(build(X, W) @ line, line, rtol=1e-10)  # type: ignore[operator]
    np.testing.assert_allclose(lowess_operator(X, W, frac=0.2) @ line, line, rtol=1e-9)


@pytest.mark.parametrize(("mode", "lost"), [("both", {30, 80}), ("lower", {30}), ("upper", {80})])
def test_clipping_takes_out_lines_on_the_side_asked_for(mode: str, lost: set[int]) -> None:
    y = 100 + 5 * X + 0.1 * RNG.standard_normal(120)
    y[30] -= 20
    y[80] += 20
    operator, kept = robust_continuum(
        y, np.ones(120, bool), np.ones(120), partial(poly_operator, X, degree=2), sigma=6.0, iterations=4, mode=mode  # type: ignore[arg-type]
    )  # fmt: skip
    assert set(np.flatnonzero(~kept)) == lost
    if mode == "both":
        np.testing.assert_allclose(operator @ y, 100 + 5 * X, atol=0.1)
