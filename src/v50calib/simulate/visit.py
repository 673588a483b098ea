"""One visit, in memory: frames, maps and truth of each instrument."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from v50calib.kernels.arrays import Float
from v50calib.schema import INSTRUMENT, INSTRUMENTS, InstrumentName
from v50calib.simulate import effects, optics
from v50calib.simulate.axes import VISIT_S, TimeAxis, time_axis
from v50calib.simulate.config import SimConfig
from v50calib.simulate.maps import Maps, draw_maps
from v50calib.simulate.planet import Planet, draw_planet
from v50calib.simulate.ramp import read_pairs
from v50calib.simulate.transit import instrument_curves

ADC_OFFSET, ADC_GAIN = -1000.0, 0.4369
#: read pairs in one tile: 32 frames = one cache line per AIRS pixel; FGS1 tiles of about the same size
_TILE_PAIRS = {"AIRS-CH0": 16, "FGS1": 192}


@dataclass(frozen=True)
class Scene:
    """Everything that determines one visit: the choices, the planet, which visit, its mid-transit time and its A/D constants."""

    config: SimConfig
    index: int
    visit: int
    planet: Planet
    t0_h: float
    adc_offset: float = ADC_OFFSET
    adc_gain: float = ADC_GAIN

    def rng(self, instrument: str | None, purpose: int = 0) -> np.random.Generator:
        """An independent random stream for (seed, planet, visit, instrument, purpose)."""
        key = self.stream(instrument, purpose)
        return np.random.Generator(np.random.PCG64(np.random.SeedSequence(self.config.seed, spawn_key=key)))

    def stream(self, instrument: str | None, purpose: int) -> tuple[int, int, int, int]:
        """The spawn key (planet, visit, instrument, purpose) of a random stream."""
        code = 0 if instrument is None else 1 + INSTRUMENTS.index(INSTRUMENT[instrument].name)
        return (self.index, self.visit + 1, code, purpose)


@dataclass(frozen=True)
class InstrumentVisit:
    """One instrument's visit.

    frames     [time, y, x] uint16: a view of pixel-major memory, as parquet columns want it
    maps       the calibration products
    axis       time stamps and read times
    expected   [y, x] mean e-/s detected over the visit, before dark (light x response)
    truth      what the truth file says of this instrument
    """

    frames: NDArray[np.uint16]
    maps: Maps
    axis: TimeAxis
    expected: Float
    truth: dict[str, Any]


@dataclass(frozen=True)
class SimulatedVisit:
    """A visit of both instruments (or those asked for) with its scene."""

    scene: Scene
    instruments: dict[str, InstrumentVisit]


def make_scene(config: SimConfig, index: int = 0, visit: int = 0) -> Scene:
    """Scene of planet number `index`, visit number `visit`: the same numbers in every dataset that has it.

    >>> scene = make_scene(SimConfig(seed=1, t0_h=3.75), index=2, visit=1)
    >>> scene.planet.planet_id == make_scene(SimConfig(seed=1), index=2).planet.planet_id, scene.t0_h
    (True, 3.75)
    """
    planet = draw_planet(config, index)
    plain = Scene(config, index, visit, planet, VISIT_S / 7200)
    drawn = VISIT_S / 7200 + float(plain.rng(None).uniform(-0.5, 0.5))
    t0_h = drawn if config.t0_h is None else config.t0_h
    if config.layout == "2025":
        return Scene(config, index, visit, planet, t0_h)
    # the 2024 tables state the converter per planet: give each its own
    offset, gain = plain.rng(None, 1).uniform((-1020.0, 0.43), (-980.0, 0.44))
    return Scene(config, index, visit, planet, t0_h, float(offset), float(gain))


def simulate_visit(scene: Scene, instruments: Sequence[InstrumentName] = INSTRUMENTS) -> SimulatedVisit:
    """Frames, maps and truth of one visit. A full-length visit holds 0.53 GB of frames.

    >>> visit = simulate_visit(make_scene(SimConfig(seed=1, frames_fraction=0.0005)))
    >>> {name: one.frames.shape for name, one in visit.instruments.items()}
    {'AIRS-CH0': (6, 32, 356), 'FGS1': (72, 32, 32)}
    """
    return SimulatedVisit(scene, {name: simulate_instrument(scene, name) for name in instruments})


def simulate_instrument(scene: Scene, instrument: InstrumentName) -> InstrumentVisit:
    """One instrument of a visit; does not depend on whether the other is simulated too.

    >>> scene = make_scene(SimConfig(seed=1, frames_fraction=0.0005))
    >>> simulate_instrument(scene, "FGS1").frames.dtype
    dtype('uint16')
    """
    config = scene.config
    axis = time_axis(instrument, config.frames_fraction)
    shift = optics.pointing(config, scene.rng(None, 2), time_axis("AIRS-CH0", config.frames_fraction).pairs)[instrument]
    maps = draw_maps(config, instrument, scene.rng(instrument))
    unexpected = _unexpected(scene, instrument, axis)
    where = shift[:, :, None] if unexpected.motion is None else shift[:, :, None] + unexpected.motion
    flux = _star_light(scene, instrument, axis, where)
    flux[unexpected.low] *= effects.LOW_LIGHT
    hits = _cosmic_rays(scene, instrument, axis)
    out, mean_rate = _expose(scene, instrument, axis, where, maps, flux, hits, unexpected)
    clipped = _clipped(out)
    for frame, code in unexpected.lost:
        out[:, frame] = code
    frames = out.reshape(*maps.dark.shape, -1).transpose(2, 0, 1)
    truth = _truth(scene, instrument, shift, maps, hits[0].size) | unexpected.truth(scene, instrument) | clipped
    return InstrumentVisit(frames, maps, axis, mean_rate.reshape(maps.dark.shape), truth)


@dataclass(frozen=True)
class _Unexpected:
    """The effects that a calibrator does not expect, drawn for one instrument's visit; None or empty where off.

    motion  [pair, (x, y), position] px about the pair's mean position
    low     [pair] less light of the star
    lost    [lost, (frame, code)]
    """

    gain: effects.GainDrift | None
    motion: Float | None
    tilt: effects.BackgroundTilt | None
    lost: NDArray[np.int64]
    low: NDArray[np.bool_]

    def truth(self, scene: Scene, instrument: str) -> dict[str, Any]:
        """Sizes and random streams for the truth file."""
        blur = [0.0, 0.0] if self.motion is None else [float(v) for v in np.sqrt((self.motion**2).mean(axis=(0, 2)))]
        streams = {
            "gain_drift": effects.GAIN_STREAM,
            "exposure_motion": effects.MOTION_STREAM,
            "background_tilt": effects.BACKGROUND_STREAM,
            "lost_frames": effects.LOST_STREAM,
        }
        return {
            "gain_drift": None if self.gain is None else self.gain.truth(),
            "exposure_jitter_rms_px": blur,
            "background_tilt": [0.0, 0.0] if self.tilt is None else [self.tilt.rows, self.tilt.columns],
            "lost_frames": [[int(frame), int(code)] for frame, code in self.lost],
            "low_light_pairs": np.flatnonzero(self.low).tolist(),
            "streams": {name: [scene.config.seed, *scene.stream(instrument, purpose)] for name, purpose in streams.items()},
        }


def _unexpected(scene: Scene, instrument: str, axis: TimeAxis) -> _Unexpected:
    """Every effect from its own random stream, so that a switch moves no other's numbers."""
    config, shape = scene.config, INSTRUMENT[instrument].shape
    columns = shape[1] if INSTRUMENT[instrument].spectral else 1
    exposure_s = axis.read_s[1] - axis.read_s[0]
    gain, motion, tilt = None, None, None
    if config.gain_drift:
        gain = effects.draw_gain_drift(scene.rng(instrument, effects.GAIN_STREAM), config.gain_drift, columns)
    if config.exposure_jitter_px:
        rng = scene.rng(instrument, effects.MOTION_STREAM)
        motion = effects.exposure_motion(rng, config.exposure_jitter_px, axis.pairs, exposure_s, config.sub_exposures)
    if config.background_gradient:
        tilt = effects.draw_background_tilt(scene.rng(instrument, effects.BACKGROUND_STREAM), config.background_gradient)
    lost = effects.draw_lost_frames(scene.rng(instrument, effects.LOST_STREAM), config.lost_frames, axis.pairs)
    return _Unexpected(gain, motion, tilt, lost, effects.low_light_pairs(config.low_light, axis))


