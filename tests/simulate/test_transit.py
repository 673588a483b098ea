"""Transit light curves against integration of the stellar disc, and geometry in closed form."""

from __future__ import annotations

import numpy as np
import pytest

from v50calib.errors import ConfigError
from v50calib.kernels.limb import quadratic_limb_darkening
from v50calib.simulate import SimConfig, make_scene
from v50calib.simulate.axes import airs_wavelength, channel_wavelength, time_axis
from v50calib.simulate.planet import draw_planet, perturbed_star, transit_duration_h
from v50calib.simulate.transit import instrument_curves, light_curves

STAR = {"P": 4.0, "sma": 9.0, "i": 88.2, "e": 0.0}
T0 = 3.7


def disc_integral(z: float, k: float, u1: float, u2: float) -> float:
    """1 - light hidden by a planet of radius k at distance z, on a polar grid over the planet's disc."""
    nodes, weights = np.polynomial.legendre.leggauss(80)
    rho = 0.5 * k * (nodes + 1)
    phi = 2 * np.pi * (np.arange(800) + 0.5) / 800
    r2 = z**2 + rho[:, None] ** 2 + 2 * z * rho[:, None] * np.cos(phi)
    mu = np.sqrt(np.clip(1 - r2, 0, None))
    light = np.where(r2 < 1, 1 - u1 * (1 - mu) - u2 * (1 - mu) ** 2, 0.0)
    hidden = (light.mean(axis=1) * 2 * np.pi * rho) @ (weights * 0.5 * k)
    return 1 - hidden / (np.pi * (1 - u1 / 3 - u2 / 6))


@pytest.mark.parametrize(("k", "u1", "u2"), [(0.06, 0.1, 0.12), (0.12, 0.45, 0.2), (0.29, 0.3, 0.15)])
def test_light_curve_equals_disc_integration(k: float, u1: float, u2: float) -> None:
    half = transit_duration_h(STAR, k) / 2
    time = T0 + np.array([0.0, 0.2, 0.5, 0.75, 0.97]) * half
    ours = light_curves(time, T0, STAR, np.array([k**2]), np.array([u1]), np.array([u2]))[:, 0]
    angle, inclination = 2 * np.pi * (time - T0) / (24 * STAR["P"]), np.radians(STAR["i"])
    z = STAR["sma"] * np.sqrt(np.sin(angle) ** 2 + (np.cos(inclination) * np.cos(angle)) ** 2)
    expected = [disc_integral(d, k, u1, u2) for d in z]
    # inside: 0.3 ppm; across the limb the oracle's own grid is good to some ppm
    np.testing.assert_allclose(ours[:3], expected[:3], atol=3e-7)
    np.testing.assert_allclose(ours[3:], expected[3:], atol=3e-5)


def test_uniform_disc_hides_exactly_the_depth() -> None:
    zero = np.zeros(2)
    curve = light_curves(np.array([T0]), T0, STAR, np.array([0.01, 0.0]), zero, zero)
    np.testing.assert_allclose(curve[0], [0.99, 1.0], atol=1e-12)


def test_contacts_are_where_winn_2010_puts_them() -> None:
    half = transit_duration_h(STAR, 0.1) / 2
    around = T0 + np.array([-half - 1e-3, -half + 1e-2, half - 1e-2, half + 1e-3])
    flux = light_curves(around, T0, STAR, np.array([0.01]), np.array([0.3]), np.array([0.2]))[:, 0]
    assert flux[0] == flux[3] == 1.0
    assert (flux[1:3] < 1.0).all()
    np.testing.assert_allclose(flux[1], flux[2], rtol=1e-9)
    assert transit_duration_h({**STAR, "i": 70.0}, 0.1) == 0.0


