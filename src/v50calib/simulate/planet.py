"""Random stars and planets: parameters, spectrum of depths, limb darkening."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq

from v50calib.errors import ConfigError
from v50calib.kernels.arrays import Float
from v50calib.kernels.limb import quadratic_limb_darkening
from v50calib.simulate.axes import channel_wavelength
from v50calib.simulate.config import SimConfig
from v50calib.simulate.limb_table import tabulated_limb_darkening
from v50calib.simulate.spectra import draw_depths, read_spectra, structured_depths

#: accepted total durations, h: whole transits inside a 7.5 h visit whose t0 lies within 0.5 h of its middle
DURATION_H = (1.6, 4.6)
#: random stream of a structured spectrum, beside those of the visits (visit number 0 stands for none)
STRUCTURE_STREAM = (0, 0, 1)


@dataclass(frozen=True)
class Planet:
    """True parameters of one planet and star.

    star           Rs, Ms [solar], Ts [K], Mp [Jupiter], e, P [d], sma [a/Rs], i [deg]
    depth          [283] (Rp/Rs)^2 of the channels wl_1..wl_283
    u1, u2         [283] quadratic limb darkening
    brightness     light level relative to the real sample
    """

    planet_id: int
    star: dict[str, float]
    depth: Float
    u1: Float
    u2: Float
    brightness: float

    @property
    def duration_h(self) -> float:
        """First to fourth contact of the deepest channel, h."""
        return transit_duration_h(self.star, float(np.sqrt(self.depth.max())))


def transit_duration_h(star: dict[str, float], k: float) -> float:
    """T14 of a circular orbit, h (Winn 2010, arXiv:1001.2010, eq. 14); 0 where the planet misses the star.

    >>> round(transit_duration_h({"P": 4.0, "sma": 12.0, "i": 90.0}, k=0.1), 3)
    2.805
    """
    inclination = np.radians(star["i"])
    chord = (1 + k) ** 2 - (star["sma"] * np.cos(inclination)) ** 2
    if chord <= 0:
        return 0.0
    return float(star["P"] * 24 / np.pi * np.arcsin(min(1.0, np.sqrt(chord) / (star["sma"] * np.sin(inclination)))))


def with_duration(star: dict[str, float], duration_h: float, k: float) -> dict[str, float]:
    """The star with the a/R* at which its planet crosses in `duration_h` hours; period and impact parameter stay.

    >>> star = with_duration({"P": 4.0, "sma": 12.0, "i": 89.0}, duration_h=2.0, k=0.1)
    >>> round(transit_duration_h(star, k=0.1), 6)
    2.0
    """
    impact = star["sma"] * np.cos(np.radians(star["i"]))

    def excess(sma: float) -> float:
        trial = {**star, "sma": sma, "i": float(np.degrees(np.arccos(impact / sma)))}
        return transit_duration_h(trial, k) - duration_h

    sma = float(brentq(excess, 1.2 + k, 300.0))
    return {**star, "sma": sma, "i": float(np.degrees(np.arccos(impact / sma)))}


def draw_planet(config: SimConfig, index: int) -> Planet:
    """Planet number `index` of a dataset: depends on config.seed and index only.

    >>> planet = draw_planet(SimConfig(seed=1, depth=0.01), index=0)
    >>> planet.depth.min(), planet.depth.max(), planet.planet_id == draw_planet(SimConfig(seed=1), index=0).planet_id
    (np.float64(0.01), np.float64(0.01), True)
    """
    rng = np.random.default_rng(np.random.SeedSequence(config.seed, spawn_key=(index,)))
    planet_id = int(rng.integers(30_000, 4_294_000_000))
    depth = draw_depths(rng)
    if config.structured_spectrum:
        bands = np.random.default_rng(np.random.SeedSequence(config.seed, spawn_key=(index, *STRUCTURE_STREAM)))
        depth = structured_depths(bands, float(depth[1:].mean()))
    if config.spectra is not None:
        planet_id, depth = _own_spectrum(config.spectra, index)
    star = _draw_star(rng, float(np.sqrt(depth.max())))
    brightness = float(np.clip(np.exp(rng.normal(0.0, 0.18)), 0.6, 1.4))
    du = rng.normal(0.0, 0.03, size=2), rng.normal(0.0, 0.01, size=2)
    if config.star_temperature is not None:
        star["Ts"] = config.star_temperature
    if config.depth is not None:
        depth = np.full_like(depth, config.depth)
    if config.impact is not None:
        star["i"] = float(np.degrees(np.arccos(config.impact / star["sma"])))
    if config.duration_h is not None:
        star = with_duration(star, config.duration_h, float(np.sqrt(depth.max())))
    if config.exact_star:
        du = (np.zeros(2), np.zeros(2))
    table = config.limb_table and not config.exact_star
    u1, u2 = _limb_darkening(star["Ts"], *du, table=table)
    if not config.limb_darkening:
        u1, u2 = np.zeros_like(u1), np.zeros_like(u2)
    return Planet(planet_id, star, depth, u1, u2, config.brightness if config.brightness is not None else brightness)


def perturbed_star(star: dict[str, float], rng: np.random.Generator) -> dict[str, float]:
    """The star as star_info states it: 2 % off in radius, mass, temperature, planet mass and a/Rs, 1e-5 in P.

    The inclination is known through cos i, to 5 % and 0.1 deg: 2 % of i itself would move the planet off the star.

    >>> star = {"Rs": 1.0, "Ms": 1.0, "Ts": 5500.0, "Mp": 1.0, "e": 0.0, "P": 4.0, "sma": 12.0, "i": 89.0}
    >>> stated = perturbed_star(star, np.random.default_rng(1))
    >>> stated["P"] != 4.0, abs(stated["P"] - 4.0) < 4.0 * 1e-4
    (True, True)
    """
    seen = {name: star[name] * (1 + 0.02 * rng.normal()) for name in ("Rs", "Ms", "Ts", "Mp")}
    seen["e"] = star["e"]
    seen["P"] = star["P"] * (1 + 1e-5 * rng.normal())
    seen["sma"] = star["sma"] * (1 + 0.02 * rng.normal())
    cos_i = np.cos(np.radians(star["i"])) * (1 + 0.05 * rng.normal())
    seen["i"] = float(min(90.0, np.degrees(np.arccos(cos_i)) + 0.1 * rng.normal()))
    return seen


def _draw_star(rng: np.random.Generator, k: float) -> dict[str, float]:
    """One system like those of the published star table, redrawn until its transit fits into a visit."""
    while True:
        mass = float(np.clip(rng.normal(1.09, 0.21), 0.60, 1.80))
        radius = float(np.exp(0.113 + 1.16 * np.log(mass) + rng.normal(0.0, 0.14)))
        period = float(rng.uniform(2.78, 7.61))
        # Kepler's third law; 215.03 solar radii = 1 au, one solar mass orbits it in 365.25 d
        sma = 215.03 * (period / 365.25) ** (2 / 3) * mass ** (1 / 3) / radius
        impact = min(abs(float(rng.normal(0.0, 0.35))), 0.80)
        star = {
            "Rs": radius,
            "Ms": mass,
            "Ts": float(np.clip(3650 + 2010 * mass + rng.normal(0.0, 290.0), 4200.0, 7000.0)),
            "Mp": float(np.clip(np.exp(rng.normal(-0.06, 0.95)), 0.05, 24.0)),
            "e": 0.0,
            "P": period,
            "sma": sma,
            "i": float(np.degrees(np.arccos(impact / sma))),
        }
        if DURATION_H[0] <= transit_duration_h(star, k) <= DURATION_H[1]:
            return star


def _own_spectrum(path: str, index: int) -> tuple[int, Float]:
    """Planet number `index` of the user's file, with its id there. Raises ConfigError where the file has fewer."""
    planets = read_spectra(path)
    if index >= len(planets):
        raise ConfigError(f"{path} has {len(planets)} planets, planet number {index + 1} was asked for: ask for fewer or add rows")
    return planets[index]


def _limb_darkening(teff: float, level: Float, slope: Float, *, table: bool) -> tuple[Float, Float]:
    """The law that fits start from, or the table, plus a smooth offset (of half the size for the table: star to star).

    So fitting with the law itself is not an inverse crime.
    """
    wavelength = channel_wavelength()
    u1, u2 = tabulated_limb_darkening(wavelength, teff) if table else quadratic_limb_darkening(wavelength, teff)
    if table:
        level, slope = 0.5 * level, 0.5 * slope
    u1 = np.clip(u1 + level[0] + slope[0] * (wavelength - 2.5), 0.0, 0.9)
    u2 = np.clip(u2 + level[1] + slope[1] * (wavelength - 2.5), 0.0, 0.95 - u1)
    return u1, u2