def _clipped(out: NDArray[np.uint16]) -> dict[str, Any]:
    """Reads at the converter's full scale, and the number of pixels that have any, for the truth file."""
    full = np.iinfo(np.uint16).max
    bright = np.flatnonzero(out.max(axis=1) == full)
    return {"clipped_reads": int((out[bright] == full).sum()), "clipped_pixels": bright.size}


def _star_light(scene: Scene, instrument: str, axis: TimeAxis, shift: Float) -> Float:
    """Star light e-/s in transit: [pair, column] for AIRS-CH0, the mean over shift[pair, x, position]; [pair] for FGS1."""
    planet, config = scene.planet, scene.config
    spectral = INSTRUMENT[instrument].spectral
    curves = (
        instrument_curves(planet, instrument, axis.pair_h, scene.t0_h)
        if config.transit
        else np.ones((axis.pairs, INSTRUMENT[instrument].shape[1] if spectral else 1))
    )
    if not spectral:
        return np.asarray(optics.fgs1_flux(planet.brightness) * curves[:, 0])
    positions = shift.shape[2]
    total = _moved_spectrum(planet, curves, shift[:, 0, 0])
    for n in range(1, positions):
        total += _moved_spectrum(planet, curves, shift[:, 0, n])
    return total / positions


def _moved_spectrum(planet: Planet, curves: Float, dx: Float) -> Float:
    """[pair, column] AIRS-CH0 light in transit, moved by dx[pair] along x."""
    origin = np.arange(curves.shape[1]) - dx[:, None]
    light = optics.airs_spectrum(origin, planet.brightness, planet.star["Ts"])
    # the light on column c comes from `origin`: its transit is that of the wavelength there
    left = np.clip(np.floor(origin).astype(np.int64), 0, curves.shape[1] - 2)
    weight = np.clip(origin - left, 0.0, 1.0)
    here = np.take_along_axis(curves, left, axis=1)
    there = np.take_along_axis(curves, left + 1, axis=1)
    return np.asarray(light * (here + weight * (there - here)))


