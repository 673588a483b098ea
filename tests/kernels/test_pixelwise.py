"""Pixel-wise formulas against NumPy's polynomial routines, astropy's clipping and the compiled kernel."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.stats import sigma_clip
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.polynomial import polynomial as npoly

from v50calib.kernels import fused, pixelwise

RNG = np.random.default_rng(5)
COEF = np.array([0.14, 0.9999, -5.7e-9, 1.2e-11, -6e-17, 1.3e-22])


def coefficients(ny: int = 3, nx: int = 4) -> np.ndarray:
    return COEF[:, None, None] * (1 + 0.1 * RNG.standard_normal((6, ny, nx)))


def test_adc_is_divide_then_add() -> None:
    adu = np.array([[[0, 437], [1000, 65535]]], np.uint16)
    expected = np.array([[[-1000.0, 437 / 0.4369 - 1000], [1000 / 0.4369 - 1000, 65535 / 0.4369 - 1000]]])
    np.testing.assert_allclose(pixelwise.adu_to_electrons(adu, 0.4369, -1000.0), expected, rtol=1e-15)


def test_polynomial_and_derivative_equal_numpy() -> None:
    coef = coefficients()
    values = RNG.uniform(-50, 6e4, (7, 3, 4))
    for y in range(3):
        for x in range(4):
            np.testing.assert_allclose(
                pixelwise.evaluate_polynomial(values, coef)[:, y, x], npoly.polyval(values[:, y, x], coef[:, y, x]), rtol=1e-13
            )
            slope = npoly.polyval(values[:, y, x], npoly.polyder(coef[:, y, x]))
            np.testing.assert_allclose(pixelwise.evaluate_derivative(values, coef)[:, y, x], slope, rtol=1e-13)


def test_affine_substitution_equals_evaluating_in_two_steps() -> None:
    coef = coefficients()
    adu = RNG.uniform(300, 27000, (20, 3, 4))
    two_steps = pixelwise.evaluate_polynomial(adu / 0.4369 - 1000.0, coef)
    folded = pixelwise.evaluate_polynomial(adu, pixelwise.substitute_affine(coef, 1 / 0.4369, -1000.0))
    np.testing.assert_allclose(folded, two_steps, rtol=0, atol=2e-10)


@pytest.mark.parametrize("terms", [2, 4, 6])
def test_compiled_cds_equals_the_difference_of_polynomials(terms: int) -> None:
    coef = coefficients(2, 5)[:terms].reshape(terms, -1).copy()
    raw = RNG.integers(300, 27000, (8, 10)).astype(np.uint16)
    dark = RNG.uniform(0, 5, 10)
    out = np.empty((4, 10))
    fused.cds_polynomial(raw, coef, dark, out)
    value = pixelwise.evaluate_polynomial(raw.astype(float)[:, None], coef[:, None])[:, 0]
    np.testing.assert_allclose(out, value[1::2] - value[0::2] - dark, rtol=0, atol=1e-9)


def test_sigma_clip_mask_equals_astropy() -> None:
    dark = RNG.lognormal(-5, 0.3, (32, 282))
    dark.flat[RNG.choice(dark.size, 60, replace=False)] *= RNG.uniform(2, 1000, 60)
    ours = pixelwise.sigma_clip_mask(dark, sigma=5.0, max_iters=5)
    theirs = np.ma.getmaskarray(sigma_clip(dark, sigma=5, maxiters=5))
    assert ours.sum() > 10
    np.testing.assert_array_equal(ours, theirs)


def test_unusable_flat_becomes_one_and_is_named() -> None:
    inverse, bad = pixelwise.inverse_flat(np.array([[2.0, 0.0], [np.nan, -0.05]]), 1e-3)
    np.testing.assert_array_equal(bad, [[False, True], [True, True]])
    np.testing.assert_array_equal(inverse, [[0.5, 1.0], [1.0, 1.0]])


@pytest.mark.parametrize("per_column", [0, 2, 3])
def test_fused_extraction_equals_cds_then_sums_then_bins(per_column: int) -> None:
    ny, nx, n = 6, 7, 9
    coef = coefficients(ny, nx)
    raw = RNG.integers(300, 27000, (2 * n, ny, nx)).astype(np.uint16)
    dark, weights = RNG.uniform(0, 5, (ny, nx)), RNG.standard_normal((3, ny, nx))
    first, last = np.array([0, 2, 3]), np.array([6, 5, 3])
    for m in range(3):
        weights[m, : first[m]] = weights[m, last[m] :] = 0
    bins = np.array([0, 0, 0, 1, 1, 1, 2, 2, -1])
    columns, totals, binned = np.zeros((n, per_column, nx)), np.zeros((n, 3 - per_column)), np.zeros((3, ny, nx))
    fused.extract_pairs(raw, coef, dark, weights, first, last, bins, columns, totals, binned, fused.rounding_offset(2.0**-30))
    value = pixelwise.evaluate_polynomial(raw.astype(float), coef)
    cds = value[1::2] - value[0::2] - dark
    np.testing.assert_allclose(columns, np.einsum("myx,iyx->imx", weights[:per_column], cds), rtol=1e-9, atol=1e-6)
    np.testing.assert_allclose(totals, np.einsum("myx,iyx->im", weights[per_column:], cds), rtol=1e-9, atol=1e-6)
    expected = np.stack([cds[bins == b].sum(axis=0) for b in range(3)])
    np.testing.assert_allclose(binned, expected, rtol=1e-9, atol=1e-6)


def test_weighted_column_sums_equal_einsum() -> None:
    cds, weights = RNG.standard_normal((5, 6, 7)), RNG.standard_normal((3, 6, 7))
    weights[0, :2] = 0
    out = np.empty((5, 3, 7))
    fused.weighted_column_sums(cds, weights, np.array([2, 0, 0]), np.array([6, 6, 6]), out)
    np.testing.assert_allclose(out, np.einsum("myx,iyx->imx", weights, cds), rtol=1e-12, atol=1e-13)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 65535), st.integers(0, 65535), st.booleans())
def test_code_flags_see_either_read_of_used_pixels(first: int, second: int, used: bool) -> None:
    raw = np.full((2, 2, 3), 5000, np.uint16)
    raw[0, 1, 2], raw[1, 1, 2] = first, second
    mask = np.ones((2, 3), bool)
    mask[1, 2] = used
    flags = fused.code_flags(raw, mask, saturation=60000, floor=0, sat_bit=2, floor_bit=64)
    expected = (2 * (max(first, second) >= 60000) + 64 * (min(first, second) <= 0)) if used else 0
    assert (flags[0].tolist() if flags is not None else [0, 0, 0]) == [0, 0, expected]
