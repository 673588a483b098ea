"""Numbers of the ADC stage against astropy, SciPy and NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.stats import sigma_clip
from numpy.polynomial import polynomial as npoly
from scipy.interpolate import PchipInterpolator, interp1d

from v50calib.kernels import adc
from v50calib.kernels.fused import read_polynomial
from v50calib.stages.lookup import make_table

RNG = np.random.default_rng(8)


def test_clipped_mean_equals_astropy() -> None:
    values = RNG.normal(100.0, 3.0, (20, 200))
    values[::3, :5] += 500.0
    expected = sigma_clip(values, sigma=3.0, maxiters=4, axis=1).mean(axis=1)
    np.testing.assert_allclose(adc.clipped_mean(values, sigma=3.0, max_iters=4), expected, rtol=1e-13)
    np.testing.assert_allclose(adc.clipped_mean(values, sigma=None, max_iters=4), values.mean(axis=1), rtol=1e-13)


@pytest.mark.parametrize("along", ["frame", "row", "column"])
def test_reference_level_recovers_a_known_drift(along: str) -> None:
    """Frames that hold nothing but a drift per frame, row or column: reference pixels know all of it."""
    shape = {"frame": (6, 1, 1), "row": (6, 12, 1), "column": (6, 1, 10)}[along]
    drift = RNG.normal(0, 5, shape)
    frames = np.broadcast_to(drift, (6, 12, 10)).copy()
    widths = {"frame": (1, 1, 1, 1), "row": (0, 0, 2, 1), "column": (2, 1, 0, 0)}[along]
    mask = adc.border_mask((12, 10), **dict(zip(("top", "bottom", "left", "right"), widths, strict=True)))
    frames[:, ~mask] += 1e4  # light where no reference pixel is
    level = adc.reference_level(frames, mask, along, sigma=3.0, max_iters=3)
    np.testing.assert_allclose(np.broadcast_to(level, frames.shape), np.broadcast_to(drift, frames.shape), atol=1e-11)


def test_border_mask_without_a_side() -> None:
    assert adc.border_mask((4, 5), top=0, bottom=0, left=0, right=0).sum() == 0
    assert adc.border_mask((4, 5), top=1, bottom=0, left=0, right=2).tolist()[1] == [False, False, False, True, True]


@pytest.mark.parametrize("axis", [1, 2])
def test_stripes_go_and_the_level_stays(axis: int) -> None:
    frames = np.full((3, 9, 7), 50.0)
    stripe = RNG.normal(0, 4, (3, 1, 7) if axis == 1 else (3, 9, 1))
    stripe -= np.median(stripe, axis=(1, 2), keepdims=True)
    valid = np.ones((9, 7), bool)
    valid[4, 3] = False
    striped = frames + stripe
    striped[:, 4, 3] += 1e5
    out = adc.remove_stripes(striped, valid, axis)
    np.testing.assert_allclose(out[:, valid], frames[:, valid], atol=1e-11)
    np.testing.assert_allclose(out[:, 4, 3], 1e5 + 50.0, atol=1e-9)


def test_a_column_without_valid_pixels_is_left() -> None:
    frames = RNG.normal(0, 1, (2, 5, 4))
    valid = np.ones((5, 4), bool)
    valid[:, 2] = False
    np.testing.assert_array_equal(adc.remove_stripes(frames, valid, 1)[:, :, 2], frames[:, :, 2])


@pytest.mark.parametrize("interp", ["linear", "pchip"])
def test_table_equals_scipy_inside_and_keeps_the_end_correction_outside(interp: str) -> None:
    x = np.sort(RNG.uniform(0, 6e4, 40))
    y = x * (1 - 1e-6 * x) + 3.0
    inside = RNG.uniform(x[0], x[-1], 5000)
    value, slope = make_table(np.stack([x, y], axis=1), interp)(inside)
    oracle = interp1d(x, y) if interp == "linear" else PchipInterpolator(x, y)
    np.testing.assert_allclose(value, oracle(inside), rtol=1e-13)
    step = 1e-3
    mid = inside[(np.abs(inside[:, None] - x).min(axis=1) > 2 * step)]
    numeric = (oracle(mid + step) - oracle(mid - step)) / (2 * step)
    np.testing.assert_allclose(make_table(np.stack([x, y], axis=1), interp)(mid)[1], numeric, rtol=1e-6)
    assert slope.min() > 0
    beyond, unit = make_table(np.stack([x, y], axis=1), interp)(np.array([x[0] - 7.0, x[-1] + 11.0]))
    np.testing.assert_allclose(beyond, [y[0] - 7.0, y[-1] + 11.0], rtol=1e-13)
    np.testing.assert_array_equal(unit, 1.0)


def test_frozen_polynomial_equals_numpy_inside_and_is_continuous() -> None:
    coef = np.array([2.0, 0.99, 1e-6, 1e-12])
    values = RNG.uniform(-500, 7e4, 4000)
    out, slope = adc.frozen_polynomial(values, coef[:, None], 0.0, 6e4)
    inside = np.clip(values, 0.0, 6e4)
    np.testing.assert_allclose(out, npoly.polyval(inside, coef) + values - inside, rtol=1e-13, atol=1e-9)
    expected = np.where(inside == values, npoly.polyval(inside, npoly.polyder(coef)), 1.0)
    np.testing.assert_allclose(slope, expected, rtol=1e-13)


def test_read_polynomial_equals_numpy() -> None:
    coef = np.array([-900.0, 2.29, 1e-7, 3e-12])[:, None] * RNG.uniform(0.9, 1.1, (4, 11))
    raw = RNG.integers(0, 65535, (7, 11)).astype(np.uint16)
    rate, exposure, out = RNG.uniform(0, 3, 11), RNG.uniform(0, 5, 7), np.empty((7, 11))
    read_polynomial(raw, coef, rate, exposure, out)
    expected = npoly.polyval(raw.astype(float), coef, tensor=False) - rate * exposure[:, None]
    np.testing.assert_allclose(out, expected, rtol=1e-13, atol=1e-9)