def _cosmic_rays(scene: Scene, instrument: str, axis: TimeAxis) -> tuple[NDArray[np.int64], NDArray[np.int64], Float]:
    """Hits as (pair, 2 * pixel + part of the ramp, charge e-), sorted by pair; a hit touches 1-3 pixels of one row."""
    rng, shape = scene.rng(instrument, 1), INSTRUMENT[instrument].shape
    size, seconds = shape[0] * shape[1], axis.read_s[1]
    n = int(rng.poisson(scene.config.cosmic_rays * size * axis.pairs * seconds))
    pair = np.sort(rng.integers(0, axis.pairs, n))
    late = (rng.random(n) * seconds > axis.read_s[0]).astype(np.int64)
    charge = 10.0 ** rng.uniform(3.0, 5.0, n)
    width = rng.integers(1, 4, n)
    row, column = rng.integers(0, shape[0], n), rng.integers(0, shape[1], n)
    share = (np.array([1.0]), np.array([0.7, 0.3]), np.array([0.5, 0.35, 0.15]))
    pairs, samples, charges = [], [], []
    for k in range(n):
        touched = np.minimum(column[k] + np.arange(width[k]), shape[1] - 1)
        pairs.append(np.full(width[k], pair[k]))
        samples.append(2 * (row[k] * shape[1] + touched) + late[k])
        charges.append(np.rint(charge[k] * share[width[k] - 1]))
    if not n:
        return np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0)
    return np.concatenate(pairs), np.concatenate(samples), np.concatenate(charges)


