"""Linear parts of the transit fits against plain least squares, and compiled sums against NumPy."""

from __future__ import annotations

import numpy as np
import pytest

from v50calib.kernels.joint_shapes import Columns, eliminate
from v50calib.kernels.lightcurves import sums
from v50calib.kernels.series import median
from v50calib.kernels.white_fit import _Baseline

N, CHANNELS, TERMS = 60, 5, 4


@pytest.mark.parametrize("additive", [False, True])
@pytest.mark.parametrize("ridge", [None, np.array([0.0, 0.0, 3.0, 50.0])])
def test_elimination_is_least_squares_without_the_baseline(additive: bool, ridge: np.ndarray | None) -> None:
    """Sums of g, shared columns and residual are those of what is left of them beside explicit columns of every channel."""
    rng = np.random.default_rng(3)
    terms, first, others = rng.normal(size=(N, TERMS)), rng.uniform(1, 2, (N, CHANNELS)), rng.uniform(1, 2, (N, CHANNELS))
    g, residual, shared = rng.normal(size=(N, CHANNELS)), rng.normal(size=(N, CHANNELS)), rng.normal(size=(6, N, CHANNELS))
    local = rng.normal(size=(CHANNELS, TERMS))
    columns = Columns(terms, first, others if additive else first)
    got = eliminate(columns, g, shared, residual, np.arange(6), ridge, local)
    ss, sr = np.zeros((6, 6)), np.zeros(6)
    for c in range(CHANNELS):
        own = terms * (others if additive else first)[:, [c]]
        own[:, 0] = terms[:, 0] * first[:, c]
        # a prior is one more row for each term
        rows = np.diag(np.sqrt(ridge)) if ridge is not None else np.zeros((0, TERMS))
        design = np.vstack([own, rows])
        pull = -rows @ local[c]
        left = [
            v - design @ np.linalg.lstsq(design, v, rcond=None)[0]
            for v in (
                *(np.append(s, np.zeros(len(rows))) for s in shared[:, :, c]),
                np.append(g[:, c], np.zeros(len(rows))),
                np.append(residual[:, c], pull),
            )
        ]
        table = np.array(left) @ np.array(left).T
        np.testing.assert_allclose([got.gg[c], got.gr[c]], table[6, 6:], rtol=1e-9)
        np.testing.assert_allclose(got.gs[c], table[6, :6], rtol=1e-8, atol=1e-9)
        ss += table[:6, :6]
        sr += table[:6, 7]
    np.testing.assert_allclose(got.ss, ss, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(got.sr, sr, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("additive", [False, True])
@pytest.mark.parametrize("held", [np.zeros((0, 4)), np.array([[0.0, 0.0, 7.0, 0.0]])])
@pytest.mark.parametrize("dead", [False, True])
def test_baseline_under_a_transit_is_plain_least_squares(additive: bool, held: np.ndarray, dead: bool) -> None:
    """What the orthonormal terms leave is what terms times transit leave, with a prior's row and with a term that does not vary."""
    rng = np.random.default_rng(4)
    design = np.column_stack([np.ones(N), rng.normal(size=N), 1e-3 * rng.normal(size=N), rng.normal(size=N)])
    if dead:
        design[:, 3] = 0.0
    sigma, flux = rng.uniform(0.5, 2.0, N), 1e4 + rng.normal(size=N)
    curve = 1.0 - 0.2 * (np.abs(np.arange(N) - 30) < 9)
    basis = design.copy()
    basis[:, : 1 if additive else 4] *= curve[:, None]
    basis = np.vstack([basis / sigma[:, None], held])
    target = np.append(flux / sigma, np.zeros(len(held)))
    expected = target - basis @ np.linalg.lstsq(basis, target, rcond=None)[0]
    np.testing.assert_allclose(_Baseline(flux, sigma, design, held, additive).left(curve), expected, atol=1e-7)


@pytest.mark.parametrize("n", [1, 7, 8])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_median_is_that_of_numpy(n: int, dtype: str) -> None:
    values = np.random.default_rng(5).normal(size=(n, 3, 4)).astype(dtype)
    values[0, 1, 2] = np.nan
    np.testing.assert_array_equal(median(values), np.median(values, axis=0))
    assert median(values).dtype == dtype


@pytest.mark.parametrize("shape", [(50, 1), (50, 33)])
def test_sums_are_those_of_numpy(shape: tuple[int, int]) -> None:
    values = np.random.default_rng(6).normal(size=shape).astype(np.float32)
    rows, columns = sums(values)
    np.testing.assert_allclose(rows, values.sum(axis=1, dtype=np.float64), rtol=1e-12)
    np.testing.assert_allclose(columns, values.sum(axis=0, dtype=np.float64), rtol=1e-12)