def test_columns_take_the_depth_of_their_channel() -> None:
    config = SimConfig(limb_darkening=False, t0_h=T0)
    planet = make_scene(config).planet
    curve = instrument_curves(planet, "AIRS-CH0", np.array([T0]), T0)[0]
    np.testing.assert_allclose(1 - curve[39:321][::-1], planet.depth[1:], rtol=1e-9)
    np.testing.assert_allclose(1 - curve[321:], planet.depth[1], rtol=1e-9)
    assert (np.diff(airs_wavelength()) < 0).all()


def test_drawn_planets_have_the_training_set_s_statistics() -> None:
    planets = [draw_planet(SimConfig(), n) for n in range(200)]
    mean = np.array([p.depth.mean() for p in planets])
    assert 0.012 < mean.mean() < 0.018
    assert mean.min() > 0.0036
    assert mean.max() < 0.089
    assert 35e-6 < np.median([p.depth[1:].std() for p in planets]) < 90e-6
    durations = np.array([p.duration_h for p in planets])
    assert (durations > 1.5).all()
    assert (durations < 5.0).all()
    assert len({p.planet_id for p in planets}) == 200
    for p in planets:
        assert (p.u1 >= 0).all()
        assert (p.u2 >= 0).all()
        assert (p.u1 + p.u2 < 1).all()
        assert np.abs(np.diff(p.depth[1:])).max() < 0.9 * p.depth[1:].std()  # smooth along wavelength
    law = quadratic_limb_darkening(channel_wavelength(), planets[0].star["Ts"])[0]
    assert 0.005 < np.mean([np.abs(p.u1 - quadratic_limb_darkening(channel_wavelength(), p.star["Ts"])[0]).mean() for p in planets]) < 0.1
    assert law.shape == (283,)


def test_star_table_is_two_percent_off_and_never_above_90_degrees() -> None:
    star = draw_planet(SimConfig(), 0).star
    seen = [perturbed_star(star, np.random.default_rng(n)) for n in range(400)]
    for name in ("Rs", "Ms", "Ts", "sma"):
        scatter = np.std([s[name] / star[name] for s in seen])
        assert 0.017 < scatter < 0.023
    assert max(s["i"] for s in seen) <= 90.0
    assert np.std([s["P"] / star["P"] for s in seen]) < 2e-5


def test_limb_darkening_follows_the_table_values() -> None:
    u1, u2 = quadratic_limb_darkening(np.array([0.7, 3.0]), 5500.0)
    np.testing.assert_allclose(u1, [0.45, 0.10], atol=0.005)
    np.testing.assert_allclose(u2, [0.20, 0.12], atol=0.005)
    hot, cold = quadratic_limb_darkening(0.7, 6500.0)[0], quadratic_limb_darkening(0.7, 4500.0)[0]
    assert hot < 0.45 < cold
    strong = quadratic_limb_darkening(np.array([0.5, 0.7]), 3000.0)
    assert (strong[0] + strong[1] < 1.0).all()


def test_time_axis_of_any_length_keeps_twelve_to_one() -> None:
    for fraction in (1e-6, 0.004, 0.0333, 0.5, 1.0):
        airs, fgs1 = time_axis("AIRS-CH0", fraction), time_axis("FGS1", fraction)
        assert fgs1.pairs == 12 * airs.pairs >= 24
        assert airs.stamps_h[-1] < 7.5
        np.testing.assert_allclose(airs.pair_h[1] - airs.pair_h[0], 12 * (fgs1.pair_h[1] - fgs1.pair_h[0]))
    assert time_axis("AIRS-CH0", 1.0).read_s == (0.1, 4.6)


def test_a_grazing_planet_has_the_impact_parameter_that_was_asked_for() -> None:
    for duration in (None, 1.0):
        star = draw_planet(SimConfig(seed=3, impact=0.95, duration_h=duration), 0).star
        assert star["sma"] * np.cos(np.radians(star["i"])) == pytest.approx(0.95)
    with pytest.raises(ConfigError, match=r"impact is 1\.2"):
        SimConfig(impact=1.2)
