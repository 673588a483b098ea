"""The detector undone by hand, its noise by Monte Carlo, its light levels and maps against the real sample's."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest

from v50calib.simulate import InstrumentVisit, SimConfig, make_scene, optics, simulate_visit
from v50calib.simulate.maps import draw_maps
from v50calib.simulate.ramp import invert_linearity, poisson, read_pairs

Inverse = Callable[[InstrumentVisit], np.ndarray]
IDENTITY = np.array([0.0, 1.0, 0.0, 0.0, 0.0, 0.0])
#: one ADU in electrons
ADU_E = 1 / 0.4369


@pytest.fixture(scope="module")
def plain(quiet: SimConfig) -> dict[str, InstrumentVisit]:
    return simulate_visit(make_scene(quiet)).instruments


@pytest.mark.parametrize("instrument", ["AIRS-CH0", "FGS1"])
def test_noise_free_frames_invert_to_the_expected_electrons(plain: dict[str, InstrumentVisit], invert: Inverse, instrument: str) -> None:
    data = plain[instrument]
    first, second = data.axis.read_s
    expected = data.expected * (second - first)
    error = invert(data) - expected
    # each read is rounded to half an ADU, stretched by the polynomial's slope (< 1.3 in the used range)
    assert np.abs(error).max() < ADU_E * 1.3
    # without noise the rounding is not dithered: smooth wings round alike
    assert np.abs(error.mean()) < 0.1
    good = ~data.maps.dead
    light = invert(data)[:, good] / data.maps.flat[good]
    np.testing.assert_allclose(light.sum(axis=1), (expected[good] / data.maps.flat[good]).sum(), rtol=3e-4)
    assert data.expected[data.maps.dead].max(initial=0.0) == 0.0


def test_every_switch_off_leaves_the_adc_alone(quiet: SimConfig) -> None:
    config = dataclasses.replace(quiet, dark=False, nonlinearity=False, flat_rms=0.0, dead_fraction=0.0, background_e_s=(0.0, 0.0))
    data = simulate_visit(make_scene(config), ["FGS1"]).instruments["FGS1"]
    assert not data.maps.hot.any()
    np.testing.assert_array_equal(data.maps.flat, 1.0)
    expected = np.rint((data.expected * 0.2 + 1000.0) * 0.4369)
    assert np.abs(data.frames[1::2] - expected).max() <= 1  # a tie may fall either way
    np.testing.assert_allclose(data.expected.sum(), 2.203e6, rtol=0.01)


def test_levels_are_those_of_the_real_sample(plain: dict[str, InstrumentVisit], invert: Inverse) -> None:
    airs, fgs1 = plain["AIRS-CH0"], plain["FGS1"]
    good = ~airs.maps.dead
    frame = np.where(good, invert(airs).mean(axis=0) / np.where(good, airs.maps.flat, 1.0), 0.0)
    columns, rows = frame.sum(axis=0), frame.sum(axis=1) / frame.sum()
    np.testing.assert_allclose(frame.sum(), 17.6e6, rtol=0.03)
    np.testing.assert_allclose([columns[39:321].min(), columns.max()], [5.5e3, 167e3], rtol=0.08)
    assert set(np.argsort(rows)[-2:]) == {15, 16}
    np.testing.assert_allclose([rows[10:22].sum(), rows[8:24].sum()], [0.963, 0.979], atol=0.004)
    frame = invert(fgs1).mean(axis=0)
    np.testing.assert_allclose(frame.sum(), 220e3, rtol=0.02)
    np.testing.assert_allclose([frame[10:22, 10:22].sum(), frame[8:24, 8:24].sum()] / frame.sum(), [0.95, 0.969], atol=0.006)
    np.testing.assert_allclose(frame.max(), 21.9e3, rtol=0.06)
    y, x = np.unravel_index(frame.argmax(), frame.shape)
    assert (y, x) == (15, 15)
    # the reads' flux ratio: light and dark alike grow with time since reset
    np.testing.assert_allclose(airs.axis.read_s[1] / airs.axis.read_s[0], 45.99, rtol=1e-3)
    assert 50e3 < airs.frames.max() * ADU_E - 1000 < 75e3
    assert 40e3 < fgs1.frames.max() * ADU_E - 1000 < 60e3


def test_maps_have_the_real_maps_statistics() -> None:
    rng = np.random.default_rng(0)
    for instrument, dark_max, read_median in (("AIRS-CH0", 11.9, 13.0), ("FGS1", 1.35, 13.3)):
        maps = draw_maps(SimConfig(), instrument, rng)
        np.testing.assert_allclose(np.median(maps.dark), 0.0066, rtol=0.08)
        assert 0.05 * dark_max < maps.dark.max() <= dark_max
        np.testing.assert_allclose(np.median(maps.read), read_median, rtol=0.02)
        np.testing.assert_allclose(np.percentile(maps.read, [95, 99]), [17.1, 29.3], rtol=0.25)
        alive = ~maps.dead
        np.testing.assert_allclose(np.percentile(maps.flat[alive], [1, 99]), [0.983, 1.041], atol=0.006)
        assert np.abs(maps.flat[maps.dead]).max() < 0.05
        assert maps.dead.sum() == round(0.0012 * maps.dead.size)
        assert not (maps.dead & maps.hot).any()
        np.testing.assert_allclose(np.median(maps.linear_corr[1]), 0.9999, atol=1e-3)
        reading = np.linspace(-500, 1.5e5, 200)[:, None, None]
        slope = sum(k * maps.linear_corr[k] * reading ** (k - 1) for k in range(1, 6))
        assert slope.min() > 0.3


def test_linearity_inverse_by_newton() -> None:
    maps = draw_maps(SimConfig(), "AIRS-CH0", np.random.default_rng(1))
    coefficients = maps.linear_corr.reshape(6, -1)[:, ::97].T
    for reading in (-300.0, 0.0, 50.0, 5e3, 6e4, 1.4e5):
        for c in coefficients:
            linear = float(np.polynomial.polynomial.polyval(reading, c))
            assert abs(invert_linearity(linear, np.ascontiguousarray(c)) - reading) < 1e-3


@pytest.mark.parametrize("mean", [0.03, 2.5, 19.9, 20.1, 80.0, 5e4])
def test_poisson_moments(mean: float) -> None:
    rng = np.random.default_rng(7)
    n = 40_000
    draws = np.array([poisson(rng, mean) for _ in range(n)])
    assert abs(draws.mean() - mean) < 5 * np.sqrt(mean / n)
    # variance of the sample variance of a Poisson variate: (mean + 2 mean^2) / n
    assert abs(draws.var() - mean) < 5 * np.sqrt((mean + 2 * mean**2) / n)
    skewness = ((draws - mean) ** 3).mean() / mean**1.5
    assert abs(skewness - mean**-0.5) < 5 * np.sqrt((15 + 30 / mean + 15 / mean**2) / n)
    assert draws.min() >= 0
    np.testing.assert_array_equal(draws, np.rint(draws))


@pytest.mark.parametrize(("rate", "read_noise"), [(0.0, 13.0), (200.0, 13.0), (12_000.0, 30.0)])
def test_pair_shares_its_early_electrons(rate: float, read_noise: float) -> None:
    pairs, times = 40_000, (2.0, 4.6)
    out = np.empty((1, 2 * pairs), dtype=np.uint16)
    rng = np.random.default_rng(3)
    one = np.ones(1)
    read_pairs(
        rng, np.full((pairs, 1), rate), np.zeros((0, 0)), 0 * one, read_noise * one, IDENTITY[None], times,
        (-1000.0, 0.4369), True, False, out,
    )  # fmt: skip
    first, second = out[0, 0::2] * ADU_E - 1000.0, out[0, 1::2] * ADU_E - 1000.0
    rounding = ADU_E**2 / 12
    tolerance = 5 * np.sqrt(2 / pairs)
    signal = rate * (times[1] - times[0])
    np.testing.assert_allclose(np.var(second - first), 2 * read_noise**2 + 2 * rounding + signal, rtol=tolerance)
    np.testing.assert_allclose(np.var(first), read_noise**2 + rounding + rate * times[0], rtol=tolerance)
    shared = np.cov(first, second)[0, 1]
    spread = np.sqrt(np.var(first) * np.var(second) / pairs)
    assert abs(shared - rate * times[0]) < 5 * spread


def test_variance_of_a_whole_visit_is_read_and_photon_noise(still: dict[str, object], invert: Inverse) -> None:
    config = SimConfig(brightness=1.0, star_temperature=4800.0, **{**still, "noise": True, "frames_fraction": 0.02})  # type: ignore[arg-type]
    data = simulate_visit(make_scene(config), ["FGS1"]).instruments["FGS1"]
    cds = invert(data)
    first, second = data.axis.read_s
    signal = data.expected * (second - first)
    slope = 1 + (signal > 5e3) * 0.05  # the polynomial stretches read noise by up to its slope
    predicted = 2 * (data.maps.read * slope) ** 2 + signal + data.maps.dark * (second - first) + ADU_E**2 / 6
    ratio = cds.var(axis=0, ddof=1) / predicted
    n = cds.shape[0]
    np.testing.assert_allclose(ratio.mean(), 1.0, atol=5 * np.sqrt(2 / n / ratio.size))
    np.testing.assert_allclose(ratio.std(), np.sqrt(2 / n), rtol=0.15)
    pull = (cds.mean(axis=0) - signal) / np.sqrt(predicted / n)
    assert abs(pull.mean()) < 5 / np.sqrt(pull.size)
    np.testing.assert_allclose(pull.std(), 1.0, atol=0.1)


def test_saturation_and_floor() -> None:
    out = np.empty((2, 4), dtype=np.uint16)
    rates = np.array([[1e6, 0.0], [1e6, -1e5]])
    read_pairs(
        np.random.default_rng(0), rates, np.zeros((0, 0)), np.zeros(2), np.zeros(2), np.stack([IDENTITY] * 2),
        (0.1, 4.6), (-1000.0, 0.4369), False, False, out,
    )  # fmt: skip
    assert out[0, 1] == 65535
    assert out[1].tolist() == [437, 437, 0, 0]


@pytest.mark.parametrize("dither", [False, True])
def test_dithered_codes_are_right_on_average(dither: bool) -> None:
    pairs, rate = 20_000, 1234.5
    out = np.empty((1, 2 * pairs), dtype=np.uint16)
    read_pairs(
        np.random.default_rng(5), np.full((pairs, 1), rate), np.zeros((0, 0)), np.zeros(1), np.zeros(1), IDENTITY[None],
        (0.1, 4.6), (-1000.0, 0.4369), False, dither, out,
    )  # fmt: skip
    exact = (rate * 4.6 + 1000.0) * 0.4369
    codes = out[0, 1::2].astype(float)
    if dither:
        assert abs(codes.mean() - exact) < 5 * 0.5 / np.sqrt(pairs)
    else:
        assert set(codes) == {np.floor(exact + 0.5)}


def test_cosmic_rays_stay_in_the_second_read_unless_early(still: dict[str, object], invert: Inverse) -> None:
    quiet = SimConfig(brightness=0.0, **still)  # type: ignore[arg-type]
    struck = dataclasses.replace(quiet, cosmic_rays=2e-4)
    calm = simulate_visit(make_scene(quiet), ["AIRS-CH0"]).instruments["AIRS-CH0"]
    data = simulate_visit(make_scene(struck), ["AIRS-CH0"]).instruments["AIRS-CH0"]
    change = invert(data) - invert(calm)
    hit = np.abs(change) > 50
    samples = data.truth["cosmic_ray_samples"]
    assert samples > 100
    assert 0.9 * samples <= hit.sum() <= samples
    assert change[hit].min() > 100
    assert change[hit].max() < 1.3e5
    moved = np.abs(data.frames[0::2].astype(int) - calm.frames[0::2]) > 20
    assert moved.sum() < 0.08 * samples  # 0.1 s of 4.6 s


def test_default_rate_of_cosmic_rays_is_below_the_reported_one() -> None:
    # reported: at most 5e-6 of the CDS samples; a hit touches two pixels on average
    assert SimConfig.cosmic_rays * 4.6 * 2 < 5e-6


def test_pointing_is_one_motion_of_both_instruments() -> None:
    config = SimConfig(jitter_px=(0.1, 0.2), drift_px=0.05, airs_scale=0.5)
    moves = optics.pointing(config, np.random.default_rng(0), 2000)
    airs, fgs1 = moves["AIRS-CH0"], moves["FGS1"]
    assert (airs.shape, fgs1.shape) == ((2000, 2), (24000, 2))
    np.testing.assert_allclose(np.diff(fgs1, axis=0).std(axis=0) / np.sqrt(2), [0.1, 0.2], rtol=0.03)
    np.testing.assert_allclose(np.diff(airs, axis=0).std(axis=0) / np.sqrt(2), np.array([0.1, 0.2]) / np.sqrt(12) * 0.5, rtol=0.08)
    still = optics.pointing(dataclasses.replace(config, jitter_px=(0.0, 0.0)), np.random.default_rng(0), 2000)
    np.testing.assert_allclose(still["FGS1"].std(axis=0), 0.05, rtol=1e-9)
    np.testing.assert_allclose(still["AIRS-CH0"], still["FGS1"].reshape(2000, 12, 2).mean(axis=1), atol=1e-12)


def test_motion_moves_the_centroids() -> None:
    shift = np.array([[0.0, 0.0], [0.3, -0.2]])
    frames = np.empty((2, 1024))
    optics.fgs1_rates(np.full(2, 1e6), shift, 0.0, np.ones(1024), frames)
    image = frames.reshape(2, 32, 32)
    profile = image[:, 4:28, 4:28]
    along_x, along_y = profile.sum(axis=1), profile.sum(axis=2)
    grid = np.arange(4, 28)
    x = (along_x @ grid) / along_x.sum(axis=1)
    y = (along_y @ grid) / along_y.sum(axis=1)
    np.testing.assert_allclose([x[1] - x[0], y[1] - y[0]], [0.3, -0.2], rtol=0.06)
    # a spectrum moved by +1 column is the spectrum one column to the left
    columns = np.arange(356.0)
    light = optics.airs_spectrum(columns, 1.0, 5000.0)
    np.testing.assert_allclose(optics.airs_spectrum(columns[1:] - 1.0, 1.0, 5000.0), light[:-1], rtol=1e-12)


def test_transit_dims_the_star_by_its_depth(still: dict[str, object], invert: Inverse) -> None:
    config = SimConfig(
        depth=0.05, limb_darkening=False, t0_h=3.75, background_e_s=(0.0, 0.0), dead_fraction=0.0,
        **{**still, "transit": True, "frames_fraction": 0.01},  # type: ignore[arg-type]
    )  # fmt: skip
    for data in simulate_visit(make_scene(config)).instruments.values():
        curve = (invert(data) / data.maps.flat).sum(axis=(1, 2))
        # undithered rounding of a thousand dim pixels: about 30 e- of 220 ke-
        middle = np.abs(data.axis.pair_h - 3.75) < 0.2
        np.testing.assert_allclose(1 - curve[middle].mean() / curve[0], 0.05, atol=4e-4)
        assert data.truth["white_depth"] == pytest.approx(0.05)