def _expose(
    scene: Scene,
    instrument: str,
    axis: TimeAxis,
    shift: Float,
    maps: Maps,
    flux: Float,
    hits: tuple[NDArray[np.int64], NDArray[np.int64], Float],
    unexpected: _Unexpected,
) -> tuple[NDArray[np.uint16], Float]:
    """Reads [pixel, frame] and mean light per pixel [e-/s], tile by tile: memory is the output and a few MB."""
    config, size = scene.config, maps.dark.size
    rng, tile = scene.rng(instrument, 2), _TILE_PAIRS[instrument]
    out = np.empty((size, 2 * axis.pairs), dtype=np.uint16)
    total = np.zeros(size)
    read = maps.read.ravel() if config.noise and config.read_noise else np.zeros(size)
    linear = np.ascontiguousarray(maps.linear_corr.reshape(maps.linear_corr.shape[0], -1).T)
    dark, response = maps.dark.ravel(), maps.response.ravel()
    background = config.background_e_s[INSTRUMENTS.index(INSTRUMENT[instrument].name)]
    tilt = background * unexpected.tilt.relative(maps.dark.shape).ravel() * response if unexpected.tilt else None
    full_well = np.inf if config.full_well_e is None else config.full_well_e
    illuminate = _light(instrument, flux, shift, background, response)
    rates, nothing = np.empty((tile, size)), np.zeros((0, 0))
    for start in range(0, axis.pairs, tile):
        stop = min(start + tile, axis.pairs)
        here = rates[: stop - start]
        illuminate(start, stop, here)
        if tilt is not None:
            here += tilt
        if unexpected.gain is not None:
            factor = unexpected.gain.factor(axis.pair_h[start:stop])
            here.reshape(stop - start, maps.dark.shape[0], -1)[...] *= factor[:, None, :]
        total += here.sum(axis=0)
        low, high = np.searchsorted(hits[0], (start, stop))
        charge = nothing
        if high > low:
            charge = np.zeros((stop - start, 2 * size))
            np.add.at(charge, (hits[0][low:high] - start, hits[1][low:high]), hits[2][low:high])
        adc, target = (scene.adc_offset, scene.adc_gain), out[:, 2 * start : 2 * stop]
        read_pairs(rng, here, charge, dark, read, linear, axis.read_s, adc, config.noise, config.dither, target, full_well)
    return out, total / axis.pairs


def _light(instrument: str, flux: Float, shift: Float, background: float, response: Float) -> Callable[[int, int, Float], None]:
    """A function that fills out[pair, pixel] with the e-/s of the pairs start..stop."""
    if not INSTRUMENT[instrument].spectral:
        return lambda start, stop, out: optics.fgs1_rates(flux[start:stop], shift[start:stop], background, response, out)
    profile, dy = optics.airs_profile(), np.ascontiguousarray(shift[:, 1])
    if dy.shape[1] == 1:
        return lambda start, stop, out: optics.airs_rates(flux[start:stop], dy[start:stop, 0].copy(), profile, background, response, out)
    table, at_rest = optics.airs_cumulative(profile, float(np.abs(dy).max())), profile[:, 3].copy()
    return lambda start, stop, out: optics.blurred_airs_rates(flux[start:stop], dy[start:stop], table, at_rest, background, response, out)


def _truth(scene: Scene, instrument: str, shift: Float, maps: Maps, cosmic_ray_samples: int) -> dict[str, Any]:
    """The instrument's part of the truth file (keys: see v50calib.simulate.truth)."""
    planet, config = scene.planet, scene.config
    if INSTRUMENT[instrument].spectral:
        columns = np.arange(INSTRUMENT[instrument].shape[1], dtype=np.float64)
        light = optics.airs_spectrum(columns, planet.brightness, planet.star["Ts"])
        science = light[INSTRUMENT[instrument].science][::-1]
        weights = science / science.sum() if science.sum() else np.full(science.size, 1 / science.size)
        star, white = float(light.sum()), float(weights @ planet.depth[1:])
    else:
        star, white = optics.fgs1_flux(planet.brightness), float(planet.depth[0])
    still = shift - _slow(shift)
    return {
        "white_depth": white if config.transit else 0.0,
        "star_e_per_s": star,
        "pointing_rms_px": [float(v) for v in shift.std(axis=0)],
        "jitter_rms_px": [float(v) for v in still.std(axis=0)],
        "background_e_per_s": float(config.background_e_s[INSTRUMENTS.index(INSTRUMENT[instrument].name)]),
        "cosmic_ray_samples": cosmic_ray_samples,
        "dead_yx": np.argwhere(maps.dead).tolist(),
        "hot_yx": np.argwhere(maps.hot).tolist(),
    }


def _slow(series: Float) -> Float:
    """Cubic polynomial through a series [time, axis]: the residual is the jitter of the truth file."""
    x = np.linspace(-1.0, 1.0, series.shape[0])
    degree = min(3, series.shape[0] - 1)
    return np.stack([np.polynomial.Polynomial.fit(x, column, degree)(x) for column in series.T], axis=1)
