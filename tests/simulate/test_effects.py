"""Each effect against an oracle of its own: the stated curve, the sum of variances, a count by hand."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest

from v50calib.errors import ConfigError
from v50calib.kernels.limb import quadratic_limb_darkening
from v50calib.simulate import InstrumentVisit, SimConfig, effects, make_scene, optics, simulate_visit
from v50calib.simulate.axes import channel_wavelength, time_axis
from v50calib.simulate.limb_table import tabulated_limb_darkening
from v50calib.simulate.planet import draw_planet
from v50calib.simulate.ramp import reading

Inverse = Callable[[InstrumentVisit], np.ndarray]


@pytest.fixture(scope="session")
def ideal(quiet: SimConfig) -> SimConfig:
    """The quiet scene on a detector of equal, linear pixels."""
    return dataclasses.replace(quiet, dark=False, nonlinearity=False, flat_rms=0.0, dead_fraction=0.0, background_e_s=(0.0, 0.0))


def one(config: SimConfig, instrument: str, index: int = 0) -> InstrumentVisit:
    return simulate_visit(make_scene(config, index), [instrument]).instruments[instrument]  # type: ignore[list-item]


def test_everything_is_off_by_default_and_on_when_realistic() -> None:
    plain, real = SimConfig(), SimConfig.realistic()
    assert (plain.gain_drift, plain.exposure_jitter_px, plain.lost_frames, plain.background_gradient) == (0, 0, 0, 0)
    assert not plain.structured_spectrum
    assert not plain.limb_table
    assert real.structured_spectrum
    assert real.limb_table
    assert min(real.gain_drift, real.exposure_jitter_px, real.lost_frames, real.background_gradient) > 0
    assert real.low_light == 0.0


@pytest.mark.parametrize("instrument", ["AIRS-CH0", "FGS1"])
def test_gain_drift_is_the_curve_that_the_truth_states(ideal: SimConfig, invert: Inverse, instrument: str) -> None:
    still, moving = one(ideal, instrument), one(dataclasses.replace(ideal, gain_drift=0.03), instrument)
    seen = invert(moving)[:, 12:20].sum(axis=1) / invert(still)[:, 12:20].sum(axis=1)
    stated = moving.truth["gain_drift"]
    hours, columns = moving.axis.pair_h, seen.shape[1]
    course = sum(w["amplitude"] * np.cos(w["frequency_rad_h"] * hours + w["phase"]) for w in stated["waves"]) - stated["level"]
    x = np.linspace(-1, 1, columns) if instrument == "AIRS-CH0" else np.zeros(columns)
    legendre = stated["along_columns"] + [0.0] * (3 - len(stated["along_columns"]))
    along = legendre[0] + legendre[1] * x + legendre[2] * (3 * x**2 - 1) / 2
    expected = 1 + stated["rms"] * course[:, None] * along
    if instrument == "AIRS-CH0":  # rounding of eight rows: 3 e- of 20-170 ke- a column
        np.testing.assert_allclose(seen[:, 80:315], expected[:, 80:315], atol=6e-4)
    else:  # the box of 190 ke- together
        box = [invert(data)[:, 12:20, 12:20].sum(axis=(1, 2)) for data in (moving, still)]
        np.testing.assert_allclose(box[0] / box[1], expected[:, 0], atol=6e-4)
    assert np.ptp(expected) > 0.03
    assert still.truth["gain_drift"] is None


def test_gain_drift_has_the_rms_asked_and_is_no_polynomial() -> None:
    hours = np.linspace(0.0, 7.5, 600)
    x, left = np.linspace(-1, 1, hours.size), []
    for seed in range(60):
        drift = effects.draw_gain_drift(np.random.default_rng(seed), 1e-3, 356)
        factor = drift.factor(hours) - 1
        np.testing.assert_allclose(factor.std(), 1e-3, rtol=0.01)
        assert abs(factor.mean(axis=0)).max() < 1e-5
        course = drift.in_time(hours)
        left.append(np.std(course - np.polynomial.Polynomial.fit(x, course, 3)(x)))
    # slow: a cubic leaves a few percent of it; and never nothing
    assert 0.005 < np.median(left) < 0.1
    assert min(left) > 1e-5


def test_the_truth_s_streams_bring_back_the_same_numbers(ideal: SimConfig) -> None:
    data = one(dataclasses.replace(ideal, gain_drift=1e-3), "AIRS-CH0")
    seed, *key = data.truth["streams"]["gain_drift"]
    rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed, spawn_key=tuple(key))))
    assert effects.draw_gain_drift(rng, 1e-3, 356).truth() == data.truth["gain_drift"]


@pytest.mark.parametrize(("exposure_s", "samples"), [(4.5, 90), (0.1, 2)])
def test_widths_within_exposures_vary_as_those_of_20_hz_samples(exposure_s: float, samples: int) -> None:
    motion = effects.exposure_motion(np.random.default_rng(3), 0.2, 20_000, exposure_s, 6)
    width = (motion**2).mean(axis=2)
    # by hand: the mean square about their own mean of that many normal samples
    draws = np.random.default_rng(4).normal(0.0, 0.2, (20_000, samples)).var(axis=1)
    np.testing.assert_allclose(width.mean(axis=0), draws.mean(), rtol=0.04)
    np.testing.assert_allclose(width.std(axis=0), draws.std(), rtol=0.06)
    assert np.abs(motion.mean(axis=2)).max() < 1e-12


def moments(light: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """Centroid and variance [pair] of light[pair, y, x] along an axis."""
    profile = light.sum(axis=3 - axis)
    at = np.arange(profile.shape[1])
    centre = profile @ at / profile.sum(axis=1)
    return centre, profile @ at**2 / profile.sum(axis=1) - centre**2


def test_blurred_fgs1_is_wider_by_the_variance_of_the_motion(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(optics, "_FGS1_PSF", np.array([(1.0, 1.3)]))
    motion = effects.exposure_motion(np.random.default_rng(1), 0.5, 5, 4.5, 6)
    shift = np.random.default_rng(2).normal(0.0, 0.1, (5, 2))
    out = np.empty((5, 1024))
    optics.fgs1_rates(np.full(5, 1e6), shift[:, :, None] + motion, 0.0, np.ones(1024), out)
    for axis, start in ((2, 15.30), (1, 15.40)):
        centre, variance = moments(out.reshape(5, 32, 32), axis)
        np.testing.assert_allclose(centre, start + shift[:, 2 - axis], atol=1e-6)
        # Gaussian + pixel + motion
        np.testing.assert_allclose(variance, 1.3**2 + 1 / 12 + (motion[:, 2 - axis] ** 2).mean(axis=1), rtol=1e-6)
    np.testing.assert_allclose(out.sum(axis=1), 1e6, rtol=1e-9)


def test_blurred_airs_is_the_mean_over_positions_and_wider_by_their_variance() -> None:
    rng, size = np.random.default_rng(5), 32 * 356
    dy, flux, response = rng.normal(0.0, 0.6, (3, 6)), rng.uniform(1e3, 1e4, (3, 356)), rng.uniform(0.9, 1.1, size)
    profile = optics.airs_profile()
    out, single, mean = np.empty((3, size)), np.empty((3, size)), np.zeros((3, size))
    table = optics.airs_cumulative(profile, float(np.abs(dy).max()))
    optics.blurred_airs_rates(flux, dy, table, profile[:, 3].copy(), 2.0, response, out)
    for n in range(6):
        optics.airs_rates(flux, dy[:, n].copy(), profile, 2.0, response, single)
        mean += single / 6
    np.testing.assert_allclose(out, mean, rtol=2e-7)
    # without Lorentzian wings: the variances of core, pixel and motion add up
    profile[:, 1] = 0.0
    table = optics.airs_cumulative(profile, float(np.abs(dy).max()))
    optics.blurred_airs_rates(np.ones((3, 356)), dy, table, np.ones(356), 0.0, np.ones(size), out)
    light = out.reshape(3, 32, 356)[:, :, 200:201]
    np.testing.assert_allclose(moments(light, 1)[1], profile[200, 0] ** 2 + 1 / 12 + dy.var(axis=1), rtol=1e-6)


def test_motion_within_an_exposure_smears_the_spectrum(ideal: SimConfig) -> None:
    config = dataclasses.replace(ideal, exposure_jitter_px=1.0)
    still, blurred = one(ideal, "AIRS-CH0"), one(config, "AIRS-CH0")
    rng = make_scene(config).rng("AIRS-CH0", effects.MOTION_STREAM)
    motion = effects.exposure_motion(rng, 1.0, blurred.axis.pairs, 4.5, config.sub_exposures)
    columns = np.arange(356.0)
    moved = optics.airs_spectrum(columns - motion[:, 0].reshape(-1, 1), 1.0, 4800.0).mean(axis=0)
    change = blurred.expected.sum(axis=0) / still.expected.sum(axis=0)
    expected = moved / optics.airs_spectrum(columns, 1.0, 4800.0)
    # light that leaves the last row: 1.5e-4
    np.testing.assert_allclose(change, expected, atol=2e-4)
    assert np.abs(expected[39:321] - 1).max() > 0.01
    np.testing.assert_allclose(blurred.truth["exposure_jitter_rms_px"], np.sqrt((motion**2).mean(axis=(0, 2))), rtol=1e-12)


def test_limb_darkening_of_the_table_is_not_the_fit_s_law_but_of_the_same_kind() -> None:
    wavelength = np.geomspace(0.5, 8.0, 60)
    mu = np.linspace(0.0, 1.0, 101)[:, None]
    for teff in (3500.0, 4200.0, 5000.0, 5800.0, 6400.0, 7000.0):
        u1, u2 = tabulated_limb_darkening(wavelength, teff)
        light = 1 - u1 * (1 - mu) - u2 * (1 - mu) ** 2
        assert light.min() > 0
        assert (np.diff(light, axis=0) > 0).all()  # brighter towards the centre
        assert (np.diff(u1) <= 0).all()
    band = np.geomspace(0.7, 3.0, 40)
    for teff in (4500.0, 5500.0, 6500.0):
        away = np.abs(tabulated_limb_darkening(band, teff)[0] - quadratic_limb_darkening(band, teff)[0])
        assert away.min() > 0.025
        assert away.max() < 0.13
    # not a multiple of the law either
    ratio = tabulated_limb_darkening(band, 5500.0)[0] / quadratic_limb_darkening(band, 5500.0)[0]
    assert np.ptp(ratio) > 0.2


def test_planets_use_the_table_unless_the_star_is_exact() -> None:
    planets = [draw_planet(SimConfig(limb_table=True), n) for n in range(40)]
    wavelength = channel_wavelength()
    away = np.array([p.u1 - tabulated_limb_darkening(wavelength, p.star["Ts"])[0] for p in planets])
    assert 0.005 < away.std() < 0.03
    exact = draw_planet(SimConfig(limb_table=True, exact_star=True), 0)
    np.testing.assert_array_equal(exact.u1, quadratic_limb_darkening(wavelength, exact.star["Ts"])[0])
    # nothing else of the planet moves with the switch
    assert planets[3].star == draw_planet(SimConfig(), 3).star


@pytest.mark.parametrize(("full_well", "limit"), [(None, 65535), (1e5, 44127)])
def test_bright_reads_clip_where_the_charge_exceeds_the_limit(ideal: SimConfig, full_well: float | None, limit: int) -> None:
    data = one(dataclasses.replace(ideal, brightness=5.0, full_well_e=full_well), "AIRS-CH0")
    first, second = data.axis.read_s
    codes = np.stack([np.floor((data.expected * t + 1000.0) * 0.4369 + 0.5) for t in (first, second)])
    over = (codes >= limit).sum(axis=0)
    assert data.frames.max() == limit
    assert 100 < (over > 0).sum() < 3000
    if full_well is None:
        assert data.truth["clipped_reads"] == over.sum() * data.axis.pairs == (data.frames == limit).sum()
        assert data.truth["clipped_pixels"] == (over > 0).sum()
    np.testing.assert_array_equal((data.frames == limit).any(axis=0), over > 0)


def test_readings_above_the_range_of_the_polynomial_are_clipped_whatever_it_does_there() -> None:
    turning = np.array([0.0, 1.0, 0.0, 0.0, -6e-17, 0.0])  # has its maximum at 161 ke-
    top_linear = 1.5e5 - 6e-17 * 1.5e5**4
    for linear in (1.2e5, 1.25e5, 3e5, 1e6):
        found = reading(linear, turning, 1.5e5, top_linear, np.inf)
        assert found > 1.49e5 if linear > top_linear else abs(np.polynomial.polynomial.polyval(found, turning) - linear) < 1e-2


def test_a_real_detector_at_brightness_5_saturates_where_the_light_is(quiet: SimConfig) -> None:
    data = one(dataclasses.replace(quiet, brightness=5.0, noise=True), "FGS1")
    clipped = (data.frames[1::2] == 65535).mean(axis=0)
    linear = data.expected * data.axis.read_s[1]
    assert (clipped[linear > 1.75e5] == 1.0).all()
    assert (clipped[linear < 1.2e5] == 0.0).all()
    assert data.truth["clipped_reads"] > 0


def test_lost_frames_are_all_0_or_all_65535_and_the_others_are_untouched(quiet: SimConfig) -> None:
    calm, torn = one(quiet, "FGS1"), one(dataclasses.replace(quiet, lost_frames=0.05), "FGS1")
    lost = torn.truth["lost_frames"]
    assert {code for _, code in lost} == {0, 65535}
    assert len({frame // 2 for frame, _ in lost}) == round(0.05 * torn.axis.pairs)
    for frame, code in lost:
        assert (torn.frames[frame] == code).all()
    kept = np.setdiff1d(np.arange(len(torn.frames)), [frame for frame, _ in lost])
    np.testing.assert_array_equal(torn.frames[kept], calm.frames[kept])
    assert torn.truth["clipped_reads"] == 0
    assert one(dataclasses.replace(quiet, lost_frames=0.0), "FGS1").truth["lost_frames"] == []


def test_low_light_takes_a_tenth_of_the_star_at_the_end(ideal: SimConfig, invert: Inverse) -> None:
    data = one(dataclasses.replace(ideal, low_light=0.1), "FGS1")
    light = invert(data).sum(axis=(1, 2))
    cut = data.axis.pairs - round(0.1 * data.axis.pairs)
    np.testing.assert_allclose(light[cut:] / light[:cut].mean(), 0.9, atol=1e-3)
    np.testing.assert_allclose(light[:cut], light[0], rtol=1e-3)
    assert data.truth["low_light_pairs"] == list(range(cut, data.axis.pairs))


@pytest.mark.parametrize("instrument", ["AIRS-CH0", "FGS1"])
def test_background_is_the_plane_that_the_truth_states(ideal: SimConfig, instrument: str) -> None:
    data = one(dataclasses.replace(ideal, brightness=0.0, background_e_s=(40.0, 40.0), background_gradient=0.3), instrument)
    ny, nx = data.expected.shape
    y, x = np.meshgrid(np.linspace(-1, 1, ny), np.linspace(-1, 1, nx), indexing="ij")
    plane = np.stack([np.ones(y.size), y.ravel(), x.ravel()], axis=1)
    fit, rest, *_ = np.linalg.lstsq(plane, data.expected.ravel(), rcond=None)
    np.testing.assert_allclose(fit / 40.0, [1.0, *data.truth["background_tilt"]], atol=1e-9)
    assert rest.sum() < 1e-9
    np.testing.assert_allclose(np.abs(data.expected / 40.0 - 1).max(), 0.3, rtol=1e-9)


def test_a_switch_moves_no_other_effect(quiet: SimConfig) -> None:
    every = dataclasses.replace(quiet, gain_drift=1e-3, exposure_jitter_px=0.2, lost_frames=0.05, background_gradient=0.3)
    one_less = dataclasses.replace(every, exposure_jitter_px=0.0)
    full, less = one(every, "FGS1").truth, one(one_less, "FGS1").truth
    assert {k for k in full if full[k] != less[k]} == {"exposure_jitter_rms_px"}


def test_the_same_seed_gives_the_same_frames_with_every_effect() -> None:
    config = SimConfig.realistic(seed=9, frames_fraction=0.0008)
    np.testing.assert_array_equal(one(config, "AIRS-CH0").frames, one(config, "AIRS-CH0").frames)
    assert (one(config, "AIRS-CH0", 1).frames != one(config, "AIRS-CH0").frames).mean() > 0.1


@pytest.mark.parametrize(
    ("field", "message"),
    [
        ({"gain_drift": -1e-3}, "gain_drift is -0.001"),
        ({"gain_drift": float("nan")}, "gain_drift is nan"),
        ({"exposure_jitter_px": 3.0}, "use 0-2 px"),
        ({"sub_exposures": 1}, "sub_exposures is 1"),
        ({"full_well_e": 10.0}, "full_well_e is 10.0"),
        ({"lost_frames": 0.9}, "lost_frames is 0.9"),
        ({"low_light": -0.1}, "low_light is -0.1"),
        ({"background_gradient": 1.5}, "background negative"),
        ({"spectra": "a.csv", "depth": 0.01}, "both state the depths"),
    ],
)
def test_sizes_that_cannot_be_are_refused(field: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        SimConfig(**field)  # type: ignore[arg-type]


def test_low_light_is_the_visit_s_last_share() -> None:
    axis = time_axis("FGS1", 0.01)
    last = effects.low_light_pairs(0.02, axis)
    assert last.sum() == round(0.02 * axis.pairs)
    assert axis.pair_h[last].min() > axis.pair_h[~last].max()
